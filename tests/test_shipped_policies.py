"""The policies that come with hwn2n: which suits a budget, and a search that starts from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
import torch

from benchmarks.transfer import table
from hwn2n.errors import InputError
from hwn2n.search.choices.actions import SHRINK_VALUES
from hwn2n.search.choices.features import FEATURE_COUNTS
from hwn2n.search.policies import load_policy
from hwn2n.search.policies.shipped import (
    FOLDER,
    KINDS,
    LEARNED_WITH,
    STAGES,
    file_name,
    kind_of,
    shipped_policies,
)
from hwn2n.search.recipes import build_settings

LATENCY = "{metric: latency, stat: p95, max: 3ms}"
PARAMS = "{metric: params, max: 10%}"
FLOPS = "{metric: flops, max: 10%}"


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([PARAMS], "params"),
        (["{metric: weight_bytes, max: 1MB}"], "params"),
        ([FLOPS], "flops"),
        (["{metric: peak_memory, max: 10MB}"], "flops"),
        ([FLOPS, PARAMS], "params"),
        ([PARAMS, LATENCY], "params"),
        ([LATENCY], None),
        (["{metric: power, stat: avg, max: 3W}"], None),
        (["{metric: accuracy, min: 90%}"], None),
        ([], None),
    ],
)
def test_a_budget_is_of_the_kind_that_its_rows_say(rows: list[str], kind: str | None) -> None:
    assert kind_of(small.budget(*rows)) == kind


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_one_policy_for_each_stage_of_each_kind(kind: str) -> None:
    actions = {"removal": 2, "shrinkage": len(SHRINK_VALUES)}
    for stage in STAGES:
        policy, meta = load_policy(FOLDER / file_name(kind, stage), kind=stage)
        assert policy.n_features == FEATURE_COUNTS["normalised"]
        assert policy.n_actions == actions[stage]
        assert meta["budget"] == kind and meta["stage"] == stage
        assert meta["features"] == "normalised" and meta["granularity"] == "block"
        assert meta["teachers"]


def test_the_fast_recipe_is_what_they_were_learned_with() -> None:
    settings = build_settings("fast")
    assert {name: getattr(settings, name) for name in LEARNED_WITH} == LEARNED_WITH


def test_a_search_starts_from_them_and_keeps_a_copy(tmp_path: Path) -> None:
    settings = small.settings(shrinkage__updates=0, removal__lr=1e-9)
    assert small.compress(tmp_path / "run", recipe=settings, policies="auto").satisfied
    for stage in STAGES:
        shipped = load_policy(FOLDER / file_name("params", stage))[0].state_dict()
        kept = load_policy(tmp_path / "run" / "policies" / f"start-{stage}.safetensors")[0]
        for name, value in kept.state_dict().items():
            assert torch.equal(value, shipped[name]), name
    learned = load_policy(tmp_path / "run" / "policies" / "removal.safetensors")[0]
    start = load_policy(FOLDER / file_name("params", "removal"))[0]
    for name, value in learned.state_dict().items():
        assert torch.allclose(value, start.state_dict()[name], atol=1e-6), name


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([], {}, "policy auto needs a budget that limits params, .* but none limits nothing$"),
        ([LATENCY], {}, "limits params, .* but small limits latency_p95$"),
        ([PARAMS], {"granularity": "unit"}, "the setting granularity to be block, .* it is unit"),
        ([PARAMS], {"features": "paper"}, "the setting features to be normalised, .* it is paper"),
    ],
)
def test_where_none_suits_it_says_why(
    rows: list[str], changes: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        shipped_policies(small.budget(*rows), build_settings("fast", changes))


def test_a_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="granularity to be block"):
        small.compress(tmp_path / "run", recipe=small.settings(granularity="unit"), policies="auto")
    assert small.files(tmp_path) == set()


@pytest.mark.parametrize("strategy", ["evolution", "random"])
def test_who_learns_nothing_starts_from_nothing(strategy: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"need the strategy policies, but strategy is {strategy}"):
        small.compress(tmp_path / "run", recipe=small.settings(strategy=strategy), policies="auto")
    assert small.files(tmp_path) == set()


def test_the_table_of_transfer_has_one_line_for_each_start() -> None:
    def row(
        arm: str, seed: int, reward: float, inside: int, best: float | None
    ) -> dict[str, object]:
        stages = {stage: {"reward": reward} for stage in STAGES}
        return {
            "case": "digits-5%",
            "arm": arm,
            "seed": seed,
            "stages": stages,
            "candidates": 10,
            "inside": inside,
            "best": best,
        }

    text = table(
        [
            row("pretrained", 0, 0.5, 10, 0.75),
            row("pretrained", 1, 0.25, 5, 0.5),
            row("from scratch", 0, -1.0, 0, None),
            row("output bias alone", 0, 0.125, 1, 0.25),
        ]
    )
    assert text.splitlines()[2:] == [
        "| digits-5% | pretrained | 2 | 0.375 (0.250 to 0.500) | 0.375 (0.250 to 0.500) | 75% "
        "| 62.50 % (50.00 to 75.00) |",
        "| digits-5% | from scratch | 1 | -1.000 (-1.000 to -1.000) | -1.000 (-1.000 to -1.000) "
        "| 0% |  |",
        "| digits-5% | output bias alone | 1 | 0.125 (0.125 to 0.125) | 0.125 (0.125 to 0.125) "
        "| 10% | 25.00 % (25.00 to 25.00) |",
    ]
