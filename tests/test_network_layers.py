"""The policy's view of a network, and the operators that are built as they were exported."""

import pytest
import torch
import torch.nn.functional as F
from networks import Mixed, Plain, Wrap, captured_teacher, images, planner_of, seeded
from torch import nn

from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.layers import find_layers
from hwn2n.network.operators.base import pooled
from hwn2n.network.planner import Planner

SHAPE = (3, 8, 8)


def planner(make, shape=SHAPE):
    return Planner(capture(seeded(make), shape).architecture)


def test_units_of_a_plain_network():
    layers = find_layers(planner(Plain))
    assert [layer.operations for layer in layers] == [
        ("conv1", "bn1", "relu"),
        ("conv2", "bn2", "relu_1"),
        ("pool",),
        ("fc1", "relu_2"),
        ("fc2",),
    ]
    first, _, pool, hidden, last = layers
    assert (first.kind, first.kernel, first.stride, first.padding) == ("conv2d", 5, 1, 2)
    assert (first.inputs, first.outputs) == (3, 8)
    assert first.params == 8 * (3 * 25 + 1) + 2 * 8
    assert first.flops == 64 * 8 * 75 + 2 * 8 * 64  # convolution, then the norm
    assert (pool.kind, pool.kernel, pool.stride, pool.params) == ("max_pool2d", 2, 2, 0)
    assert (hidden.kernel, hidden.inputs, hidden.outputs) == (0, 192, 20)
    assert [layer.reason for layer in layers] == [None, None, None, None, "fc2 makes the logits"]
    assert (first.skip_start, first.skip_end) == (False, False)
    assert last.outputs == 5
    assert not last.removable


def test_every_operation_a_layer_of_its_own():
    layers = find_layers(planner(Plain), "operator")
    assert [layer.name for layer in layers][:3] == ["conv1", "bn1", "relu"]
    assert all(len(layer.operations) == 1 for layer in layers)
    assert sum(layer.params for layer in layers) == sum(
        layer.params for layer in find_layers(planner(Plain))
    )


def test_shortcuts_of_a_resnet():
    layers = {layer.name: layer for layer in find_layers(planner_of("resnet20", 8))}
    stem, last = layers["conv"], layers["features.stage1.0.conv2"]
    assert stem.operations == ("conv", "bn", "relu")
    assert (stem.skip_start, stem.skip_end) == (True, False)
    assert last.operations == ("features.stage1.0.conv2", "features.stage1.0.bn2")
    assert (last.skip_start, last.skip_end) == (True, True)  # the next block's, from the sum
    inner, final = layers["features.stage1.0.conv1"], layers["features.stage3.2.conv2"]
    assert (inner.skip_start, inner.skip_end) == (False, False)
    assert (final.skip_start, final.skip_end) == (False, True)
    assert sum(layer.params for layer in layers.values()) == 272_474


def test_layers_after_a_removal():
    teacher = planner_of("resnet20", 8)
    block = "features.stage2.0"
    removed = frozenset({f"{block}.conv1", f"{block}.bn1", f"{block}.relu1"})
    left = [layer.name for layer in find_layers(teacher, removed=removed)]
    full = [layer.name for layer in find_layers(teacher)]
    assert left == [name for name in full if name != f"{block}.conv1"]  # no layer for the bypass
    for layer in find_layers(teacher):
        if layer.removable:
            assert teacher.plan(Decision(removed=frozenset(layer.operations)))


@pytest.mark.parametrize("arch", ["conv4", "vgg19", "resnet34"])
def test_all_but_stem_and_classifier_of_the_papers_teachers(arch):
    kept = [layer.name for layer in find_layers(planner_of(arch, 8)) if not layer.removable]
    assert kept == (["conv", "classifier"] if arch == "resnet34" else ["classifier"])


def test_a_layer_that_nothing_could_read_without_says_why():
    def make():
        return nn.Sequential(
            nn.Conv2d(3, 64, 1), nn.MaxPool2d(8), nn.Flatten(), nn.Linear(64 * 16, 5)
        )

    [_, pool, _] = find_layers(planner(make, (3, 32, 32)))
    assert "giant fully connected layer of 65536 inputs" in pool.reason


