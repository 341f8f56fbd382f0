"""A network as safetensors with its architecture: what hwn2n rebuilds without anybody's code.

The weights carry the architecture and the description in their header, so the one file is enough;
`architecture.json` beside it says the same for people and other programs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from hwn2n.atomic import write_atomic
from hwn2n.errors import InputError, one_line
from hwn2n.network.architecture import Architecture
from hwn2n.network.files.description import read_description
from hwn2n.network.files.tensors import load_tensors
from hwn2n.network.module import instantiate_with

ARCHITECTURE = "architecture"
DESCRIPTION = "description"
"""Keys of the header's texts."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A network as data.

    `weights` is a state dict under the architecture's names; `description` holds classes, mean,
    std, data and metadata, those that are known; `source` names the file in messages.
    """

    architecture: Architecture
    weights: dict[str, Tensor]
    description: dict[str, Any]
    source: str

    def module(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The network in eval mode, with weights of its own. Raises InputError if they differ."""
        weights = {
            name: tensor.to(dtype, copy=True) if tensor.is_floating_point() else tensor.clone()
            for name, tensor in self.weights.items()
        }
        try:
            return instantiate_with(self.architecture, weights)
        except InputError as error:
            raise InputError(f"{self.source}: {error}") from error


def header(architecture: Architecture, description: Mapping[str, Any]) -> dict[str, str]:
    """The texts that safetensors takes as metadata."""
    return {
        ARCHITECTURE: json.dumps(architecture.to_json()),
        DESCRIPTION: json.dumps(dict(description)),
    }


def write_stored(
    path: Path,
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    description: Mapping[str, Any],
) -> None:
    """Write the safetensors file, whole or not at all."""
    state = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    texts = header(architecture, description)
    # as bytes: save_file makes files that nobody but their owner may read
    content = save(state, metadata=texts)
    write_atomic(path, lambda temporary: temporary.write_bytes(content))


def read_stored(path: Path) -> Stored:
    """The network in a safetensors file that `write_stored` wrote, of whatever precision.

    Raises `InputError` for a file that is damaged, or that holds weights alone.
    """
    weights, texts = load_tensors(path)
    found = stored_in(path, weights, texts)
    if found is None:
        raise InputError(
            f"{path}: must hold an architecture beside the weights, as hwn2n writes it, but does "
            "not"
        )
    return found


def stored_in(path: Path, weights: dict[str, Tensor], texts: Mapping[str, str]) -> Stored | None:
    """The same, of what `load_tensors` gave; None where there is no architecture in it."""
    if ARCHITECTURE not in texts:
        return None
    architecture = Architecture.from_json(
        _json(texts[ARCHITECTURE], f"{path}: its architecture"), source=str(path)
    )
    said = _json(texts.get(DESCRIPTION, "{}"), f"{path}: its description")
    return Stored(
        architecture=architecture,
        weights=weights,
        description=read_description(said, f"{path}: its description"),
        source=str(path),
    )


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} must be JSON, but it is not ({one_line(error)})") from error
