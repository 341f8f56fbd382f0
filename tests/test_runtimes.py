"""Runtimes: what they share, the clocks, agreement with eager, and eager itself."""

import pytest
import torch
from networks import Wrap, images
from students import SHAPE, eager, exported, student
from torch import nn

from hwn2n.budget.target_schema import RuntimeName
from hwn2n.errors import MeasurementError
from hwn2n.hardware.runtimes import RUNTIMES
from hwn2n.hardware.runtimes.agreement import check_logits, tolerance_of
from hwn2n.hardware.runtimes.base import Executable, device_of
from hwn2n.hardware.runtimes.in_process import InProcess

CPU = torch.device("cpu")


# --- the table


def test_the_table_has_every_runtime_of_the_schema_under_its_name():
    assert set(RUNTIMES) == set(RuntimeName.__args__)
    assert all(runtime.name == name for name, runtime in RUNTIMES.items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", RUNTIMES)
def test_without_a_gpu_every_runtime_says_why_it_cannot_run_on_one(name):
    reason = RUNTIMES[name].missing(torch.device("cuda"))
    assert reason is not None and "\n" not in reason


def test_cuda_graph_and_tensorrt_are_missing_on_a_cpu():
    assert RUNTIMES["cuda-graph"].missing(CPU) == (
        "a CUDA graph needs a CUDA device, and the target's is cpu"
    )
    assert RUNTIMES["tensorrt"].missing(CPU) == (
        "TensorRT needs a CUDA device, and the target's is cpu"
    )


def test_preparing_a_missing_runtime_is_an_error_with_the_reason():
    with pytest.raises(MeasurementError, match="runtime cuda-graph must run on cpu, but: a CUDA"):
        RUNTIMES["cuda-graph"].prepare(student(), images(SHAPE))


# --- eager


@pytest.mark.parametrize("make", [student, exported])
@pytest.mark.parametrize("batch", [1, 3])
def test_eager_runs_the_network_on_the_batch(make, batch):
    model, x = make(), images(SHAPE, batch)
    executable = RUNTIMES["eager"].prepare(model, x)
    assert executable.batch == batch and executable.live
    end_to_end, on_device = executable.sample()
    assert end_to_end > 0 and on_device is None
    assert torch.equal(executable.logits(), eager(model, x))
    executable.close()


def test_eager_runs_in_the_precision_of_the_model():
    model, x = student().bfloat16(), images(SHAPE).bfloat16()
    assert RUNTIMES["eager"].prepare(model, x).logits().dtype is torch.bfloat16


def test_the_network_runs_in_eval_and_inference_mode_on_its_own_copy_of_the_images():
    seen = []

    def watch(net, x):
        seen.append((net.training, net.bn.training, torch.is_inference_mode_enabled()))
        return net.head(net.bn(net.conv(x)).relu_().mean((2, 3)))

    model, x = Wrap(watch).train(), images(SHAPE)
    before = x.clone()
    executable = RUNTIMES["eager"].prepare(model, x)
    executable.sample()
    executable.run()
    assert seen == [(False, False, True)] * 2
    assert torch.equal(x, before)


def test_a_network_that_works_in_place_on_its_images_sees_the_same_ones_each_time():
    seen = []

    def halve(net, x):
        seen.append(x.sum().item())
        return net.head(net.conv(x.div_(2)).mean((2, 3)))

    executable = RUNTIMES["eager"].prepare(Wrap(halve), images(SHAPE))
    executable.sample()
    executable.run()
    executable.sample()
    assert len(seen) == 3 and len(set(seen)) == 1


def test_a_network_that_fails_is_one_line_with_the_runtime_and_the_cause():
    def fail(net, x):
        raise RuntimeError("the first\nsecond")

    executable = RUNTIMES["eager"].prepare(Wrap(fail), images(SHAPE))
    for call in (executable.sample, executable.run, executable.logits):
        with pytest.raises(MeasurementError) as caught:
            call()
        assert str(caught.value) == (
            "runtime eager must run the network on 2x3x8x8 images, but: "
            "RuntimeError: the first second"
        )


def test_a_closed_executable_cannot_be_used():
    executable = RUNTIMES["eager"].prepare(student(), images(SHAPE))
    executable.close()
    with pytest.raises(MeasurementError, match="closed"):
        executable.sample()


def test_the_device_is_that_of_the_first_weight_or_buffer():
    assert device_of(nn.ReLU()) == CPU
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.BatchNorm1d(1, affine=False, device="meta")) == torch.device("meta")


# --- the clocks of a GPU, without one