OPERATORS = {
    "pools": lambda m, x: m.head(
        F.avg_pool2d(F.max_pool2d(m.conv(x), 3, 2, 1, ceil_mode=True), 3, 2, ceil_mode=True).mean(
            (2, 3)
        )
    ),
    "unpadded average": lambda m, x: m.head(
        F.avg_pool2d(m.conv(x), 3, 2, 1, count_include_pad=False).mean((2, 3))
    ),
    "dilated pool": lambda m, x: m.head(
        F.max_pool2d(m.conv(x), 2, 1, 0, dilation=2).mean((2, 3), keepdim=True).flatten(1)
    ),
    "activations": lambda m, x: m.head(
        F.elu(F.leaky_relu(F.hardswish(F.gelu(m.conv(x), approximate="tanh")), 0.2), 0.7).mean(
            (2, 3)
        )
    ),
    "more activations": lambda m, x: m.head(
        F.hardtanh(F.silu(F.gelu(m.conv(x))), -0.5, 0.7).sigmoid().tanh().mean((2, 3))
    ),
    "dilated and strided": lambda m, x: m.head(
        F.conv2d(x, m.conv.weight, m.conv.bias, (2, 1), (2, 0), (2, 1)).mean((2, 3))
    ),
    "difference and product": lambda m, x: m.head(
        ((m.conv(x) - m.again(m.conv(x))) * m.conv(x)).mean((2, 3))
    ),
    "excitation": lambda m, x: m.head(
        (m.conv(x) * m.conv(x).mean((2, 3), keepdim=True).sigmoid()).mean((2, 3))
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_exact_narrow_and_counted(name):
    model = seeded(lambda: Wrap(OPERATORS[name]))
    captured = capture(model, SHAPE)
    with torch.no_grad():
        assert torch.equal(captured.module()(images(SHAPE)), model(images(SHAPE)))
    assert "function" not in {op.kind for op in captured.architecture}
    teacher = Planner(captured.architecture)
    narrow = teacher.plan(Decision(widths={"conv": 2}))
    for architecture in (captured.architecture, narrow):
        student = capture(instantiated(architecture), SHAPE).module()
        found = counted_by_fvcore(student, images(SHAPE, 1))
        counts = count(architecture)
        assert (counts.params, counts.flops, counts.weight_bytes) == (
            found.params,
            found.flops,
            found.weight_bytes,
        )


def instantiated(architecture):
    from hwn2n.network.module import instantiate

    return seeded(lambda: instantiate(architecture))


@pytest.mark.parametrize("ceil", [False, True])
def test_pooled_is_torchs_own_length(ceil):
    for length in range(1, 12):
        for kernel in range(1, 4):
            for stride in range(1, 4):
                for padding in range(kernel // 2 + 1):
                    found = pooled(length, kernel, stride, padding, 1, ceil)
                    if length + 2 * padding < kernel:
                        assert found < 1 or ceil
                        continue
                    pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
                    assert pool(torch.zeros(1, length, length)).shape[1] == found


def test_counts_of_a_mixed_network_by_hand():
    counts = count(planner(Mixed).teacher)
    stem, depthwise, norm, back = 8 * 28, 8 * 10, 16, 8 * 9
    left, right = 6 * 73, 80
    hidden, classifier = 12 * 257, 5 * 13
    assert counts.params == stem + depthwise + norm + back + left + right + hidden + classifier
    assert counts.weight_bytes == 4 * counts.params + 4 * 16 + 8
    spatial = 8 * 27 + 8 * 9 + 8 * 2 + 8 * 8 + 6 * 72 + 10 * 8  # for each of 64 positions
    assert counts.flops == 64 * spatial + 12 * 256 + 5 * 12


def test_students_print_readable_code():
    code = captured_teacher("digits-cnn", 4).module().code
    assert "features.conv1" in code
    assert "def forward(self, x)" in code
