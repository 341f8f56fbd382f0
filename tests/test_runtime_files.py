"""The size of a network as a `.pt2`: it depends on the network alone."""

import copy
import importlib.util
import io
import sys
from pathlib import Path

import pytest
import torch
from networks import Plain, Wrap, images, seeded
from students import SHAPE, exported, student
from torch import nn
from torch.export import export, load, save

from hwn2n.errors import MeasurementError
from hwn2n.hardware.runtimes import RUNTIMES
from hwn2n.hardware.runtimes.pt2 import make_lean


def file_bytes(model: nn.Module, x: torch.Tensor | None = None) -> int:
    return RUNTIMES["eager"].file_bytes(model, images(SHAPE, 1) if x is None else x)


def test_the_file_holds_the_weights_and_little_more():
    model = student()
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert weights < file_bytes(model) < weights + 40_000
    half = sum(tensor.nbytes for tensor in student().half().state_dict().values())
    assert file_bytes(model) - file_bytes(student().half(), images(SHAPE, 1).half()) == (
        pytest.approx(weights - half, rel=0.2)
    )


def test_the_size_does_not_depend_on_weights_batch_or_pixels():
    model = student()
    zeros = copy.deepcopy(model)
    for tensor in zeros.state_dict().values():
        tensor.zero_()
    sizes = {
        file_bytes(model),
        file_bytes(zeros),
        file_bytes(student(seed=5)),
        file_bytes(model, images(SHAPE, 7)),
    }
    assert len(sizes) == 1
    pooled = Wrap(lambda net, x: net.head(net.conv(x).mean((2, 3)))).eval()
    assert file_bytes(pooled, images((3, 9, 9))) == file_bytes(pooled, images((3, 64, 64)))


def test_the_size_survives_saving_and_loading():
    assert file_bytes(exported()) == file_bytes(seeded(Plain))


def test_the_size_does_not_depend_on_where_the_source_lies(tmp_path):
    source = Path(__file__).with_name("networks.py").read_text()
    sizes, traces = set(), set()
    for folder in (tmp_path / "a", tmp_path / "a-rather-longer-name" / "of-a-folder"):
        folder.mkdir(parents=True)
        file = folder / "elsewhere.py"
        file.write_text(source)
        spec = importlib.util.spec_from_file_location("elsewhere", file)
        module = importlib.util.module_from_spec(spec)
        sys.modules["elsewhere"] = module
        spec.loader.exec_module(module)
        model = seeded(module.Plain)
        sizes.add(file_bytes(model))
        program = export(model, (images(SHAPE),), strict=False)
        traces.add(str([node.meta.get("stack_trace") for node in program.graph.nodes]))
    del sys.modules["elsewhere"]
    assert len(sizes) == 1 and len(traces) == 2


def test_a_lean_program_computes_the_same_and_can_be_loaded():
    x = images(SHAPE)
    program = export(seeded(Plain), (x,), strict=False)
    wanted = program.module()(x)
    make_lean(program)
    buffer = io.BytesIO()
    save(program, buffer)
    assert b"networks.py" not in buffer.getvalue()
    buffer.seek(0)
    assert torch.equal(load(buffer).module()(x), wanted)


def test_counting_the_file_leaves_the_network_alone():
    model = student()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    file_bytes(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_network_without_a_graph_has_no_file():
    def depends(net, x):
        return net.head(x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3)))

    with pytest.raises(MeasurementError, match="runtime eager must make its file of the network"):
        file_bytes(Wrap(depends))
