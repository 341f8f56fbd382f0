"""Students of networks with groups, shuffles, branches and attention, in every format."""

import random
from functools import cache

import pytest
import torch
from networks import images, random_decision, seeded
from structures import NETWORKS, Vit, Windows
from test_export_code import formatted, run, write
from torchvision import models

import hwn2n as package
from hwn2n.exporting.code.classes import STANDARDISED_CLASS
from hwn2n.exporting.formats import FORMATS
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.files import Teacher
from hwn2n.network.inherit import Inheritance
from hwn2n.network.layers import find_layers
from hwn2n.network.module import instantiate_with
from hwn2n.network.operators.standardised import StandardisedConv2d
from hwn2n.network.planner import Planner

SMALL = {name: (make, widths) for name, (make, widths, _) in NETWORKS.items()}
SMALL |= {
    "vit": (Vit, {"patches": 5, "blocks.0.fc1": 9}),
    "windows": (Windows, {"patches": 4, "merge": 7}),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_program_of_a_student_computes_what_it_does(name, tmp_path):
    make, widths = SMALL[name]
    captured = capture(seeded(make), (3, 8, 8))
    planner, decision = Planner(captured.architecture), Decision(widths=widths)
    plan = planner.plan(decision)
    weights = Inheritance(captured, planner).weights(plan, decision, seed=0)
    source = write(plan, weights)
    given = images((3, 8, 8), 3)
    with torch.no_grad():
        again, student = run(source, weights), instantiate_with(plan, weights)
        assert torch.equal(again(given), student(given))
        assert again(given[:1]).shape == (1, 5)
    assert sorted(p.numel() for p in again.parameters()) == sorted(
        p.numel() for p in student.parameters()
    )
    assert formatted(source.text, tmp_path)
    assert ("class StandardisedConv2d" in source.text) == (name == "standardised")


@pytest.mark.parametrize("gamma", [None, 1.7])
def test_the_class_of_standardised_convolutions_is_that_of_hwn2n(gamma):
    space = {"torch": torch, "nn": torch.nn, "Tensor": torch.Tensor}
    exec(STANDARDISED_CLASS, space)
    mine = StandardisedConv2d(4, 6, 3, padding=1, groups=2, eps=1e-5, gamma=gamma)
    theirs = space["StandardisedConv2d"](4, 6, 3, padding=1, groups=2, eps=1e-5, gamma=gamma)
    theirs.load_state_dict(mine.state_dict())
    given = torch.randn(2, 4, 5, 5)
    assert torch.equal(mine(given), theirs(given))


def shufflenet():
    return models.ShuffleNetV2([1, 2, 1], [8, 16, 16, 32, 32], 7)


def densenet():
    return models.DenseNet(8, (2, 2), 16, num_classes=7)


def mobilenet_v3():
    rows = [
        (16, 3, 16, 16, True, "RE", 2, 1, 1.0),
        (16, 3, 48, 24, False, "HS", 2, 1, 1.0),
        (24, 5, 48, 24, True, "HS", 1, 1, 1.0),
    ]
    setting = [models.mobilenetv3.InvertedResidualConfig(*row) for row in rows]
    return models.MobileNetV3(setting, 32, num_classes=7)


def convnext():
    block = models.convnext.CNBlockConfig
    setting = [block(8, 16, 2), block(16, None, 1)]
    return models.ConvNeXt(setting, num_classes=7)


def regnet():
    return models.RegNet(
        models.regnet.BlockParams([1, 2], [16, 32], [8, 8], [1.0, 1.0], [2, 2], 0.25), 7, 8
    )


def vit():
    return models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=7)


FAMILIES = [shufflenet, densenet, mobilenet_v3, convnext, regnet, vit]
"""Small members of torchvision's families that have operators of their own."""

SIDE = 32


@cache
def student(make):
    """A random student, with a residual branch less where there is one."""
    captured = capture(seeded(make), (3, SIDE, SIDE))
    planner, rng = Planner(captured.architecture), random.Random(make.__name__)
    branches = [
        layer for layer in find_layers(planner, "block") if layer.removable and layer.kind == "add"
    ]
    while True:
        decision = random_decision(planner, rng)
        if branches:
            removed = frozenset(rng.choice(branches).operations)
            widths = {
                name: max(group.step, group.units // 2 * group.step)
                for name, group in planner.left(removed)[1].groups.items()
                if not group.frozen
            }
            decision = Decision(removed, widths)
        try:
            plan = planner.plan(decision)
        except IllegalArchitectureError:
            continue
        return instantiate_with(
            plan, Inheritance(captured, planner).weights(plan, decision, seed=0)
        )


QUICK = {(vit, "onnx"), (shufflenet, "torch-export"), (regnet, "python"), (convnext, "safetensors")}
CASES = [
    pytest.param(make, to, marks=() if (make, to) in QUICK else pytest.mark.slow)
    for make in FAMILIES
    for to in FORMATS
]


@pytest.mark.parametrize(("make", "to"), CASES)
def test_students_of_every_family_are_exported_and_compared(make, to, tmp_path):
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    teacher = Teacher(model=student(make), input_shape=(3, SIDE, SIDE), source=make.__name__)
    found = package.export(teacher, to=to, out=tmp_path / f"student{FORMATS[to].suffix}")
    assert found.random.images == 8 and found.random.agreement == 1.0
    assert found.random.largest <= 1e-4 * max(1e-2, found.random.scale)
    assert all(path.exists() for path in map(tmp_path.joinpath, found.files))
