"""ONNX Runtime on the CPU, and the ONNX file. Its CUDA provider with a stand-in for its module."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import Wrap, images, seeded
from students import SHAPE, eager, exported, student

from hwn2n.errors import MeasurementError
from hwn2n.hardware.runtimes import RUNTIMES
from hwn2n.hardware.runtimes.onnx_file import onnx_bytes
from hwn2n.hardware.runtimes.onnx_runtime import OnnxRuntime, _session

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 1)
RUNTIME = RUNTIMES["onnxruntime"]
RUNTIME_FILE = "hwn2n.hardware.runtimes.onnx_runtime.onnx_bytes"


@cache
def student_file(batch: int) -> bytes:
    """The student's file: exporting takes a second."""
    return onnx_bytes(student(), images(SHAPE, batch))


def test_it_gives_the_logits_of_eager_for_a_network_of_a_pt2(capfd):
    model, x = exported(), images(SHAPE, 3)
    executable = RUNTIME.prepare(model, x)
    assert executable.batch == 3
    end_to_end, on_device = executable.sample()
    assert end_to_end > 0 and on_device is None
    torch.testing.assert_close(executable.logits(), eager(model, x), rtol=1e-4, atol=1e-5)
    executable.close()
    assert capfd.readouterr() == ("", "")  # the exporter would tell every step


def test_it_reads_the_images_where_they_lie(monkeypatch):
    monkeypatch.setattr(RUNTIME_FILE, lambda model, x: student_file(2))
    model, x = student(), images(SHAPE)
    executable = RUNTIME.prepare(model, x)
    torch.testing.assert_close(executable.logits(), eager(model, x), rtol=1e-4, atol=1e-5)
    executable.images.numpy()[:] *= -1
    torch.testing.assert_close(executable.logits(), eager(model, -x), rtol=1e-4, atol=1e-5)


def test_a_frame_of_zeros_is_not_folded_into_max_pooling():
    model = Wrap(lambda m, x: F.max_pool2d(F.pad(m.conv(x) - 9, (1, 1, 1, 1)), 3, 2).mean((2, 3)))
    x = images(SHAPE, 2)
    executable = RUNTIME.prepare(model, x)
    executable.sample()
    torch.testing.assert_close(executable.logits(), eager(model, x), rtol=1e-4, atol=1e-5)
    assert (F.max_pool2d(model.conv(x) - 9, 3, 2, 1).mean((2, 3)) < eager(model, x) - 0.1).all()


@pytest.mark.parametrize("blocks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_it_runs_a_resnet_of_torchvision(blocks):
    resnet = pytest.importorskip("torchvision.models.resnet")
    model = seeded(lambda: resnet.ResNet(resnet.BasicBlock, [blocks] * 4))
    x = images((3, 64, 64), 1)
    executable = RUNTIME.prepare(model, x)
    torch.testing.assert_close(executable.logits(), eager(model, x), rtol=1e-3, atol=1e-3)


def test_half_precision_runs_and_bfloat16_is_refused_with_the_reason():
    x = images(SHAPE)
    assert RUNTIME.prepare(student().half(), x.half()).logits().dtype is torch.float16
    reason = "its convolutions take float32 and float16, and the precision is bfloat16"
    assert RUNTIME.missing(CPU, torch.bfloat16) == reason
    with pytest.raises(MeasurementError, match=f"must run on cpu, but: {reason}"):
        RUNTIME.prepare(student().bfloat16(), x.bfloat16())
    with pytest.raises(MeasurementError, match=reason):
        RUNTIME.file_bytes(student().bfloat16(), x.bfloat16())


def test_a_graph_that_computes_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(RUNTIME_FILE, lambda model, x: student_file(2))
    with pytest.raises(MeasurementError, match="must give the logits that eager gives"):
        RUNTIME.prepare(student(seed=1), images(SHAPE))


def test_a_network_that_cannot_be_exported_is_one_line_with_the_cause():
    def depends(net, x):
        return net.head(x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3)))

    for call in (RUNTIME.prepare, RUNTIME.file_bytes):
        with pytest.raises(MeasurementError, match="runtime onnxruntime must ") as caught:
            call(Wrap(depends), images(SHAPE))
        assert "\n" not in str(caught.value)


def test_a_network_of_two_outputs_is_refused():
    with pytest.raises(MeasurementError, match="its logits as one tensor; found 2"):
        RUNTIME.file_bytes(Wrap(lambda net, x: (net.conv(x), x + 1)), images(SHAPE))


