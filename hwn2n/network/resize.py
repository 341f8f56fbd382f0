"""Shrinkage: an architecture with chosen widths and kernel sizes, all shapes fitted again."""

from __future__ import annotations

from collections.abc import Mapping

from hwn2n.errors import InputError
from hwn2n.network.architecture import (
    INPUT,
    Architecture,
    IllegalArchitectureError,
    Operation,
    owner,
)
from hwn2n.network.blank import state_shapes
from hwn2n.network.channels import ChannelMap, relate
from hwn2n.network.operators import Shape, rule


def resize(
    architecture: Architecture,
    widths: Mapping[str, int],
    kernels: Mapping[str, tuple[int, int]],
    channels: ChannelMap | None = None,
) -> Architecture:
    """Fit every operation to the widths of its channel group and to its kernel size.

    `widths` by group name, `kernels` by convolution; what is not named stays as it is, or as
    wide as all its producers can be. `channels`: `relate(architecture)`, if it is at hand.
    Raises `IllegalArchitectureError` with the reason if no network has these sizes, `InputError`
    for names or numbers that do not fit the architecture.
    """
    channels = channels or relate(architecture)
    _check(architecture, channels, widths, kernels)
    shapes: dict[str, Shape] = {INPUT: (-1, *architecture.input_shape)}
    resized: dict[str, Operation] = {}
    for op in architecture:
        inputs = [shapes[name] for name in op.inputs]
        width = channels.own_width(op.name, widths)
        if op.name in kernels:
            op = with_kernel(op, kernels[op.name])
        op = rule(op).resize(op, inputs, width)
        shapes[op.name] = op.shape or ()
        resized[op.name] = op
        if owner(op) != op.name:
            check_shared(op, resized[owner(op)])
    logits, wanted = shapes[architecture.output], architecture.by_name()[architecture.output].shape
    if logits != wanted:
        raise IllegalArchitectureError(
            f"{architecture.output} must give logits of shape {list(wanted or ())[1:]}, "
            f"but would give {list(logits[1:])}"
        )
    return Architecture(tuple(resized.values()), architecture.input_shape, architecture.output)


def check_shared(op: Operation, first: Operation) -> None:
    """Raise `IllegalArchitectureError` where `op` uses weights of `first` that no longer fit it.

    Their channels are tied or frozen, but a removal before one of them may leave it with others.
    """
    if "of" in op.config:
        key = str(op.config["of"]).rpartition(".")[2]
        fits = tuple(op.config["shape"]) == state_shapes(first)[key]
    else:
        fits = op.config == {**first.config, "tied_to": first.name}
    if not fits:
        raise IllegalArchitectureError(
            f"{op.name} uses the weights of {first.name} and must have the same sizes"
        )


def with_kernel(op: Operation, kernel: tuple[int, int]) -> Operation:
    """A convolution with a smaller kernel and as much less padding.

    The padding shrinks with the kernel so that the output keeps its size; where there is too
    little of it (a convolution without padding), the output grows. The paper shrinks padding as
    a variable of its own, which leaves residual sums of different sizes.
    """
    old, cfg = op.config["kernel_size"], op.config
    padding = []
    for i in range(2):
        if not 1 <= kernel[i] <= old[i]:
            raise InputError(
                f"the kernel of {op.name} must be between 1 and {old[i]}, but got {kernel[i]}"
            )
        less = cfg["dilation"][i] * (old[i] - kernel[i])
        if less % 2:
            raise IllegalArchitectureError(
                f"{op.name}: a kernel of {kernel[i]} instead of {old[i]} would shift the image"
            )
        padding.append(max(0, cfg["padding"][i] - less // 2))
    return op.with_config(kernel_size=list(kernel), padding=padding)


def _check(
    architecture: Architecture,
    channels: ChannelMap,
    widths: Mapping[str, int],
    kernels: Mapping[str, tuple[int, int]],
) -> None:
    operations = architecture.by_name()
    for name, width in widths.items():
        group = channels.groups.get(name)
        if group is None:
            raise InputError(f"the network has no channel group {name!r}")
        if group.frozen and width != group.width:
            raise IllegalArchitectureError(
                f"{name} must keep {group.width} channels: {group.frozen}"
            )
        if not 1 <= width <= group.width:
            raise InputError(
                f"the width of {name} must be between 1 and {group.width}, but got {width}"
            )
        if width % group.step:
            raise InputError(
                f"the width of {name} must be a multiple of {group.step}, but got {width}"
            )
    for name in kernels:
        if name not in operations or not rule(operations[name]).has_kernel:
            raise InputError(f"the network has no convolution {name!r}")
    for op in architecture:
        first = op.config.get("tied_to")
        if first is not None and kernels.get(first) != kernels.get(op.name):
            raise IllegalArchitectureError(
                f"{op.name} shares its weights with {first} and must have the same kernel"
            )
