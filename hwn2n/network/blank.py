"""Modules without values: to be given a state, or to be asked for its shapes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from hwn2n.network.architecture import Operation
from hwn2n.network.operators import rule


class Blank(TorchFunctionMode):
    """What is made inside has shapes and no memory, and nothing draws random numbers for it.

    As `torch.device("meta")`, which would still work out each initial value, to no effect: that
    took most of the time of building a student.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by torch for each of its functions."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in _makers() and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


@cache
def _makers() -> frozenset[Callable[..., Any]]:
    return frozenset(_device_constructors())


_MADE: dict[str, Any] = {}
_MOST_MADE = 4096


def blank(op: Operation) -> Any:
    """What the operation's rule builds, without values; to be called inside `Blank`.

    Making a module takes ten times as long as copying one, and students have most in common.
    """
    key = f"{op.kind} {op.config} {op.shape}"
    made = _MADE.get(key)
    if made is None:
        if len(_MADE) >= _MOST_MADE:
            _MADE.clear()
        made = _MADE[key] = rule(op).build(op)
    return _copied(made) if isinstance(made, nn.Module) else made


def _copied(module: nn.Module) -> nn.Module:
    """A module with containers of its own: what is registered in one is not in the other."""
    new = object.__new__(type(module))
    for name, value in module.__dict__.items():
        new.__dict__[name] = value.copy() if isinstance(value, dict | set) else value
    new.__dict__["_modules"] = {
        name: child and _copied(child) for name, child in module._modules.items()
    }
    return new


State = dict[str, tuple[int, ...]]


def _conv2d(op: Operation) -> State:
    cfg = op.config
    made = cfg["out_channels"]
    state = {"weight": (made, cfg["in_channels"] // cfg["groups"], *cfg["kernel_size"])}
    if cfg["bias"]:
        state["bias"] = (made,)
    if cfg.get("standardised", {}).get("gamma") is not None:
        state["gain"] = (made, 1, 1, 1)
    return state


def _conv_transpose2d(op: Operation) -> State:
    cfg = op.config
    made = cfg["out_channels"]
    state = {"weight": (cfg["in_channels"], made // cfg["groups"], *cfg["kernel_size"])}
    return state | ({"bias": (made,)} if cfg["bias"] else {})


def _linear(op: Operation) -> State:
    cfg = op.config
    state: State = {"weight": (cfg["out_features"], cfg["in_features"])}
    return state | ({"bias": (cfg["out_features"],)} if cfg["bias"] else {})


def _batch_norm(op: Operation) -> State:
    cfg = op.config
    names = ["weight", "bias"] * cfg["affine"]
    names += ["running_mean", "running_var"] * cfg["track_running_stats"]
    state: State = dict.fromkeys(names, (cfg["num_features"],))
    return state | ({"num_batches_tracked": ()} if cfg["track_running_stats"] else {})


def _layer_norm(op: Operation) -> State:
    names = ["weight"] * op.config["affine"]
    names += ["bias"] * (op.config["affine"] and op.config["bias"])
    return dict.fromkeys(names, (op.config["num_features"],))


def _group_norm(op: Operation) -> State:
    return dict.fromkeys(["weight", "bias"] * op.config["affine"], (op.config["num_features"],))


_STATES: dict[str, Callable[[Operation], State]] = {
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
}


def state_shapes(op: Operation) -> State:
    """The shapes of an operation's state dict, by key and in order, without building it."""
    return _STATES[op.kind](op)
