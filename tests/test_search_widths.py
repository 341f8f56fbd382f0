"""Widths that hardware likes: multiples, a floor, whole units; in actions and in projection."""

import pytest
import torch
from networks import planner_of

from hwn2n.budget.load import load_budget
from hwn2n.errors import InputError
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.channels import ChannelGroup
from hwn2n.network.counts import count
from hwn2n.network.decision import NOTHING
from hwn2n.search.choices.actions import SHRINK_VALUES, ShrinkageStage
from hwn2n.search.fitting.projection import project
from hwn2n.search.fitting.widths import Widths
from hwn2n.search.reach import smallest_student
from hwn2n.search.recipes import build_settings


def group(width, step=1, per_unit=None):
    return ChannelGroup("conv", width, ("conv",), None, step, per_unit or (step,))


def shares(widths, of):
    return [widths.nearest(of, share) for share in SHRINK_VALUES]


@pytest.mark.parametrize(
    ("widths", "of", "wanted"),
    [
        (Widths(), group(1), [1] * 10),
        (Widths(), group(3), [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]),
        (Widths(), group(16), [2, 3, 5, 6, 8, 10, 11, 13, 14, 16]),
        (Widths(round_to=8), group(64), [8, 16, 16, 24, 32, 40, 48, 48, 56, 64]),
        (Widths(round_to=8), group(35), [8, 8, 8, 16, 16, 24, 24, 32, 32, 35]),
        (Widths(round_to=16), group(24), [16] * 8 + [24, 24]),
        (Widths(round_to=32), group(24), [24] * 10),
        (Widths(round_to=8, floor=24), group(64), [24, 24, 24, 24, 32, 40, 48, 48, 56, 64]),
        (Widths(floor=5), group(3), [3] * 10),
        (Widths(floor=10), group(16), [10] * 6 + [11, 13, 14, 16]),
        (Widths(), group(32, 4), [4, 8, 8, 12, 16, 20, 24, 24, 28, 32]),
        (Widths(round_to=8), group(32, 4), [8, 8, 8, 16, 16, 16, 24, 24, 32, 32]),
        # layers of the group make 4 and 6 channels for each unit: both are multiples of 8
        (Widths(round_to=8), group(32, 4, (4, 6)), [16, 16, 16, 16, 16, 16, 16, 32, 32, 32]),
    ],
)
def test_widths_nearest_to_a_share(widths, of, wanted):
    assert shares(widths, of) == wanted
    assert widths.least(of) <= wanted[0]


def test_widths_at_most():
    widths = Widths(round_to=8, floor=16)
    assert [widths.at_most(group(35), w) for w in (0, 15, 23, 24, 34, 35, 40)] == [
        16, 16, 16, 24, 32, 35, 35,
    ]  # fmt: skip
    assert [Widths().at_most(group(12, 3), w) for w in (1, 5, 6, 11, 12)] == [3, 3, 6, 9, 12]


@pytest.mark.parametrize("bad", [{"round_to": 0}, {"floor": -1}])
def test_bad_numbers(bad):
    with pytest.raises(InputError, match=r"must be at least 1, but got"):
        Widths(**bad)


def test_settings():
    settings = build_settings("fast", {"round_to": 16, "min_width": 32})
    assert settings.widths == Widths(round_to=16, floor=32)
    assert build_settings("paper").widths == Widths()
    for name in ("round_to", "min_width"):
        with pytest.raises(InputError, match=f"setting {name}: .* greater than or equal to 1"):
            build_settings("fast", {name: 0})


def test_actions_choose_multiples():
    teacher = planner_of("resnet18", 8)
    stage = ShrinkageStage(teacher, frozenset(), widths=Widths(round_to=32, floor=64))
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        chosen = torch.randint(0, 10, (len(stage.steps),), generator=generator)
        decision = stage.decision(stage.steps.settle(chosen).tolist())
        assert all(width % 32 == 0 and width >= 64 for width in decision.widths.values())
        plan = teacher.plan(decision)
        assert all(op.config["out_channels"] % 32 == 0 for op in plan if op.kind == "conv2d")


def limits(params):
    row = {"metric": "params", "max": params}
    return load_budget({"apiVersion": "hwn2n/v1", "name": "t", "constraints": [row]}).resolve({})


def test_projection_and_reach_keep_to_the_widths():
    teacher = planner_of("resnet18", 8)
    allowed = Widths(round_to=16, floor=32)
    whole = count(teacher.teacher).params
    found = project(teacher, NOTHING, limits(whole // 3), allowed)
    assert count(teacher.plan(found)).params <= whole // 3
    assert all(width % 16 == 0 and width >= 32 for width in found.widths.values())
    free = project(teacher, NOTHING, limits(whole // 3))
    assert any(width % 16 for width in free.widths.values())
    with pytest.raises(IllegalArchitectureError, match=r"round_to 16, min_width 32"):
        project(teacher, NOTHING, limits(1000), allowed)
    settings = build_settings("fast", {"round_to": 16, "min_width": 32})
    least, cost = smallest_student(teacher, settings, limits(1000))
    assert all(width == 32 for width in least.widths.values())
    assert cost["params"].value < whole
