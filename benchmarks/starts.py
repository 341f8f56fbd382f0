"""What policies a search can start with, and how well it then does: what transfer is judged by."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from hwn2n.errors import InputError
from hwn2n.run.candidate import Candidate
from hwn2n.run.ledger import Ledger
from hwn2n.search.policies import load_policy, save_policy
from hwn2n.search.policies.files import POLICIES
from hwn2n.search.policies.shipped import STAGES
from hwn2n.search.seeds import derive_seed

PRETRAINED, SCRATCH, BIAS = ARMS = ("pretrained", "from scratch", "output bias alone")
"""The whole policies, new ones, and the control: new ones that take over the output bias alone,
which says no more than how much to remove and to keep."""


def bias_alone(learned: Path, out: Path, seed: int) -> Path:
    """New policies as the search of `seed` would start with, but for the output bias of `learned`.

    Written to `out` unless it is there. Raises `InputError` for a policy of another kind.
    """
    policy, meta = load_policy(learned)
    if policy.kind not in STAGES:
        raise InputError(f"{learned}: must hold a removal or shrinkage policy, not {policy.kind}")
    if out.exists():
        return out
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, policy.kind, "policy"))
        new = POLICIES[policy.kind](**policy.config())
    with torch.no_grad():
        new.get_parameter("output.bias").copy_(policy.get_parameter("output.bias"))
    out.parent.mkdir(parents=True, exist_ok=True)
    save_policy(out, new, meta)
    return out


def stages_of(folder: Path) -> dict[str, dict[str, float | int | None]]:
    """Of each stage the means over its candidates, and the best reward."""
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        return {stage: _means(ledger.candidates(stage)) for stage in STAGES}
    finally:
        ledger.close()


def _means(candidates: Sequence[Candidate]) -> dict[str, float | int | None]:
    def mean(values: list[float]) -> float | None:
        return statistics.mean(values) if values else None

    rewards = [c.reward for c in candidates]
    squeezed = [c.terms.get("compression") for c in candidates]
    return {
        "candidates": len(candidates),
        "reward": mean(rewards),
        "accuracy": mean([c.accuracy for c in candidates if c.accuracy is not None]),
        "compression": mean([value for value in squeezed if value is not None]),
        "best": max(rewards, default=None),
    }
