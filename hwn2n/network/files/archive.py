"""Reading zip archives that may be hostile, before any other reader sees them."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from hwn2n.errors import InputError, one_line

MAX_EXPANSION = 20
"""Most bytes an archive may expand to, per byte of it. PyTorch stores without compression, and
compressed weights shrink to half at best; zip bombs expand a thousandfold."""

MAX_TOTAL_BYTES = 16 * 2**30
MAX_MEMBERS = 100_000

_ENCRYPTED = 0x1


def member_names(path: Path) -> tuple[str, ...]:
    """Names of all members of the archive, after `_check_members` has found them harmless."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _check_members(archive, path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def read_members(path: Path) -> dict[str, bytes]:
    """Every member of the archive in memory, by name.

    What was checked is then also what is loaded: no other process can change it in between, and
    no second zip reader, which might see other members, is asked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in _check_members(archive, path)}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise _damaged(path, error) from error
    except MemoryError as error:
        raise InputError(f"{path}: the archive must fit in memory, but it does not") from error


def _check_members(archive: zipfile.ZipFile, path: Path) -> tuple[str, ...]:
    """Refuse bombs, encrypted and repeated members, and names that point outside the archive."""
    members = archive.infolist()
    if not 0 < len(members) <= MAX_MEMBERS:
        raise InputError(
            f"{path}: the archive must have 1 to {MAX_MEMBERS} members, but it has {len(members)}"
        )
    total = sum(member.file_size for member in members)
    limit = min(MAX_TOTAL_BYTES, MAX_EXPANSION * path.stat().st_size)
    if total > limit:
        raise InputError(
            f"{path}: the archive must not expand to more than {limit} bytes, but its members"
            f" claim {total} (a zip bomb?)"
        )
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if member.flag_bits & _ENCRYPTED:
            raise InputError(f"{path}: the archive must not be encrypted, but {name!r} is")
        # Not all zip readers tell a name's case apart: two such members are one to them.
        if name.lower() in seen:
            raise InputError(f"{path}: archive members must be unique, but {name!r} is there twice")
        seen.add(name.lower())
        # ZipFile cuts names at a NUL byte; what it cut off must not hide anything.
        if not _is_harmless(name) or not _is_harmless(member.orig_filename):
            raise InputError(
                f"{path}: archive members must have plain relative names, but one is called"
                f" {member.orig_filename!r}"
            )
    return tuple(member.filename for member in members)


def _is_harmless(name: str) -> bool:
    return (
        name.isprintable()
        and not name.startswith("/")
        and not name.endswith("/")
        and not any(sign in name for sign in '\\:"')
        and ".." not in PurePosixPath(name).parts
    )


def _damaged(path: Path, error: BaseException) -> InputError:
    return InputError(
        f"{path}: the archive must be whole, but it is truncated or damaged ({one_line(error)})"
    )
