"""Transformers: MLPs, branches and the stream can be reached; attention keeps its own channels."""

import pytest
import torch
from networks import images, seeded
from structures import Vit, Windows
from torch import nn

from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.inherit import Inheritance
from hwn2n.network.layers import find_layers
from hwn2n.network.module import instantiate_with
from hwn2n.network.planner import Planner

SHAPE = (3, 8, 8)


@pytest.mark.parametrize(
    ("make", "stream", "widths"),
    [
        (Vit, "patches", {"patches": 5, "blocks.0.fc1": 9, "blocks.1.fc1": 1}),
        (Windows, "patches", {"patches": 4, "merge": 7}),
    ],
)
def test_streams_and_mlps_shrink(make, stream, widths):
    model = seeded(make)
    captured = capture(model, SHAPE)
    planner = Planner(captured.architecture)
    x = images(SHAPE, 3)
    with torch.no_grad():
        torch.testing.assert_close(captured.module()(x), model(x), rtol=0, atol=1e-5)
    free = {name for name, group in planner.channels.groups.items() if not group.frozen}
    assert free == set(widths)
    frozen = [group.frozen for group in planner.channels.groups.values() if group.frozen]
    reasons = ("no rule for aten", "divides its channels")  # attention's own channels
    assert any(reason in text for text in frozen for reason in reasons)
    decision = Decision(widths=widths)
    plan = planner.plan(decision)
    student = instantiate_with(plan, Inheritance(captured, planner).weights(plan, decision, seed=0))
    student.train()
    student(x).sum().backward()
    assert all(p.grad is not None for p in student.parameters())
    for architecture, module in ((planner.teacher, captured.module()), (plan, student.eval())):
        counts, fvcore = count(architecture), counted_by_fvcore(module, images(SHAPE, 1))
        assert (counts.params, counts.flops) == (fvcore.params, fvcore.flops)
        assert counts.weight_bytes == fvcore.weight_bytes


def test_a_class_token_and_positions_follow_the_stream():
    captured = capture(seeded(Vit), SHAPE)
    planner = Planner(captured.architecture)
    assert {"token_held", "positions_held"} < set(planner.channels.groups["patches"].producers)
    decision = Decision(widths={"patches": 3})
    plan = planner.plan(decision)
    inheritance = Inheritance(captured, planner)
    new = inheritance.weights(plan, decision, seed=0)
    kept = inheritance.keep("patches", 3)
    for name in ("token", "positions"):
        old = captured.weights[f"{name}_held.weight"]
        assert torch.equal(new[f"{name}_held.weight"], old[:, :, kept])
    assert torch.equal(new["patches.weight"], captured.weights["patches.weight"][kept])
    fc1, old = new["blocks.0.fc1.weight"], captured.weights["blocks.0.fc1.weight"]
    assert torch.equal(fc1, old[:, kept])


def test_branches_of_a_transformer_are_blocks():
    planner = Planner(capture(seeded(Vit), SHAPE).architecture)
    blocks = [layer for layer in find_layers(planner, "block") if layer.kind == "add"]
    assert len(blocks) == 4
    assert all(block.removable for block in blocks)
    everything = frozenset(name for block in blocks for name in block.operations)
    left = planner.plan(Decision(removed=everything))
    kinds = [op.kind for op in left if op.kind in ("linear", "layer_norm", "conv2d", "add")]
    assert kinds == ["conv2d", "add", "layer_norm", "linear"]
    assert count(left).params == 3 * 16 * 8 + 8 + 8 + 40 + 16 + 45


def test_the_mask_of_shifted_windows_is_one_constant():
    captured = capture(seeded(Windows), SHAPE)
    [mask] = [op for op in captured.architecture if op.kind == "constant"]
    assert mask.config == {"shape": [4, 4], "dtype": "float32", "trainable": False}
    wanted = torch.zeros(4, 4)
    wanted[:2, 2:] = -1
    assert torch.equal(captured.weights[f"{mask.name}.weight"], wanted)


class PositionMlp(nn.Module):
    """Swin v2: a bias for each position, of a small network over a table of offsets."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, stride=2)
        grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 4)] * 2, indexing="ij"), 2)
        self.register_buffer("offsets", grid.unsqueeze(0))
        self.mlp = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 8, bias=False))
        self.scale = nn.Parameter(torch.ones(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        bias = self.mlp(self.offsets).permute(0, 3, 1, 2)
        scale = self.scale.clone()
        scale[:2].zero_()
        x = self.patches(x) + bias
        return self.head((x * scale.view(1, -1, 1, 1)).mean((2, 3)))


@pytest.mark.parametrize("removed", [(), ("mlp.0", "mlp.1")])
def test_a_network_over_positions_follows_or_starts_fresh(removed):
    model = seeded(PositionMlp)
    captured = capture(model, SHAPE)
    planner = Planner(captured.architecture)
    x = images(SHAPE, 3)
    decision = Decision(removed=frozenset(removed))
    plan = planner.plan(decision)
    weights = Inheritance(captured, planner).weights(plan, decision, seed=0)
    student = instantiate_with(plan, weights)
    with torch.no_grad():
        if not removed:
            torch.testing.assert_close(student(x), model(x))
        else:
            assert weights["mlp.2.weight"].shape == (8, 2)  # reads the offsets themselves
    counts, fvcore = count(plan), counted_by_fvcore(student, images(SHAPE, 1))
    assert (counts.params, counts.flops) == (fvcore.params, fvcore.flops)
