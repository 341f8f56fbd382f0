"""Policies that come with hwn2n, learned on small teachers, for `--policy auto`.

One pair for each kind of limit: what is worth removing and shrinking is another thing where
parameters are scarce than where operations are. There is none for limits on what is measured, for
that differs from device to device. `benchmarks/pretrain.py` teaches them, and
`benchmarks/transfer.py` compares a search that starts from them with one that starts anew.
"""

from __future__ import annotations

from pathlib import Path

from hwn2n.budget.matrix import Budget
from hwn2n.errors import InputError
from hwn2n.search.settings import Settings

FOLDER = Path(__file__).parent / "pretrained"

STAGES = ("removal", "shrinkage")

KINDS = ("params", "flops")
"""Of limits. A budget that has rows of both kinds is of the first."""

LEARNED_WITH = {"features": "normalised", "granularity": "block"}
"""The settings under which the shipped policies mean what they have learned."""

_KIND_OF = {
    "params": "params",
    "weight_bytes": "params",
    "file_bytes": "params",
    "flops": "flops",
    "peak_memory": "flops",  # of activations, which are where the work is
}


def kind_of(budget: Budget) -> str | None:
    """Which shipped policies suit; None for a budget that limits nothing of what they know."""
    found = {_KIND_OF.get(name) for name in budget.columns}
    return next((kind for kind in KINDS if kind in found), None)


def file_name(kind: str, stage: str) -> str:
    """Of the policy of a stage for a kind of limit."""
    return f"{kind}-{stage}.safetensors"


def shipped_policies(budget: Budget, settings: Settings) -> list[Path]:
    """The files of the policies for a search under `budget`: one for each stage.

    Raises `InputError` where none suits: the budget limits nothing of the kinds, or the settings
    describe or remove layers in another way than the policies have learned.
    """
    kind = kind_of(budget)
    if kind is None:
        raise InputError(
            f"policy auto needs a budget that limits {', '.join(_KIND_OF)}, for which there are "
            f"policies, but {budget.name} limits {', '.join(budget.columns) or 'nothing'}"
        )
    for name, wanted in LEARNED_WITH.items():
        if (found := getattr(settings, name)) != wanted:
            raise InputError(
                f"policy auto needs the setting {name} to be {wanted}, as the shipped policies "
                f"were learned, but it is {found}"
            )
    return [FOLDER / file_name(kind, stage) for stage in STAGES]
