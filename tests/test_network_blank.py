"""Building without values: shapes as torch has them, no memory, no random numbers."""

import pytest
import torch
from networks import planner_of, seeded
from structures import NETWORKS, Vit
from torch import nn

from hwn2n.network.blank import Blank, state_shapes
from hwn2n.network.capture import capture
from hwn2n.network.operators import rule
from hwn2n.network.picking import PICKERS


@pytest.mark.parametrize("make", [*(make for make, _, _ in NETWORKS.values()), Vit])
def test_shapes_are_those_of_the_module_that_is_built(make):
    for op in capture(seeded(make), (3, 8, 8)).architecture:
        if op.kind in PICKERS:
            built = rule(op).build(op).state_dict()
            assert state_shapes(op) == {key: tuple(value.shape) for key, value in built.items()}
            assert list(state_shapes(op)) == list(built)


@pytest.mark.parametrize(
    "changes",
    [
        {"affine": False},
        {"track_running_stats": False},
        {"affine": False, "track_running_stats": False},
    ],
)
def test_normalisation_without_some_of_its_state(changes):
    op = next(op for op in planner_of("resnet20", 8).teacher if op.kind == "batch_norm")
    op = op.with_config(**changes)
    built = rule(op).build(op).state_dict()
    assert state_shapes(op) == {key: tuple(value.shape) for key, value in built.items()}


def test_blank_modules_draw_nothing_and_hold_nothing():
    state = torch.get_rng_state()
    with Blank():
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
        explicit = torch.zeros(2, device="cpu")
    assert torch.equal(state, torch.get_rng_state())
    assert all(tensor.device.type == "meta" for tensor in module.state_dict().values())
    assert explicit.device.type == "cpu"
    again = nn.Linear(4, 2)
    assert again.weight.device.type == "cpu" and bool(again.weight.abs().sum() > 0)