class Recorder(InProcess):
    """Its tensors, events and stream write down what is done with them."""

    def __init__(self, done):
        self.name, self.batch, self.device, self._on_gpu = "x", 1, torch.device("cuda", 0), True
        self.done = done
        self.stream = "stream"
        self._host = "host"
        self.images = self._begin = self._finish = self
        self.events = iter(["begin", "finish"])

    def copy_(self, source, non_blocking):
        self.done.append(f"copy {source} {non_blocking}")

    def record(self, stream):
        self.done.append(f"{next(self.events)} on {stream}")

    def elapsed_time(self, other):
        return 2.5

    def _compute(self):
        self.done.append("compute")

    def _output(self):
        raise NotImplementedError

    def close(self):
        pass


def test_on_a_gpu_the_copy_is_outside_the_events_and_inside_the_wall_clock(monkeypatch):
    done = []

    class Stream:
        def __init__(self, stream):
            done.append(f"enter {stream}")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            done.append("leave")

    clock = iter([1_000, 5_001_000])
    monkeypatch.setattr(torch.cuda, "stream", Stream)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append("synchronize"))

    def now():
        done.append("clock")
        return next(clock)

    monkeypatch.setattr("hwn2n.hardware.runtimes.in_process.time.perf_counter_ns", now)
    assert Recorder(done).sample() == (pytest.approx(0.005), pytest.approx(0.0025))
    assert done == [
        "enter stream",
        "synchronize",
        "clock",
        "copy host True",
        "begin on stream",
        "compute",
        "finish on stream",
        "synchronize",
        "clock",
        "leave",
    ]


# --- agreement with eager


def agree(found, wanted, device="cpu", dtype=torch.float32):
    check_logits("x", torch.tensor(found), torch.tensor(wanted), torch.device(device), dtype)


def test_rounding_agrees_and_more_than_rounding_does_not():
    agree([[10.0, 0.009]], [[10.0, 0.0]])
    with pytest.raises(MeasurementError) as caught:
        agree([[10.0, 0.02]], [[10.0, 0.0]])
    assert str(caught.value) == (
        "runtime x must give the logits that eager gives; found a difference of 0.002 of the "
        "largest logit, where rounding explains at most 0.001"
    )


def test_less_precision_allows_more_rounding():
    tolerances = [
        tolerance_of(CPU, torch.float32),
        tolerance_of(torch.device("cuda"), torch.float32),  # TF32
        tolerance_of(CPU, torch.float16),
        tolerance_of(CPU, torch.bfloat16),
    ]
    assert tolerances == sorted(tolerances) and tolerances[-1] < 0.5


def test_logits_of_another_shape_or_finiteness_do_not_agree():
    with pytest.raises(MeasurementError, match=r"shape \(1, 2\), as eager does; found \(1, 1\)"):
        agree([[1.0]], [[1.0, 2.0]])
    inf, nan = float("inf"), float("nan")
    agree([[nan, 1.0]], [[inf, 1.0]])
    agree([[nan, nan]], [[inf, nan]])
    with pytest.raises(MeasurementError, match="found 1 finite ones of 2, and with eager 2"):
        agree([[nan, 1.0]], [[3.0, 1.0]])
    with pytest.raises(MeasurementError, match="found 2 finite ones of 2, and with eager 1"):
        agree([[3.0, 1.0]], [[inf, 1.0]])


def test_logits_of_zero_agree_with_zero_only():
    agree([[0.0]], [[0.0]])
    with pytest.raises(MeasurementError, match="difference"):
        agree([[0.1]], [[0.0]])


class Wrong(type(RUNTIMES["eager"])):
    """A runtime that computes something else, and counts what it closes."""

    exact = False
    closed = 0

    def _prepare(self, model, images, device) -> Executable:
        executable = super()._prepare(lambda x: model(x) + 1, images, device)
        executable.close = self.count
        return executable

    def count(self):
        self.closed += 1


def test_a_runtime_that_computes_something_else_is_refused_and_closed():
    runtime = Wrong()
    with pytest.raises(MeasurementError, match="must give the logits that eager gives"):
        runtime.prepare(student(), images(SHAPE))
    assert runtime.closed == 1


def test_a_network_of_two_outputs_has_no_logits_to_compare():
    with pytest.raises(MeasurementError, match="its logits as one tensor; found tuple"):
        Wrong().prepare(Wrap(lambda net, x: (x, x)), images(SHAPE))


# --- a GPU, where there is one


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["eager", "cuda-graph"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_on_a_gpu_both_clocks_run_and_the_logits_are_those_of_eager(name, dtype):
    model, x = student().to("cuda", dtype), images(SHAPE).to(dtype)
    executable = RUNTIMES[name].prepare(model, x)
    for _ in range(3):
        end_to_end, on_device = executable.sample()
        assert 0 < on_device < end_to_end
    wanted = eager(model, x.cuda()).cpu()
    check_logits(name, executable.logits(), wanted, torch.device("cuda"), dtype)
    executable.close()
