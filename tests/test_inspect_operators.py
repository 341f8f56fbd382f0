"""`hwn2n inspect` of branches, rounded widths, attention, and kernels that cannot shrink."""

import torch
from networks import Mixed, Plain, seeded
from structures import Vit
from torch import nn

import hwn2n as package
from hwn2n.network.capture import capture
from hwn2n.network.planner import Planner
from hwn2n.search.recipes import build_settings

SHAPE = (3, 8, 8)


def rows_of(found):
    return {row.name: row for row in found.rows}


def test_residual_branches_are_rows_of_their_own_with_granularity_block():
    found = package.inspect(seeded(Mixed), input_shape=SHAPE, granularity="block")
    branch = rows_of(found)["add"]
    assert branch.operations == ("depthwise", "norm", "relu_1", "back", "add")
    assert branch.removable and branch.policy and branch.reasons == ()
    assert branch.params == 8 * 9 + 8 + 16 + 8 * 8 + 8 and branch.shape == (8, 8, 8)
    names = [name for row in found.rows for name in row.operations]
    assert sorted(names) == sorted(op.name for op in found.architecture)
    assert set(branch.operations) <= found.smallest["flops"].decision.removed
    assert found.svg().count("removable") >= 1


def test_widths_that_are_rounded_make_a_larger_smallest_student():
    kept = build_settings("fast", {"removal.updates": 0})
    settings = build_settings(kept, {"round_to": 4, "min_width": 8})
    found = package.inspect(seeded(Plain), input_shape=SHAPE, recipe=settings)
    decision = found.smallest["flops"].decision
    assert decision.widths == {"conv1": 8, "conv2": 8, "fc1": 8}
    free = package.inspect(seeded(Plain), input_shape=SHAPE, recipe=kept)
    for name in ("params", "flops"):
        least = free.smallest[name].cost[name].value
        assert least < found.smallest[name].cost[name].value < getattr(found.counts, name)


def test_what_attention_keeps_and_what_it_leaves_open():
    rows = rows_of(package.inspect(seeded(Vit), input_shape=SHAPE, granularity="unit"))
    assert rows["blocks.0.fc1"].shrinkable and rows["blocks.0.fc1"].removable
    frozen = [row for row in rows.values() if "no rule for aten.unbind.int" in str(row.reasons)]
    frozen = frozen or [row for row in rows.values() if "its channels" in str(row.reasons)]
    assert any(row.policy and row.params and not row.removable for row in frozen)
    assert rows["norm"].reasons == (), "normalisation of tokens follows its stream"
    tokens = rows["token_held"]
    assert tokens.params == 8 and tokens.shrinkable and tokens.group == "patches"


def test_parameters_without_use_are_named():
    class Aided(Plain):
        def __init__(self):
            super().__init__()
            self.aux = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))

    found = package.inspect(seeded(Aided), input_shape=SHAPE)
    assert found.note == "46 parameters (aux.0.weight, aux.0.bias, ...) take no part in the logits"
    assert found.counts.params == package.inspect(seeded(Plain), input_shape=SHAPE).counts.params


def test_a_kernel_without_padding_cannot_shrink():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    captured = capture(seeded(lambda: model), SHAPE)
    assert Planner(captured.architecture).free_kernels() == {"0"}, "a larger image is flattened"

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.head = nn.Conv2d(4, 5, 1)

        def forward(self, x):
            return torch.cumsum(self.head(torch.cumsum(self.conv(x), 1)), 2).mean((2, 3))

    rows = rows_of(package.inspect(seeded(Fixed), input_shape=SHAPE))
    assert not rows["conv"].shrinkable
