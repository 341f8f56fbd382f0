"""Layers that torch has no class for, written out in the programs that need them."""

from __future__ import annotations

from hwn2n.exporting.code.syntax import Bracket, call, literal
from hwn2n.network.architecture import Architecture, Operation

STANDARDISED = "StandardisedConv2d"

STANDARDISED_CLASS = '''\
class StandardisedConv2d(nn.Conv2d):
    """A convolution by filters of mean 0 and variance 1, scaled where there is a gamma."""

    def __init__(self, *sizes, eps: float, gamma=None, **options) -> None:
        super().__init__(*sizes, **options)
        self.eps, self.gamma = eps, gamma
        if gamma is not None:
            self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        scale = None
        if self.gamma is not None:
            scale = (self.gain * (self.gamma * self.weight[0].numel() ** -0.5)).view(-1)
        rows = self.weight.reshape(1, self.out_channels, -1)
        rows = nn.functional.batch_norm(
            rows, None, None, scale, training=True, momentum=0.0, eps=self.eps
        )
        return self._conv_forward(x, rows.reshape_as(self.weight), self.bias)
'''
"""As `hwn2n.network.operators.standardised` has it."""


def is_standardised(op: Operation) -> bool:
    """Is it a convolution whose filters are standardised in each forward pass?"""
    return op.kind == "conv2d" and "standardised" in op.config


def standardised(op: Operation, plain: Bracket) -> Bracket:
    """The constructor of such a layer; `plain` is that of a convolution of the same sizes."""
    how = {name: value for name, value in op.config["standardised"].items() if value is not None}
    keys = (*plain.keys, *how)
    positional = plain.items[: len(plain.items) - len(plain.keys)]
    named = (*plain.items[len(positional) :], *(literal(float(value)) for value in how.values()))
    return call(STANDARDISED, *positional, **dict(zip(keys, named, strict=True)))


def classes(architecture: Architecture) -> list[str]:
    """The lines of the classes that the program needs, each followed by two empty ones."""
    if not any(is_standardised(op) for op in architecture):
        return []
    return [*STANDARDISED_CLASS.rstrip("\n").split("\n"), "", ""]
