"""Transformers: MLPs, branches and the stream can be reached; attention keeps its own channels."""

import pytest
import torch
import torch.nn.functional as F
from networks import images, seeded
from torch import nn

from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.inherit import Inheritance
from hwn2n.network.layers import find_layers
from hwn2n.network.module import instantiate_with
from hwn2n.network.planner import Planner, count

SHAPE = (3, 8, 8)


class Block(nn.Module):
    """Attention of two heads and an MLP, both behind a norm and beside a shortcut."""

    def __init__(self, width):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    """Patches of 4x4, a class token, an embedding of positions, two blocks."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Windows(nn.Module):
    """Swin's windows: cut, attended to, put together again, merged four to one."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 2, 2)
        self.norm = nn.LayerNorm(6)
        self.qkv = nn.Linear(6, 18)
        self.project = nn.Linear(6, 6)
        self.merge = nn.Linear(24, 10, bias=False)
        self.head = nn.Linear(10, 5)

    def forward(self, x):
        x = self.patches(x).permute(0, 2, 3, 1)
        y = torch.roll(self.norm(x), (-1, -1), (1, 2))
        y = y.view(-1, 2, 2, 2, 2, 6).transpose(2, 3).reshape(-1, 4, 6)
        q, k, v = self.qkv(y).view(-1, 4, 3, 2, 3).permute(2, 0, 3, 1, 4)
        mask = x.new_zeros(4, 4)
        mask[:2, 2:] = -1.0
        y = (torch.softmax(q @ k.transpose(-2, -1) + mask, -1) @ v).transpose(1, 2)
        y = self.project(y.reshape(-1, 4, 6)).view(-1, 2, 2, 2, 2, 6)
        x = x + torch.roll(y.transpose(2, 3).reshape(-1, 4, 4, 6), (1, 1), (1, 2))
        corners = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
        return self.head(self.merge(torch.cat(corners, -1)).mean((1, 2)))


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
