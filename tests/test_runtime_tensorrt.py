"""TensorRT by a stand-in for its package and one for trtexec: there is none of it here.

Both compute with ONNX Runtime what they are given, so the logits show whether names, shapes, files
and addresses are right. What TensorRT itself does with it has not been seen.
"""

import json
import sys
from functools import cache
from pathlib import Path

import fake_tensorrt
import pytest
import torch
from networks import images
from students import SHAPE, eager, student

from hwn2n.errors import MeasurementError
from hwn2n.hardware.runtimes import RUNTIMES, trtexec_program
from hwn2n.hardware.runtimes.onnx_file import onnx_bytes
from hwn2n.hardware.runtimes.trtexec_program import Engine, trtexec_missing

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
RUNTIME = RUNTIMES["tensorrt"]


@cache
def student_file(batch: int, dtype: torch.dtype) -> bytes:
    """The student's ONNX file: exporting takes a second."""
    return onnx_bytes(student().to(dtype), images(SHAPE, batch).to(dtype))


@pytest.fixture(autouse=True)
def exported_once(monkeypatch):
    monkeypatch.setattr(
        "hwn2n.hardware.runtimes.tensorrt.onnx_bytes",
        lambda model, x: student_file(len(x), x.dtype),
    )


@pytest.fixture(autouse=True)
def nothing_of_nvidia(monkeypatch, tmp_path):
    """Neither the package nor the program, whatever this machine has."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(trtexec_program, "_JETSON", tmp_path / "none")
    monkeypatch.setattr(trtexec_program, "find_trtexec", lambda: None)
    trtexec_program._program.cache_clear()


# --- the package


@pytest.fixture
def package(monkeypatch):
    """Puts a stand-in for the package in place, for a "GPU" that is the CPU."""

    def install(**how):
        module = fake_tensorrt.make(**how)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        monkeypatch.setattr(type(RUNTIME), "missing", lambda *_: None)
        return module

    return install


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_engine_reads_and_writes_the_tensors_of_torch(package, dtype):
    module, model, x = package(), student().to(dtype), images(SHAPE, 3).to(dtype)
    executable = RUNTIME.prepare(model, x)
    assert module.calls == [
        "Builder",
        "create_network(2)",  # 1 << STRONGLY_TYPED
        "OnnxParser",
        "parse",
        "create_builder_config",
        "build_serialized_network",
        "Runtime",
        "deserialize_cuda_engine",
        "create_execution_context",
        "set_tensor_address(images)",
        "set_tensor_address(logits)",
        "execute_async_v3(0)",
    ]
    assert executable.live and executable.batch == 3
    assert executable.sample()[0] > 0
    torch.testing.assert_close(executable.logits(), eager(model, x), rtol=1e-2, atol=1e-3)
    executable.images.numpy()[:] *= -1
    torch.testing.assert_close(executable.logits(), eager(model, -x), rtol=1e-2, atol=1e-3)
    executable.close()


def test_the_file_is_the_engine(package):
    package()
    size = RUNTIME.file_bytes(student(), images(SHAPE, 3))
    assert size == len(student_file(3, torch.float32))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"parses": False}, "TensorRT must read the network, but: no importer registered for op"),
        ({"builds": False}, "must build the network, but: could not find any implementation for"),
        ({"wrong": True}, "must give the logits that eager gives"),
    ],
)
def test_what_tensorrt_refuses_is_one_line_with_its_reason(package, how, message):
    package(**how)
    with pytest.raises(MeasurementError, match=message) as caught:
        RUNTIME.prepare(student(), images(SHAPE, 3))
    assert "\n" not in str(caught.value)


def test_an_engine_in_other_types_than_the_network_is_refused(package, monkeypatch):
    package()
    half = student_file(3, torch.float16)
    monkeypatch.setattr("hwn2n.hardware.runtimes.tensorrt.onnx_bytes", lambda model, x: half)
    with pytest.raises(MeasurementError, match=r"the engine must keep images in torch\.float32"):
        RUNTIME.prepare(student(), images(SHAPE, 3))


def test_without_package_and_program_both_are_named():
    assert RUNTIME.missing(CUDA) == (
        "the package tensorrt is not installed, and there is no program trtexec"
    )


def test_an_old_or_broken_package_is_missing_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.make(version="8.6.1"))
    assert RUNTIME.missing(CUDA).startswith("TensorRT must be version 10 or newer, and is 8.6.1, ")
    monkeypatch.delitem(sys.modules, "tensorrt")
    (tmp_path / "tensorrt.py").write_text('raise ImportError("libnvinfer.so.10: not found")')
    monkeypatch.syspath_prepend(tmp_path)
    assert RUNTIME.missing(CUDA).startswith(
        "the package tensorrt cannot be loaded (libnvinfer.so.10: not found), "
    )


# --- trtexec


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Puts a stand-in for trtexec in place; gives the calls that it saw."""

    def install(mode: str = "10"):
        path = tmp_path / "trtexec"
        fake = Path(__file__).with_name("fake_trtexec.py")
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake}" "$@"\n')
        path.chmod(0o755)
        log = tmp_path / "log"
        monkeypatch.setenv("FAKE_TRTEXEC", mode)
        monkeypatch.setenv("FAKE_TRTEXEC_LOG", str(log))
        monkeypatch.setattr(trtexec_program, "find_trtexec", lambda: str(path))
        trtexec_program._program.cache_clear()
        return lambda: [json.loads(line) for line in log.read_text().splitlines()]

    return install


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the network would lie on it")
def test_trtexec_times_the_network_on_our_images_where_torch_has_no_gpu(program):
    calls = program()
    assert RUNTIME.missing(CUDA) is None
    model, x = student(), images(SHAPE, 3)
    executable = RUNTIME.prepare(model, x)
    assert executable.batch == 3 and not executable.live and "trtexec" in executable.note
    torch.testing.assert_close(executable.logits(), eager(model, x), rtol=1e-4, atol=1e-4)
    # 400 inferences from 100 ms on, 2 ms apart: the warm-up of 500 ms takes the first 200
    for _ in range(200):
        assert executable.sample() == pytest.approx((1.875e-3, 1.5e-3))
    assert len(calls()) == 3
    assert executable.sample() == pytest.approx((1.875e-3, 1.5e-3))
    asked, built, ran, again = calls()
    assert asked == ["--help"]
    assert built == [
        "--onnx=network.onnx",
        "--saveEngine=network.engine",
        "--skipInference",
        "--stronglyTyped",
        "--device=0",
    ]
    assert (
        ran
        == again
        == [
            "--loadEngine=network.engine",
            "--loadInputs=images:images.bin",
            "--warmUp=500",
            "--duration=3",
            "--iterations=400",
            "--exposeDMA",
            "--exportTimes=times.json",
            "--exportOutput=logits.json",
            "--device=0",
        ]
    )
    with pytest.raises(MeasurementError, match="power cannot be measured around it"):
        executable.run()
    folder = executable._engine.folder
    executable.close()
    assert not folder.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the network would lie on it")
