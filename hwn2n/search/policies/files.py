"""Policy files: safetensors with one JSON entry of metadata, so that loading runs no code.

A policy learned on one teacher can start the search on another (arXiv 1709.06030 shows it),
if both describe their layers in the same way: hence the name of the feature set in every file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hwn2n.atomic import write_atomic
from hwn2n.errors import InputError
from hwn2n.search.policies.base import Policy
from hwn2n.search.policies.removal import RemovalPolicy
from hwn2n.search.policies.shrinkage import ShrinkagePolicy
from hwn2n.search.policies.uniform import UniformPolicy

FORMAT_VERSION = 1
_ENTRY = "hwn2n-policy"

POLICIES: dict[str, type[Policy]] = {
    "removal": RemovalPolicy,
    "shrinkage": ShrinkagePolicy,
    "uniform": UniformPolicy,
}


def save_policy(path: str | os.PathLike[str], policy: Policy, meta: Mapping[str, str]) -> None:
    """Write `policy` to `path`, whole or not at all (a temporary file beside it, then a rename).

    meta: must have "features", the name of the feature set; other entries (the teacher, the run)
    are kept for whoever reads the file. Raises InputError when it cannot be written.
    """
    target = Path(path)
    if not meta.get("features"):
        raise InputError(f"meta of a policy file must name its 'features', but got {dict(meta)}")
    header = {
        "format": FORMAT_VERSION,
        "kind": policy.kind,
        "config": policy.config(),
        "meta": dict(meta),
    }
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in policy.state_dict().items()
    }
    data = save(tensors, metadata={_ENTRY: json.dumps(header, sort_keys=True)})
    try:
        write_atomic(target, lambda temporary: temporary.write_bytes(data))
    except OSError as error:
        raise InputError(f"a policy must be writable to {target}, but: {error.strerror}") from error


def load_policy(
    path: str | os.PathLike[str], *, kind: str | None = None, features: str | None = None
) -> tuple[Policy, dict[str, str]]:
    """Return the policy in the file at `path` and the `meta` it was saved with.

    kind, features: what the caller needs; a file of another kind or feature set is an
    InputError, as is a missing, truncated, foreign or newer file, and one with weights that do
    not fit its header or are not finite. The caller's random numbers are left alone.
    """
    source = Path(path)
    header, tensors = _read(source)
    if header.get("format") != FORMAT_VERSION:
        raise InputError(
            f"{source}: a policy file must have format {FORMAT_VERSION}, "
            f"but this has {header.get('format')!r}"
        )
    found, meta = header.get("kind"), header.get("meta")
    if not isinstance(found, str) or found not in POLICIES or (kind is not None and found != kind):
        raise InputError(
            f"{source}: the policy must be of kind {kind or ' or '.join(POLICIES)}, but is {found}"
        )
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise InputError(f"{source}: `meta` of a policy file must map names to text")
    if features is not None and meta.get("features") != features:
        raise InputError(
            f"{source}: the policy must read the feature set {features!r}, "
            f"but reads {meta.get('features')!r}"
        )
    return _build(source, POLICIES[found], header.get("config"), tensors), meta


def _read(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(source, framework="pt") as file:
            entry = (file.metadata() or {}).get(_ENTRY)
            # A model of gigabytes, given by mistake, is refused before its weights are read.
            tensors = {} if entry is None else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{source}: a policy file must be readable, but: {reason}") from error
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{source}: must be a safetensors file, but: {reason}") from error
    try:
        header = json.loads(entry) if entry is not None else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise InputError(
            f"{source}: a policy file must have metadata {_ENTRY!r} in JSON, but has none"
        )
    return header, tensors


def _build(source: Path, maker: type[Policy], config: Any, tensors: dict[str, Tensor]) -> Policy:
    if not isinstance(config, dict):
        raise InputError(f"{source}: `config` of a policy file must be a mapping, but is {config}")
    try:
        with torch.device("meta"):  # no memory, and no random numbers drawn, before shapes agree
            policy = maker(**config)
    except (TypeError, InputError) as error:
        raise InputError(f"{source}: no {maker.kind} policy has {config}: {error}") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in policy.state_dict().items()}
    held = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != held:
        name = next(n for n in sorted(wanted | held) if wanted.get(n) != held.get(n))
        raise InputError(
            f"{source}: the weight {name!r} must have shape {wanted.get(name)}, "
            f"but has {held.get(name)}"
        )
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"{source}: weights must be float32 or float64, but {name!r} is {tensor.dtype}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{source}: weights must be finite, but {name!r} is not")
    if len({tensor.dtype for tensor in tensors.values()}) > 1:
        raise InputError(f"{source}: all weights must have one type, but float32 and float64 meet")
    policy.load_state_dict(tensors, assign=True)
    return policy
