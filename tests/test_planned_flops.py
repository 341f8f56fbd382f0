"""FLOPs of operators without a rule: those of a plan are those of the traced network."""

import pytest
import torch
import torch.nn.functional as F
from fvcore.nn.flop_count import _DEFAULT_SUPPORTED_OPS
from networks import images, seeded
from structures import Net, conv, pooled
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.hardware.flop_rules import CONTRACTIONS, SAME_AS_FVCORES
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.inherit import Inheritance
from hwn2n.network.module import instantiate_with
from hwn2n.network.operators.work import FLOPS
from hwn2n.network.planner import Planner

SHAPE = (3, 8, 8)


def test_what_is_counted_in_a_trace_is_counted_in_a_plan():
    traced = {*CONTRACTIONS, *SAME_AS_FVCORES, *_DEFAULT_SUPPORTED_OPS}
    # An operator that works in place is planned as the one that does not.
    traced = {name.removeprefix("aten::").removesuffix("_") for name in traced}
    planned = {target.split(".")[1] for target in FLOPS}
    convolutions = {name for name in planned if name.startswith("conv") and name != "conv_tbc"}
    assert planned - convolutions == traced - {"_convolution", "_convolution_mode"}
    for target in FLOPS:
        _, name, overload = target.split(".")
        assert hasattr(getattr(torch.ops.aten, name), overload)


class Head(nn.Module):
    """Two convolutions, and what a function makes of (itself, 12 features, the images)."""

    def __init__(self, function, **parts):
        super().__init__()
        self.stem, self.inner = conv(3, 6), conv(6, 12)
        self.matrix = nn.Parameter(torch.randn(12, 5))
        self.rows = nn.Parameter(torch.randn(5, 12))
        self.vector = nn.Parameter(torch.randn(5))
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, x):
        return self.function(self, pooled(self.inner(F.relu(self.stem(x)))), x)


def gates(name):
    """A recurrent layer over the rows of the images."""

    def forward(m, h, x):
        return m.out(getattr(m, name)(x.flatten(1, 2))[0][:, -1] + h)

    return forward


HEADS = {
    "addmm": lambda m, h, x: torch.addmm(m.vector, h, m.matrix),
    "addmm_": lambda m, h, x: (x[:, 0, 0, :5] + 1).addmm_(h, m.matrix),
    "mm": lambda m, h, x: torch.mm(h, m.matrix),
    "mv": lambda m, h, x: h @ m.matrix + torch.mv(m.rows, m.matrix.sum(1)),
    "dot": lambda m, h, x: h @ m.matrix * torch.dot(m.vector, m.vector),
    "outer": lambda m, h, x: h @ torch.outer(m.matrix[:, 0], m.vector),
    "baddbmm": lambda m, h, x: torch.baddbmm(h[:, None], h[:, None], m.square(h))[:, 0, :5],
    "tensordot": lambda m, h, x: torch.tensordot(h, m.matrix, dims=1),
    "inner": lambda m, h, x: torch.inner(h, m.rows),
    "bilinear": lambda m, h, x: m.bilinear(h, h),
    "cosine": lambda m, h, x: F.cosine_similarity(h[:, None], m.rows[None], dim=-1),
    "cdist": lambda m, h, x: torch.cdist(h, m.rows, compute_mode="donot_use_mm_for_euclid_dist"),
    "vecdot": lambda m, h, x: torch.linalg.vecdot(h[:, None], m.rows),
    "einsum": lambda m, h, x: torch.einsum("ni,oi,oi->no", h, m.rows, m.rows),
    "attention": lambda m, h, x: (
        F.scaled_dot_product_attention(x, x, x)[:, 0, 0, :5] + h @ m.matrix
    ),
    "normalised": lambda m, h, x: F.linear(F.normalize(h), F.normalize(m.rows)),
    "spectral": lambda m, h, x: m.spectral(h),
    "conv1d": lambda m, h, x: m.conv1d(x.flatten(2)).mean(2) + h @ m.matrix,
    "conv3d": lambda m, h, x: m.conv3d(x[:, None]).mean((2, 3, 4)) + h @ m.matrix,
    "transposed": lambda m, h, x: m.transposed(x.flatten(2)).mean(2) + h @ m.matrix,
    "gru": gates("gru"),
    "lstm": gates("lstm"),
    "rnn": gates("rnn"),
}


def head(name):
    torch.manual_seed(0)
    recurrent = {"batch_first": True}
    parts = {
        "bilinear": {"bilinear": nn.Bilinear(12, 12, 5)},
        "spectral": {"spectral": spectral_norm(nn.Linear(12, 5))},
        "conv1d": {"conv1d": nn.Conv1d(3, 5, 3, padding="same")},
        "conv3d": {"conv3d": nn.Conv3d(1, 5, 3, padding=1)},
        "transposed": {"transposed": nn.ConvTranspose1d(3, 5, 3, stride=2)},
        "gru": {"gru": nn.GRU(8, 12, 2, **recurrent), "out": nn.Linear(12, 5)},
        "lstm": {"lstm": nn.LSTM(8, 12, **recurrent), "out": nn.Linear(12, 5)},
        "rnn": {"rnn": nn.RNN(8, 12, **recurrent), "out": nn.Linear(12, 5)},
    }
    model = Head(HEADS[name], **parts.get(name, {}))
    model.square = lambda h: h[:, :, None] * h[:, None]
    return model


@pytest.mark.parametrize("name", HEADS)
def test_a_plan_counts_what_a_trace_counts(name):
    model = seeded(lambda: head(name))
    captured = capture(model, SHAPE)
    x = images(SHAPE, 1)
    found = counted_by_fvcore(model, x)
    assert count(captured.architecture).flops == found.flops
    planner, decision = Planner(captured.architecture), Decision(widths={"stem": 2})
    plan = planner.plan(decision)
    weights = Inheritance(captured, planner).weights(plan, decision, seed=0)
    student = instantiate_with(plan, weights)
    assert count(plan).flops == planner.count(decision).flops
    assert count(plan).flops == counted_by_fvcore(student, x).flops < found.flops


def test_a_recurrent_layer_in_the_middle():
    def forward(m, x):
        steps, _ = m.gru(F.relu(m.stem(x)).flatten(2).transpose(1, 2))
        return steps[:, -1]

    model = seeded(
        lambda: Net(
            forward, stem=conv(3, 4), gru=nn.GRU(4, 6, batch_first=True), head=nn.Linear(6, 5)
        )
    )
    planned = count(capture(model, SHAPE).architecture).flops
    assert planned == 64 * (27 * 4 + 3 * (4 + 6) * 6) + 30
    assert planned == counted_by_fvcore(model, images(SHAPE, 1)).flops
