"""Capture: what users write, what torch.export makes of it, and what cannot be captured."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from networks import Plain, Wrap, images, seeded
from torch import nn

from hwn2n.errors import InputError
from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.network.architecture import Architecture
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import NOTHING
from hwn2n.network.module import instantiate_with
from hwn2n.network.planner import Planner
from hwn2n.network.translation import Translation

SHAPE = (3, 8, 8)


def conv_inplace(m, x):
    y = m.conv(x)
    F.relu_(y)
    kept = y * 1.0
    y.add_(1)
    return m.head((y * kept).mean([2, 3]))


def relu_then_read(m, x):
    y = m.conv(x)
    z = F.relu(y, inplace=True)
    return m.head((y + z).mean((-2, -1), keepdim=True).flatten(1))


def broadcast_channels(m, x):
    y = m.conv(x)
    return m.head((y * y[:, :1]).mean([2, 3]))


def half_of_the_tied_weights(m, x):
    y = m.again(m.conv(x))
    return m.head(F.conv2d(y, m.again.weight, m.again.bias, stride=2).mean([2, 3]))


def size_arithmetic(m, x):
    y = m.conv(x)
    y = y.view(y.size(0) * 4, -1).view(y.size(0), 4, -1).mean(2)
    return m.head(y)


FORWARDS = {
    "in place": conv_inplace,
    "in place and read again": relu_then_read,
    "view": lambda m, x: m.head(F.max_pool2d(m.conv(x), 8).view(x.size(0), -1)),
    "flatten": lambda m, x: m.head(torch.flatten(F.adaptive_avg_pool2d(m.conv(x), 1), 1)),
    "mean": lambda m, x: m.head(F.relu6(m.conv(x)).mean(dim=(2, 3))),
    "mean in another precision": lambda m, x: m.head(m.conv(x).mean((2, 3), dtype=torch.float32)),
    "same padding": lambda m, x: m.head(
        F.conv2d(x, m.conv.weight, m.conv.bias, padding="same").mean([2, 3])
    ),
    "called twice": lambda m, x: m.head(m.again(m.again(m.conv(x))).mean([2, 3])),
    "called twice in two ways": half_of_the_tied_weights,
    "held tensor": lambda m, x: m.head((m.conv(x) * m.scale).mean([2, 3])),
    "broadcast channels": broadcast_channels,
    "no rule": lambda m, x: m.head(torch.logsumexp(m.conv(x), (2, 3))),
    "sizes": size_arithmetic,
    "split": lambda m, x: m.head(torch.cat(m.conv(x).chunk(2, 1)[::-1], 1).mean([2, 3])),
    "elu with scales": lambda m, x: m.head(torch.ops.aten.elu(m.conv(x), 0.5, 2.0).mean([2, 3])),
    "norm without a bias": lambda m, x: m.head(
        F.batch_norm(m.conv(x), m.bn.running_mean, m.bn.running_var, m.bn.weight).mean([2, 3])
    ),
    "normalised input": lambda m, x: m.head(m.conv((x - 0.5) / 0.25).mean([2, 3])),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_captured_exactly(name):
    model = seeded(lambda: Wrap(FORWARDS[name]))
    captured = capture(model, SHAPE)
    x = images(SHAPE, 3)
    with torch.no_grad():
        assert torch.equal(captured.module()(x), model(x))
    assert Planner(captured.architecture).plan(NOTHING) == captured.architecture
    text = json.dumps(captured.architecture.to_json())
    again = Architecture.from_json(json.loads(text))
    assert again.key() == captured.architecture.key()
    with torch.no_grad():
        assert torch.equal(instantiate_with(again, captured.weights)(x), model(x))


def test_shared_module_is_counted_once():
    captured = capture(seeded(lambda: Wrap(FORWARDS["called twice"])), SHAPE)
    by_name = captured.architecture.by_name()
    assert by_name["again_1"].config["tied_to"] == "again"
    assert count(captured.architecture).params == (3 * 9 + 1) * 4 + (4 * 9 + 1) * 4 + 25
    student = captured.module()
    assert counted_by_fvcore(student, images(SHAPE, 1)).flops == count(captured.architecture).flops
    # the same weights, so the same channels before, between and behind
    assert Planner(captured.architecture).channels.groups["conv"].producers == (
        "conv",
        "again",
        "again_1",
    )


def test_names_and_state_are_the_models_own():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.input = nn.Conv2d(3, 4, 1)
            self.relu = nn.ReLU()
            self.relu_1 = nn.Linear(4, 5)
            self.flatten = nn.Sequential(nn.Linear(5, 5))
            self.norm = nn.BatchNorm1d(5, momentum=None)

        def forward(self, x):
            x = self.relu(self.relu(self.input(x)).mean([2, 3]))
            return self.norm(self.flatten(torch.flatten(self.relu_1(x), 1)))

    model = seeded(Named)
    captured = capture(model, SHAPE)
    assert captured.weights.keys() == model.state_dict().keys()
    assert captured.weights["norm.num_batches_tracked"] == 7
    assert captured.architecture.by_name()["norm"].config["momentum"] is None
    assert torch.equal(captured.module()(images(SHAPE)), model(images(SHAPE)))


def test_the_model_is_left_as_it_was():
    model = seeded(Plain).train()
    model.bn1.eval()
    before = copy.deepcopy(model.state_dict())
    rng = torch.get_rng_state()
    captured = capture(model, SHAPE)
    assert torch.equal(torch.get_rng_state(), rng)
    assert model.training
    assert model.bn2.training
    assert not model.bn1.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    captured.module().load_state_dict({k: v * 0 for k, v in captured.weights.items()})
    assert model.conv1.weight.abs().sum() > 0
    assert captured.weights["conv1.weight"].abs().sum() > 0


def data_dependent(m, x):
    return m.head(m.conv(x).mean([2, 3])) * (1 if x.sum() > 0 else 2)


REFUSED = {
    "data": (data_dependent, "torch.export must be able to trace"),
    "random": (
        lambda m, x: m.head((m.conv(x) + torch.randn_like(m.conv(x))).mean([2, 3])),
        "depend on random numbers",
    ),
    "dict": (lambda m, x: {"out": m.head(m.conv(x).mean([2, 3]))}, "but returns dict"),
    "tuple": (lambda m, x: (m.head(m.conv(x).mean([2, 3])),), "but returns tuple"),
    "rank": (lambda m, x: m.conv(x), r"but returns shape \(2, 4, 8, 8\)"),
    "NaN": (lambda m, x: m.head(m.conv(x).mean([2, 3])) * float("nan"), "must give finite logits"),
    "batch size": (lambda m, x: m.head(m.conv(x).reshape(2, 4, -1).mean(2)), "torch.export must"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name):
    forward, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        capture(seeded(lambda: Wrap(forward)), SHAPE)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_wrong_input_shape_and_two_inputs():
    with pytest.raises(InputError, match=r"must accept images of shape \(N, 1, 8, 8\)"):
        capture(seeded(Plain), (1, 8, 8))

    class Two(Plain):
        def forward(self, x, y):
            return super().forward(x + y)

    with pytest.raises(InputError, match="must accept images"):
        capture(seeded(Two), SHAPE)


def write_into_a_part(m, x):
    y = m.conv(x)
    y[:, 0] = 3.0
    return m.head(y.mean([2, 3]))


def write_through_a_view(m, x):
    y = m.conv(x)
    first = y[:, :2]
    F.relu(y, inplace=True)
    return m.head(torch.cat([first, y[:, 2:]], 1).mean([2, 3]))


def mask_of_numbers(m, x):
    mask = x.new_zeros(8, 8)
    mask[2:4, 1:] = 2.0
    mask[:2] = -1.0
    y = m.conv(x) + mask
    mask.mul_(0.5)
    return m.head((y * mask).mean([2, 3]))


@pytest.mark.parametrize("forward", [write_into_a_part, write_through_a_view, mask_of_numbers])
def test_writes_into_parts_of_a_tensor(forward):
    model = seeded(lambda: Wrap(forward))
    captured = capture(model, SHAPE)
    x = images(SHAPE, 3)
    with torch.no_grad():
        assert torch.equal(captured.module()(x), model(x))
    if forward is mask_of_numbers:  # computed once: the two states of the mask that were read
        kinds = [op.kind for op in captured.architecture]
        assert kinds.count("constant") == 2
        assert "function" not in kinds


@pytest.mark.parametrize(
    "view",
    [
        lambda y: y.movedim(1, -1),
        lambda y: y.swapdims(1, 2),
        lambda y: y.unfold(3, 2, 2),
        lambda y: y.mT,
        lambda y: y.tensor_split(2, 1)[0],
        lambda y: y.broadcast_to(y.shape),
        lambda y: y.as_strided(y.shape, y.stride()),
        lambda y: y.to(torch.float32),
    ],
)
def test_writes_that_a_view_of_any_kind_shows(view):
    def forward(m, x):
        y = m.conv(x)
        seen = view(y)
        y.mul_(2.0)
        return m.head(y.mean((2, 3))) + seen.flatten(1).sum(1, keepdim=True)

    model = seeded(lambda: Wrap(forward))
    captured, x = capture(model, SHAPE), images(SHAPE, 3)
    with torch.no_grad():
        assert torch.equal(captured.module()(x), model(x))


def test_an_operation_is_never_called_like_what_every_module_has():
    names = Translation({})
    assert names.unique("half") == "half_1"
    assert names.unique("block.train") == "block.train_1"
    assert names.unique("halves") == "halves"