def test_what_is_not_installed_is_named(monkeypatch):
    gone = {"onnxruntime"}
    found = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in gone else found(name)
    )
    assert RUNTIME.missing(CPU) == "the package onnxruntime is not installed"
    gone.clear()
    gone.update({"onnx", "onnxscript"})
    reason = "writing ONNX files needs onnx and onnxscript, which are not installed"
    assert RUNTIME.missing(CPU) == RUNTIME.file_missing(CPU) == reason
    gone.remove("onnx")
    assert RUNTIME.missing(CPU).endswith("needs onnxscript, which is not installed")


# --- the file


def test_the_file_is_valid_and_keeps_no_paths_of_this_machine():
    content = student_file(2)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model)
    (given,), (logits,) = model.graph.input, model.graph.output
    sizes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (given, logits)]
    assert (given.name, logits.name, sizes) == ("images", "logits", [[2, 3, 8, 8], [2, 5]])
    assert model.opset_import[0].version == 18
    for text in (b"networks.py", b"site-packages", b"namespace", b"hwn2n"):
        assert text not in content


def test_the_size_of_the_file_does_not_depend_on_the_weights():
    x, fresh = images(SHAPE), student()
    for tensor in fresh.state_dict().values():
        tensor.zero_()
    assert len(onnx_bytes(fresh, x)) < len(student_file(2))  # the exporter drops zeros
    assert RUNTIME.file_bytes(fresh, x) == len(student_file(2))


# --- sessions, with a stand-in for the module


class Module(SimpleNamespace):
    """onnxruntime with the providers `known`, of which a session takes `taken`."""

    ExecutionMode = onnxruntime.ExecutionMode

    def __init__(self, known, taken):
        super().__init__(known=known, taken=taken)

    class SessionOptions:
        def __init__(self):
            self.entries = {}

        def add_session_config_entry(self, key, value):
            self.entries[key] = value

    def get_available_providers(self):
        return self.known

    def InferenceSession(self, content, options, **kwargs):  # noqa: N802
        self.options, self.kwargs = options, kwargs
        return SimpleNamespace(get_providers=lambda: self.taken)


STREAM = SimpleNamespace(cuda_stream=1234)


def test_a_session_has_the_threads_of_torch_and_runs_in_order():
    torch.set_num_threads(2)
    module = Module(["CPUExecutionProvider"], ["CPUExecutionProvider"])
    _session(module, b"", CPU, None)
    assert module.options.intra_op_num_threads == 2
    assert module.options.inter_op_num_threads == 1
    assert module.options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert module.kwargs["providers"] == [("CPUExecutionProvider", {})]


def test_on_a_gpu_the_session_is_on_the_device_and_stream_and_has_no_cpu_to_fall_back_to():
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    module = Module(both, both)
    _session(module, b"", CUDA, STREAM)
    assert module.kwargs == {
        "providers": [("CUDAExecutionProvider", {"device_id": "1", "user_compute_stream": "1234"})],
        "enable_fallback": 0,
    }
    assert module.options.entries == {"session.disable_cpu_ep_fallback": "1"}


def test_a_session_that_fell_back_to_the_cpu_is_an_error():
    module = Module(["CUDAExecutionProvider"], ["CPUExecutionProvider"])
    with pytest.raises(MeasurementError) as caught:
        _session(module, b"", CUDA, STREAM)
    assert str(caught.value) == (
        "onnxruntime must run the network by its CUDAExecutionProvider, but took "
        "CPUExecutionProvider; are its libraries (CUDA, cuDNN) there?"
    )


def test_onnxruntime_without_cuda_is_missing_on_a_gpu(monkeypatch):
    monkeypatch.setattr("hwn2n.hardware.runtimes.onnx_runtime.torch_missing", lambda device: None)
    known = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" in known:
        pytest.skip("this onnxruntime has CUDA")
    assert "has no CUDAExecutionProvider" in OnnxRuntime().missing(CUDA)
    assert "install onnxruntime-gpu" in OnnxRuntime().missing(CUDA)


@pytest.mark.skipif(
    not torch.cuda.is_available()
    or "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="needs a GPU and onnxruntime-gpu",
)
def test_on_a_gpu_it_gives_the_logits_of_eager():
    executable = RUNTIME.prepare(student().cuda(), images(SHAPE))
    end_to_end, on_device = executable.sample()
    assert 0 < on_device < end_to_end
    assert np.isfinite(executable.logits().numpy()).all()
