"""What policies prefer at first: the expected decision is the uniform one at the budget."""

from __future__ import annotations

import pytest
import small
import torch
from networks import planner_of

from hwn2n.budget.load import load_budget
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.search.anchor import evaluate_anchors
from hwn2n.search.choices.actions import SHRINK_VALUES, RemovalStage, ShrinkageStage
from hwn2n.search.choices.prior import (
    kept_at_budget,
    removal_prior,
    share_at_budget,
    shrinkage_prior,
)
from hwn2n.search.fitting.projection import project
from hwn2n.search.fitting.widths import Widths
from hwn2n.search.policies.removal import KEEP
from hwn2n.search.strategies.learning import prior_for


def countable(limit: float):
    row = {"metric": "params", "max": int(limit)}
    return load_budget({"apiVersion": "hwn2n/v1", "name": "b", "constraints": [row]}).resolve({})


@pytest.mark.parametrize("share_of_params", [0.1, 0.3, 0.6])
def test_the_share_is_that_of_the_largest_uniform_network_inside(share_of_params):
    planner = planner_of("resnet20", 4)
    limits = countable(share_of_params * planner.count(NOTHING).params)
    share = share_at_budget(planner, frozenset(), limits, Widths())
    groups = [g for g in planner.channels.groups.values() if not g.frozen]

    def params(share):
        widths = {g.name: max(1, int(g.width * share + 1e-9)) for g in groups}
        return planner.count(Decision(widths=widths)).params

    limit = limits.rows[0].upper
    assert params(share) <= limit < params(share + 0.01)
    projected = planner.count(project(planner, NOTHING, limits)).params
    assert params(share) <= projected <= limit


def test_the_whole_and_nothing():
    planner = planner_of("conv4", 8)
    whole = planner.count(NOTHING).params
    assert share_at_budget(planner, frozenset(), countable(whole), Widths()) == 1.0
    assert share_at_budget(planner, frozenset(), countable(1), Widths()) == 0.01


@pytest.mark.parametrize("mean", [0.15, 0.3, 0.55, 0.9])
def test_the_expected_share_is_the_one_asked(mean):
    stage = ShrinkageStage(planner_of("resnet20", 4), frozenset())
    prior = shrinkage_prior(stage, 1.0, mean)
    is_width = torch.tensor([variable != "kernel" for _, variable in stage.variables])
    expected = (prior.softmax(1) * torch.tensor(SHRINK_VALUES)).sum(1)
    torch.testing.assert_close(
        expected[is_width], torch.full((int(is_width.sum()),), mean), rtol=0, atol=1e-4
    )
    assert (prior[~is_width][:, -1] > prior[~is_width][:, 0]).all()
    around = shrinkage_prior(stage, 1.0)[is_width][0]
    assert SHRINK_VALUES[int(around.argmax())] == 0.7


@pytest.mark.parametrize(("width", "kept"), [(0.001, 0.1), (0.125, 0.5), (0.512, 0.8), (1.0, 0.9)])
def test_the_tighter_the_budget_the_fewer_layers_are_kept(width, kept):
    stage = RemovalStage(planner_of("resnet20", 4))
    prior = removal_prior(stage, kept_at_budget(width)).softmax(1)
    torch.testing.assert_close(prior[:, KEEP], torch.full((len(prior),), kept))


def rounds(tmp_path, *rows, **changes):
    return small.rounds(small.workbench(tmp_path / "run", *rows, budget_prior=True, **changes))


@pytest.mark.parametrize(
    "row", ["{metric: params, max: 20%}", "{metric: latency, stat: p50, max: 90%}"]
)
def test_the_width_at_the_budget_is_that_of_the_anchor(tmp_path, row):
    one = rounds(tmp_path, row)
    evaluate_anchors(one)
    widths = one.ledger.candidates("anchor")[-1].decision["widths"]
    share = small.mean_share(widths)
    assert 0 < share < 1
    prior = prior_for(one, RemovalStage(one.planner), 1.0)
    torch.testing.assert_close(prior[:, KEEP], torch.full((len(prior),), kept_at_budget(share)))
    one.ledger.close()


def test_without_an_anchor_it_is_counted_and_without_a_budget_it_is_not_used(tmp_path):
    one = rounds(tmp_path, "{metric: params, max: 20%}", anchor=False)
    share = share_at_budget(one.planner, frozenset(), one.evaluator.countable, Widths())
    prior = prior_for(one, RemovalStage(one.planner), 1.0)
    assert prior[0, KEEP] == pytest.approx(kept_at_budget(share))
    one.ledger.close()
    free = rounds(tmp_path / "free")
    assert prior_for(free, RemovalStage(free.planner), 1.5)[0, KEEP] == 1.5
    free.ledger.close()
