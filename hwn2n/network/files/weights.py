"""State dicts: taking them out of their wrappings and loading them into an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hwn2n.errors import InputError, one_line
from hwn2n.network.files.teacher import check_weights

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "net")
_NAMED_AT_MOST = 3


def unwrap_state_dict(content: Any, source: str) -> dict[str, Tensor]:
    """The state dict in what `torch.save` wrote: plain, or under one of the usual keys.

    The prefix "module.", which `DataParallel` adds, is taken off when every key carries it.
    """
    for key in _WRAPPINGS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        found = "an empty one" if isinstance(content, Mapping) else type(content).__name__
        raise InputError(
            f"{source}: a teacher file must hold a state dict, plain or under one of the keys"
            f" {', '.join(_WRAPPINGS)}, but it holds {found}"
        )
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(
                f"{source}: a state dict must map names to tensors, but {str(key)[:80]!r} is of"
                f" type {type(value).__name__}"
            )
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], arch: str, source: str) -> None:
    """Copy `weights` into `model`, which becomes float32, in eval mode and on the CPU.

    Raises InputError unless names and shapes are those of `arch` and all values are finite.
    """
    model.to("cpu").float()
    try:
        check_names_and_shapes(model, weights, arch)
        model.load_state_dict(dict(weights))
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    except Exception as error:  # a factory may return a module with hooks of its own
        raise InputError(
            f"{source}: the weights must load into {arch}, but: {one_line(error)}"
        ) from error
    model.eval()
    check_weights(model, source)


def check_names_and_shapes(model: nn.Module, weights: Mapping[str, Tensor], arch: str) -> None:
    """Raise InputError unless `weights` has exactly the names and shapes of `model`'s own."""
    own = model.state_dict()
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    if missing or unexpected:
        parts = [_named("missing", missing), _named("unexpected", unexpected)]
        raise InputError(
            f"the weights must be those of {arch}, but there are"
            f" {' and '.join(part for part in parts if part)}"
        )
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise InputError(
                f"the weights must be those of {arch}, but {name} has shape"
                f" {tuple(weights[name].shape)} in the file and {tuple(tensor.shape)} there"
            )


def _named(word: str, names: list[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(one_line(name, 80) for name in names[:_NAMED_AT_MOST])
    more = ", ..." if len(names) > _NAMED_AT_MOST else ""
    return f"{len(names)} {word} keys ({shown}{more})"
