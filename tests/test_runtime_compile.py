"""torch.compile, once with its C++ compiler; what needs no compiler goes by another backend."""

import shutil

import pytest
import torch
from networks import Wrap, images, seeded
from students import SHAPE, eager, student
from torch import nn

from hwn2n.errors import MeasurementError
from hwn2n.hardware.runtimes import RUNTIMES
from hwn2n.hardware.runtimes.compiled import Compiled

CPU = torch.device("cpu")
DYNAMO = Compiled(backend="eager")
"""Captures as torch.compile does, and compiles nothing."""


class Student(nn.Module):
    """Of one class and many widths, as the students of a search are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.head = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).relu().mean((2, 3)))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_student_of_hwn2n_is_compiled_and_gives_its_logits():
    runtime = RUNTIMES["compile"]
    assert runtime.missing(CPU) is None
    model, x = student(), images(SHAPE)
    executable = runtime.prepare(model, x)
    end_to_end, on_device = executable.sample()
    assert end_to_end > 0 and on_device is None
    torch.testing.assert_close(executable.logits(), eager(model, x))
    executable.close()


def test_more_students_than_the_recompile_limit_are_all_compiled(monkeypatch):
    compiled = []
    x = images(SHAPE)

    def backend(graph, inputs):
        compiled.append(sum(node.op == "call_function" for node in graph.graph.nodes))
        return graph.forward

    runtime = Compiled(backend=backend)
    widths = range(2, 2 + torch._dynamo.config.recompile_limit + 4)
    for width in widths:
        model = seeded(lambda width=width: Student(width))
        executable = runtime.prepare(model, x)
        assert torch.equal(executable.logits(), eager(model, x))
        executable.close()
    assert len(compiled) == len(widths) > 10


def test_the_recompile_limit_is_an_error_and_no_silent_return_to_eager():
    prepared = []
    with pytest.raises(MeasurementError, match="runtime compile must run the network"):
        for width in range(2, 2 + torch._dynamo.config.recompile_limit + 4):
            prepared.append(DYNAMO.prepare(Student(width), images(SHAPE)))  # none is closed
    assert len(prepared) == torch._dynamo.config.recompile_limit
    for executable in prepared:
        executable.close()


def test_two_compiled_networks_in_use_do_not_make_each_other_compile_anew():
    compiled = []
    x = images(SHAPE)

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    runtime = Compiled(backend=backend)
    first, second = Student(3), Student(4)
    pair = [runtime.prepare(model, x) for model in (first, second)]
    for _ in range(3):
        for executable, model in zip(pair, (first, second), strict=True):
            executable.sample()
            assert torch.equal(executable.logits(), eager(model, x))
    assert len(compiled) == 2
    for executable in pair:
        executable.close()


def test_a_network_that_is_not_one_graph_is_refused():
    def breaks(net, x):
        return net.head(x.mean((2, 3)) if x.sum().item() > 0 else x.amax((2, 3)))

    with pytest.raises(MeasurementError, match="runtime compile must run the network, but"):
        DYNAMO.prepare(Wrap(breaks), images(SHAPE))


def test_without_a_compiler_it_is_missing_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("CXX", raising=False)
    assert Compiled().missing(CPU) == (
        "torch.compile needs a C++ compiler on a CPU, and there is no g++"
    )
    monkeypatch.setenv("CXX", "my-c++ -march=native")
    assert "no my-c++" in Compiled().missing(CPU)
    with pytest.raises(MeasurementError, match="runtime compile must run on cpu, but"):
        Compiled().prepare(Student(2), images(SHAPE))


def test_without_triton_it_is_missing_on_a_gpu(monkeypatch):
    monkeypatch.setattr("hwn2n.hardware.runtimes.compiled.torch_missing", lambda device: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs the package triton" in Compiled().missing(torch.device("cuda"))
