"""What policies prefer at first: the expected decision is the uniform one at the budget."""

from __future__ import annotations

import pytest
import torch
from networks import planner_of

from hwn2n.budget.load import load_budget
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.search.choices.actions import SHRINK_VALUES, ShrinkageStage
from hwn2n.search.choices.prior import share_at_budget, shrinkage_prior
from hwn2n.search.projection import project
from hwn2n.search.widths import Widths


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
