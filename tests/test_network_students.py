"""Students of the paper's teachers: no decision, and random ones."""

import copy
import io
import operator
import random

import pytest
import torch
from networks import (
    PAPER_TEACHERS,
    Mixed,
    captured_teacher,
    images,
    planner_of,
    random_decision,
    seeded,
)
from torch import fx
from torch.export import Dim, export

import hwn2n.network.counts
from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.decision import NOTHING
from hwn2n.network.inherit import Inheritance
from hwn2n.network.module import instantiate, instantiate_with
from hwn2n.network.planner import Planner
from hwn2n.network.teachers import build_teacher

DECISIONS, MANY = 40, 200
SMALL = {"conv4": 8, "digits-cnn": 4}  # pixels; the others take images of 4 as well
WIDEST = {"conv4": 1.0, "digits-cnn": 1.0, "resnet20": 1.0}  # shares of the widths


@pytest.mark.parametrize("arch", PAPER_TEACHERS)
def test_no_decision_is_the_teacher_to_the_last_bit(arch):
    shape = PAPER_TEACHERS[arch]
    teacher = seeded(lambda: build_teacher(arch, shape[0], 10, shape[1]))
    captured = capture(teacher, shape)
    planner = Planner(captured.architecture)
    assert planner.plan(NOTHING) == captured.architecture
    weights = Inheritance(captured, planner).weights(planner.plan(NOTHING), NOTHING, seed=0)
    student = instantiate_with(planner.plan(NOTHING), weights)
    state = teacher.state_dict()
    assert student.state_dict().keys() == state.keys()
    for key, value in student.state_dict().items():
        assert torch.equal(value, state[key]), key
        assert value.data_ptr() != state[key].data_ptr()
    assert [n for n, _ in student.named_parameters()] == [n for n, _ in teacher.named_parameters()]
    x = images(shape)
    with torch.no_grad():
        assert torch.equal(student(x), teacher(x))
        assert torch.equal(captured.module()(x), teacher(x))
    counts = hwn2n.network.counts.count(captured.architecture)
    wanted = counted_by_fvcore(teacher, x)
    assert (counts.params, counts.flops, counts.weight_bytes) == (
        wanted.params,
        wanted.flops,
        wanted.weight_bytes,
    )


class CheckedAdds(fx.Interpreter):
    """Runs a student, and looks at the operands of each of its sums."""

    def call_function(self, target, args, kwargs):
        if target is operator.add:
            assert args[0].shape == args[1].shape
        return super().call_function(target, args, kwargs)


def check_random_decisions(arch, decisions, count_every):
    """Build, run and count random students; how many were illegal."""
    planner = planner_of(arch, SMALL.get(arch, 4))
    rng = random.Random(arch)
    illegal = 0
    for number in range(decisions):
        decision = random_decision(planner, rng, WIDEST.get(arch, 0.3))
        try:
            architecture = planner.plan(decision)
        except IllegalArchitectureError as error:
            assert len(str(error)) > 10
            assert "\n" not in str(error)
            illegal += 1
            continue
        by_name = architecture.by_name()
        for op in architecture:
            if op.kind == "add":
                assert len({by_name[name].shape for name in op.inputs}) == 1
        student = instantiate(architecture).train()
        x = images(architecture.input_shape)
        logits = CheckedAdds(student).run(x)
        assert logits.shape == (2, 10)
        logits.square().sum().backward()
        assert all(p.grad is not None for p in student.parameters())
        counts = hwn2n.network.counts.count(architecture)
        assert counts.params == sum(p.numel() for p in student.parameters())
        if number % count_every == 0:
            found = counted_by_fvcore(student, x[:1])
            assert (counts.flops, counts.weight_bytes) == (found.flops, found.weight_bytes)
    return illegal


@pytest.mark.parametrize("arch", PAPER_TEACHERS)
def test_random_decisions(arch):
    # tracing for fvcore takes longest: of the large ones a part here, all in the slow test
    every = 2 if arch in SMALL else 8
    illegal = check_random_decisions(arch, DECISIONS, every)
    assert illegal < 0.05 * DECISIONS


@pytest.mark.slow
@pytest.mark.parametrize("arch", PAPER_TEACHERS)
def test_random_decisions_all_counted(arch):
    assert check_random_decisions(arch, MANY, 1) < 0.05 * MANY


def test_train_and_eval_reach_norms_and_dropouts():
    student = captured_teacher("conv4", 8).module()
    x = images((1, 8, 8), count=8)
    student.train()
    before = student.get_buffer("features.bn1.running_mean").clone()
    with torch.random.fork_rng(devices=[]):
        first, second = student(x), student(x)
    assert not torch.equal(first, second)  # dropout
    assert not torch.equal(student.get_buffer("features.bn1.running_mean"), before)
    assert student.get_buffer("features.bn1.num_batches_tracked") == 2
    student.eval()
    assert torch.equal(student(x), student(x))
    assert student.get_buffer("features.bn1.num_batches_tracked") == 2


def test_a_student_is_copied_saved_and_exported_like_any_module(tmp_path):
    student = capture(seeded(Mixed), (3, 8, 8)).module()
    x = images((3, 8, 8), count=3)
    with torch.no_grad():
        wanted = student(x)
        copied = copy.deepcopy(student)
        assert torch.equal(copied(x), wanted)
        copied.get_parameter("stem.weight").zero_()
        assert torch.equal(student(x), wanted)

        file = io.BytesIO()
        torch.save(student.state_dict(), file)
        file.seek(0)
        copied.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(copied(x), wanted)

        program = export(student, (x,), dynamic_shapes=({0: Dim("batch")},), strict=False)
        torch.export.save(program, tmp_path / "student.pt2")
        loaded = torch.export.load(tmp_path / "student.pt2")
        assert torch.equal(loaded.module()(x), wanted)
        again = capture(loaded.module(), (3, 8, 8), loaded)
        assert again.architecture.key() == capture(student, (3, 8, 8)).architecture.key()
        assert again.weights.keys() == student.state_dict().keys()