def test_tensorrt_11_is_told_to_copy_and_to_use_no_cuda_graph(program):
    calls = program("11")
    RUNTIME.prepare(student().half(), images(SHAPE, 3).half()).close()
    _, built, ran = calls()
    assert "--stronglyTyped" not in built
    assert {"--exposeDMA", "--includeDataTransfers", "--noCudaGraph"} < set(ran)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the network would lie on it")
@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("unsupported", r"trtexec must succeed, but ended with 1: \[E\] In node 3 \(parseNode\)"),
        ("silent", "trtexec must save its engine, but did not"),
        ("wrong", "runtime tensorrt must give the logits that eager gives"),
        ("torn", "trtexec must write times.json as JSON, but: "),
    ],
)
def test_what_trtexec_fails_at_is_one_line(program, mode, message):
    program(mode)
    with pytest.raises(MeasurementError, match=message) as caught:
        RUNTIME.prepare(student(), images(SHAPE, 3))
    assert "\n" not in str(caught.value)


def test_the_engine_file_is_counted_without_timing(program):
    calls = program()
    with Engine(b"a network", CUDA) as engine:
        assert engine.size == len(b"ENGINEa network")
    assert not engine.folder.exists()
    assert len(calls()) == 2  # --help and the build


def test_trtexec_of_another_kind_is_missing_with_the_reason(program, monkeypatch):
    program("8")
    assert trtexec_missing().endswith("trtexec must be of TensorRT 10 or newer")
    trtexec_program._program.cache_clear()
    monkeypatch.setattr(trtexec_program, "find_trtexec", lambda: "/bin/echo")
    assert trtexec_missing() == "/bin/echo does not know the option --onnx"
    monkeypatch.setattr(trtexec_program, "find_trtexec", lambda: "/bin/false")
    assert trtexec_missing().startswith("trtexec must succeed, but ended with 1: ")
    monkeypatch.setattr(trtexec_program, "find_trtexec", lambda: "/no/such/program")
    assert trtexec_missing().startswith("trtexec must start, but: ")


def test_a_program_that_does_not_end_is_given_up(monkeypatch):
    with pytest.raises(MeasurementError, match=r"trtexec must end within 0\.05 s, but did not"):
        trtexec_program._run(["sleep", "5"], cwd=None, seconds=0.05)
