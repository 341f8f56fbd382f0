import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from hwn2n.budget.columns import COLUMNS
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.counts import count
from hwn2n.hardware.fingerprint import fingerprint
from hwn2n.hardware.target import LocalTarget, Target, build_target

QUICK = {"seconds": 0.0, "warmup_seconds": 0.0}
ROOT = Path(__file__).parent.parent


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10)
    )


def test_counts_are_exact_and_latencies_have_an_interval():
    model = network()
    wanted = ["params", "flops", "weight_bytes", "latency_p50", "latency_p95"]
    cost = LocalTarget(**QUICK).measure(model, (1, 8, 8), wanted)
    assert list(cost) == wanted
    counts = count(model, torch.rand(1, 1, 8, 8))
    assert cost["params"].value == counts.params
    assert cost["flops"].value == counts.flops
    assert cost["weight_bytes"].value == counts.weight_bytes
    assert {cost[name].how for name in wanted[:3]} == {"exact"}
    assert cost["params"].low is None
    for name in wanted[3:]:
        reading = cost[name]
        assert reading.how == "measured"
        assert 0 < reading.low <= reading.value <= reading.high
    assert cost["latency_p50"].value <= cost["latency_p95"].value


def test_only_what_is_asked_is_measured(monkeypatch):
    target = LocalTarget(**QUICK)
    assert target.measure(network(), (1, 8, 8), []) == {}
    assert target.measure(network(), (1, 8, 8), ["accuracy", "power_avg", "throughput"]) == {}

    def refuse(*_args, **_kwargs):
        raise AssertionError("not asked for")

    monkeypatch.setattr("hwn2n.hardware.target.measure_latency", refuse)
    assert list(target.measure(network(), (1, 8, 8), ["params", "power_avg"])) == ["params"]


def test_every_column_is_available_or_says_why_not():
    reasons = LocalTarget().available(COLUMNS)
    assert set(COLUMNS) - set(reasons) == {
        *("params", "flops", "weight_bytes", "accuracy", "worst_class_accuracy"),
        *("latency_p50", "latency_p90", "latency_p95", "latency_p99"),
    }
    assert reasons["power_avg"] == "no power source is read yet on this target"
    assert "wall clock" in reasons["device_latency_p50"]
    with pytest.raises(InputError, match="a column must be one of"):
        LocalTarget().available(["speed"])


def test_a_missing_gpu_still_counts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    target = LocalTarget("cuda", **QUICK)
    assert target.available(["params", "latency_p50"]) == {
        "latency_p50": "torch sees no CUDA device on this machine"
    }
    assert list(target.measure(network(), (1, 8, 8), ["params", "latency_p50"])) == ["params"]


def test_the_callers_model_and_random_numbers_are_left_alone():
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x + torch.rand_like(x))

    model = Noisy().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    target = LocalTarget(precision="bf16", **QUICK)
    target.measure(model, (1, 8, 8), ["params", "latency_p50"])
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


def test_precision_and_batch_reach_the_model():
    class Witness(nn.Module):
        seen: list = []  # noqa: RUF012  shared on purpose: the target measures a copy

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.append((tuple(x.shape), x.dtype, torch.get_num_threads()))
            return self.layer(x)

    threads = torch.get_num_threads()
    target = LocalTarget(batch=3, precision="bf16", threads=threads + 1, **QUICK)
    cost = target.measure(Witness(), (1, 1, 4), ["weight_bytes", "latency_p50"])
    assert cost["weight_bytes"].value == 2 * 10
    assert set(Witness.seen[1:]) == {((3, 1, 1, 4), torch.bfloat16, threads + 1)}
    assert target.name == f"cpu batch=3 threads={threads + 1} bf16"


def test_what_does_not_fit_is_refused():
    for arguments in ({"device": "tpu9"}, {"device": "mps"}, {"batch": 0}, {"threads": 0}):
        with pytest.raises(InputError):
            LocalTarget(**arguments)
    with pytest.raises(InputError, match="precision must be one of fp32, fp16, bf16"):
        LocalTarget(precision="int8")
    with pytest.raises(InputError, match=r"\(channels, height, width\)"):
        LocalTarget().measure(network(), (1, 1, 8, 8), ["params"])
    for column in ("params", "latency_p50"):
        with pytest.raises(MeasurementError, match=r"on an input of shape \(1, 3, 8, 8\)"):
            LocalTarget(**QUICK).measure(network(), (3, 8, 8), [column])


def test_targets_of_a_budget():
    assert build_target(None).name == "cpu"
    assert build_target("cuda:1").name == "cuda:1"
    inline = {"device": "cpu", "runtime": "eager", "precision": "bf16", "batch": 4, "threads": None}
    target = build_target(inline)
    assert isinstance(target, Target)
    assert target.name == "cpu batch=4 bf16"
    for wrong in ("jetson-orin-nano", {"device": "cpu", "fan": "on"}, {"runtime": "tensorrt"}):
        with pytest.raises(InputError):
            build_target(wrong)


def test_the_fingerprint_is_the_same_in_every_process_and_thread_setting():
    code = (
        "import json; from hwn2n.hardware.fingerprint import fingerprint; "
        "print(json.dumps(fingerprint()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(result.stdout) == fingerprint()
    ours = LocalTarget(batch=2).fingerprint()
    assert ours == json.loads(json.dumps(ours))
    assert ours["cpu"]
    assert ours["torch"] == torch.__version__
    assert ours != LocalTarget(batch=3).fingerprint()


def test_a_machine_that_describes_itself_poorly_has_a_fingerprint(monkeypatch, tmp_path):
    monkeypatch.setattr("hwn2n.hardware.fingerprint._CPUINFO", tmp_path / "absent")
    assert fingerprint()["cores"] is None
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n\nHardware\t: Some   board\n")
    monkeypatch.setattr("hwn2n.hardware.fingerprint._CPUINFO", tmp_path / "cpuinfo")
    assert fingerprint()["cpu"] == "Some board"
