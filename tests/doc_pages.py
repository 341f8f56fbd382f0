"""A page of docs/ as its fenced blocks, and a folder in which they run one after the other.

doc_pages.py PAGE...   runs pages, and prints each command with what it really says

The convention of the blocks stands in test_docs_commands.py.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))

_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# file: (\S+)\n")
_NUMBER = re.compile(r"(?<![A-Za-z_\d.])[-+]?\d[\d.,]*(?:e[-+]?\d+)?[A-Za-zµ%]*")
_ANY_NUMBER = r"[-+~<]?\d[\d.,]*(?:e[-+]?\d+)?[A-Za-zµ%]*"


class Block(NamedTuple):
    """A fenced block: its first word, the words after it, its text, and its line in the page."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A line after `$ `, the output that the page shows, and the exit code that it states."""

    text: str
    shown: tuple[str, ...]
    code: int = 0


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page of docs/, in order."""
    return blocks_of((DOCS / page).read_text(encoding="utf-8"))


def blocks_of(text: str) -> list[Block]:
    """The same of a text."""
    found = []
    for match in _FENCE.finditer(text):
        indent, heading, body = match.groups()
        language, *words = heading.split() or [""]
        body = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
        found.append(Block(language, tuple(words), body, text.count("\n", 0, match.start()) + 1))
    return found


def file_of(block: Block) -> str | None:
    """The file that a block is, by its first line `# file: NAME`; None for any other."""
    match = _FILE.match(block.text)
    return match and match[1]


def commands(block: Block) -> list[Command]:
    """The commands of a console or bash block."""
    text = re.sub(r" *\\\n\s*", " ", block.text)
    if block.language == "bash":
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return [Command(line, ("...",)) for line in lines]
    found: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], ()))
        elif line.strip():
            last = found.pop()
            found.append(Command(last.text, (*last.shown, line.strip())))
    stated: list[Command] = []
    for command in found:
        if command.text == "echo $?":
            before = stated.pop()
            stated.append(Command(before.text, before.shown, int(command.shown[0])))
        else:
            stated.append(command)
    return stated


def said_as_shown(said: str, shown: tuple[str, ...], *, measured: bool) -> bool:
    """Whether a command said what the page shows of it; see test_docs_commands.py."""
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    pattern = "".join(_any_lines(line, measured) for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _any_lines(shown: str, measured: bool) -> str:
    shown = " ".join(shown.split())
    if shown == "...":
        return r"(?:.*\n)*?"
    return r".*?".join(_exactly(part, measured) for part in shown.split("...")) + r"\n"


def _exactly(text: str, measured: bool) -> str:
    if not measured:
        return re.escape(text)
    texts = [re.escape(part) for part in _NUMBER.split(text)]
    return _ANY_NUMBER.join(texts)


def run(command: str, folder: Path) -> tuple[int, str]:
    """Exit code and output of a command in `folder`: stdout and stderr, as a terminal has them.

    `hwn2n` and `python FILE` run in this process, where torch is imported already.
    """
    program, *arguments = shlex.split(command)
    said = io.StringIO()
    file = None
    if program in ("hwn2n", "python") and len(arguments) > 2 and arguments[-2] == ">":
        *arguments, _, file = arguments
    if program == "hwn2n":
        from hwn2n.cli import main

        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(arguments)
    elif program == "python":
        code = _run_script(folder / arguments[0], arguments, said)
    else:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr
    if file is not None:
        (folder / file).write_text(said.getvalue())
        return code, ""
    return code, said.getvalue()


def _run_script(path: Path, arguments: list[str], said: io.StringIO) -> int:
    argv, sys.argv = sys.argv, arguments
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            runpy.run_path(str(path), run_name="__main__")
    except Exception:
        said.write(traceback.format_exc())
        return 1
    finally:
        sys.argv = argv
    return 0


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """Be in `folder`: modules are found there, and forgotten at the end, with their rules."""
    from hwn2n.exporting.code.printers import PRINTERS
    from hwn2n.network.aten import RULES
    from hwn2n.network.operators import OPERATORS
    from hwn2n.search.bounds import follow, intervals

    tables: list[dict] = [RULES, OPERATORS, PRINTERS, follow.RULES, intervals.RULES]
    before, copies = Path.cwd(), [dict(table) for table in tables]
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield folder
    finally:
        os.chdir(before)
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
        for table, copy in zip(tables, copies, strict=True):
            table.clear()
            table.update(copy)


def play(page: str, folder: Path) -> Iterator[tuple[Block, Command, int, str]]:
    """Write the files of a page and run what it runs, in its order; what each command said."""
    with workplace(folder):
        for block in blocks(page):
            if (name := file_of(block)) is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
            elif block.language == "python":
                (folder / "snippet.py").write_text(block.text)
                yield (
                    block,
                    Command("python snippet.py", ("...",)),
                    *run("python snippet.py", folder),
                )
            elif block.language in ("console", "bash"):
                for command in commands(block):
                    yield block, command, *run(command.text, folder)


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as temporary:
            for block, command, code, said in play(chosen, Path(temporary)):
                good = code == command.code and said_as_shown(
                    said, command.shown, measured="measured" in block.words
                )
                mark = "" if good else "   <== NOT AS SHOWN"
                print(f"--- {chosen}:{block.line} $ {command.text}{mark}")
                print(said.rstrip(), f"[{code}]", flush=True)
