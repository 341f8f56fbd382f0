"""This machine as a target: what is measured, what is unavailable, what stays untouched."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.target_schema import MatchModel, TargetModel
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.counts import count
from hwn2n.hardware.fingerprint import fingerprint
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.hardware.measurement import QUICK, Duration, MeasurementProtocol
from hwn2n.hardware.target import Target
from hwn2n.hardware.targets import build_target

SHORT = {
    effort: Duration(clock=0.0, warmup=0.0, power=0.2, idle=0.2) for effort in ("quick", "full")
}
ROOT = Path(__file__).parent.parent


def local(device: str = "cpu", **settings: Any) -> LocalTarget:
    return LocalTarget(TargetModel(device=device, **settings), durations=SHORT)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10)
    )


def test_counts_are_exact_and_latencies_have_an_interval():
    model = network()
    wanted = ["params", "flops", "weight_bytes", "latency_p50", "latency_p95"]
    cost = local().measure(model, (1, 8, 8), wanted)
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
    target = local(power={"source": "none"})
    assert target.measure(network(), (1, 8, 8), []) == {}
    assert target.measure(network(), (1, 8, 8), ["accuracy", "power_avg"]) == {}

    def refuse(*_args, **_kwargs):
        raise AssertionError("not asked for")

    monkeypatch.setattr("hwn2n.hardware.session.measure_latency", refuse)
    monkeypatch.setattr("hwn2n.hardware.local_target.peak_memory", refuse)
    assert list(target.measure(network(), (1, 8, 8), ["params", "power_avg"])) == ["params"]


def test_every_column_is_available_or_says_why_not():
    reasons = local(power={"source": "none"}).unavailable(COLUMNS)
    assert set(reasons) == {
        *("device_latency_p50", "device_latency_p90", "device_latency_p95", "device_latency_p99"),
        *("power_avg", "power_avg_net", "energy"),
    }
    assert "wall clock" in reasons["device_latency_p50"]
    with pytest.raises(InputError, match="a column must be one of"):
        local().unavailable(["speed"])


def test_all_that_a_cpu_can_tell_comes_with_samples_and_conditions():
    target = local(batch=2, threads=1, power={"source": "none"})
    found = target.examine(network(), (1, 8, 8), COLUMNS)
    learned = {name for name, column in COLUMNS.items() if column.learned}
    assert set(found.cost) == set(COLUMNS) - set(target.unavailable(COLUMNS)) - learned
    assert list(found.cost) == [name for name in COLUMNS if name in found.cost]
    assert found.cost["file_bytes"].how == "exact"
    # weights, input and the first activation of two images, at least
    assert found.cost["peak_memory"].value >= 4 * (1494 + 2 * (64 + 4 * 36))
    samples = found.samples["latency"]["samples_s"]
    throughput = found.cost["throughput"]
    assert throughput.low <= throughput.value <= throughput.high
    assert throughput.value == pytest.approx(2 * len(samples) / sum(samples), rel=1e-3)
    assert len(samples) >= 299  # what a p99 needs
    assert {"before", "after"} == set(found.conditions)
    json.dumps([found.samples, found.conditions, found.notes], allow_nan=False)


def test_the_confidence_asked_for_is_that_of_the_interval():
    def width(confidence: float) -> float:
        protocol = MeasurementProtocol(effort="quick", confidence={"latency_p50": confidence})
        torch.manual_seed(0)
        reading = local().measure(network(), (1, 8, 8), ["latency_p50"], protocol)["latency_p50"]
        return reading.high - reading.low

    from hwn2n.hardware import session

    levels = []
    original = session.LatencySample.interval

    def spied(self: Any, q: float, confidence: float = 0.95, **kwargs: Any) -> Any:
        levels.append(confidence)
        return original(self, q, confidence, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.LatencySample, "interval", spied)
        assert width(0.99) >= 0 and width(0.5) >= 0
    assert levels == [0.99, 0.5]


def test_real_images_reach_the_network_and_make_up_the_batch():
    seen: list[torch.Tensor] = []

    class Witness(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def __deepcopy__(self, memo: Any) -> Any:
            return self

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.clone())
            return self.layer(x.flatten(1))

    images = torch.arange(8.0).reshape(2, 1, 1, 4)
    protocol = MeasurementProtocol(images=images)
    local(batch=3).measure(Witness(), (1, 1, 4), ["latency_p50"], protocol)
    wanted = torch.cat([images, images[:1]])
    assert seen and all(torch.equal(x, wanted) for x in seen)
    with pytest.raises(InputError, match=r"images must have the shape \(1, 2, 2\)"):
        local().measure(network(), (1, 2, 2), ["latency_p50"], protocol)


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        ({"cpu": "*Cortex*"}, r"the cpu of this target must match '\*Cortex\*'; here it is .+"),
        ({"board": "*Jetson*"}, r"the board of this target must match .*; here it is unknown"),
        ({"gpu": "*H100*"}, r"the gpu of this target must match .*; here it is unknown"),
    ],
)
def test_another_machine_than_the_targets_only_counts(match, reason, monkeypatch):
    monkeypatch.setattr("hwn2n.hardware.matching.board_model", lambda: None)
    monkeypatch.setattr("hwn2n.hardware.matching.fingerprint", lambda: {"cpu": "Z80", "gpu": []})
    target = local(match=match)
    missing = target.unavailable(["params", "latency_p50", "peak_memory", "accuracy"])
    assert list(missing) == ["peak_memory", "latency_p50"]
    assert re.fullmatch(reason, missing["latency_p50"])
    assert list(target.measure(network(), (1, 8, 8), ["params", "latency_p50"])) == ["params"]
    with pytest.raises(MeasurementError, match="must run networks here"):
        target.executable(network(), (1, 8, 8))


def test_the_machine_of_the_target_is_told_by_patterns(monkeypatch):
    machine = {"cpu": "ARM Cortex-A76", "gpu": ["NVIDIA H200"]}
    monkeypatch.setattr("hwn2n.hardware.matching.fingerprint", lambda: machine)
    assert (
        local(match=MatchModel(cpu="*cortex-a76*", gpu="*H200")).unavailable(["latency_p50"]) == {}
    )


def test_a_board_in_another_power_mode_only_counts(monkeypatch):
    monkeypatch.setattr("hwn2n.hardware.matching.power_mode", lambda: "15W")
    assert local(power_mode="15W").unavailable(["latency_p50"]) == {}
    assert local(power_mode="MAXN").unavailable(["latency_p50"]) == {
        "latency_p50": "the board must be in power mode MAXN; found 15W"
    }


def test_an_executable_is_what_the_clocks_see():
    executable = local(batch=2).executable(network(), (1, 8, 8))
    try:
        seconds, on_device = executable.sample()
        assert seconds > 0 and on_device is None and executable.batch == 2
        assert executable.logits().shape == (2, 10)
    finally:
        executable.close()


def test_a_missing_gpu_still_counts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    target = local("cuda")
    assert target.unavailable(["params", "latency_p50"]) == {
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
    target = local(precision="bf16")
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
    target = local(batch=3, precision="bf16", threads=threads + 1)
    cost = target.measure(Witness(), (1, 1, 4), ["weight_bytes", "latency_p50"])
    assert cost["weight_bytes"].value == 2 * 10
    clocked = [call for call in Witness.seen if call[0] != (1, 1, 1, 4)]  # those are counted
    assert set(clocked) == {((3, 1, 1, 4), torch.bfloat16, threads + 1)}
    assert target.name == f"cpu bf16 batch=3 threads={threads + 1}"


def test_more_threads_than_a_machine_can_start_are_not_asked_for():
    target = build_target({"threads": 100_000})
    [reason] = target.unavailable(["latency_p50", "params"]).values()
    assert reason.endswith("threads at most, and this target has more")


def test_what_does_not_fit_is_refused():
    for wrong in ({"device": "tpu9"}, {"device": "mps"}, {"batch": 0}, {"threads": 0}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} of a target: "):
            build_target(wrong)
    with pytest.raises(InputError, match="threads of a target: "):
        build_target("cpu", changes={"threads": 0})
    with pytest.raises(InputError, match=r"precision of a target: .*; found 'int8'"):
        build_target({"precision": "int8"})
    with pytest.raises(InputError, match=r"\(channels, height, width\)"):
        local().measure(network(), (1, 1, 8, 8), ["params"])
    with pytest.raises(MeasurementError, match=r"on an input of shape \(1, 3, 8, 8\)"):
        local().measure(network(), (3, 8, 8), ["params"])
    with pytest.raises(MeasurementError, match=r"on 1x3x8x8 images"):
        local().measure(network(), (3, 8, 8), ["latency_p50"], QUICK)


def test_targets_of_a_budget():
    assert build_target(None).name == "cpu"
    assert build_target("cuda:1").name == "cuda:1"
    inline = {"device": "cpu", "runtime": "eager", "precision": "bf16", "batch": 4, "threads": None}
    target = build_target(inline)
    assert isinstance(target, Target)
    assert target.name == "cpu bf16 batch=4"
    for wrong in ("jetson-orin-mini", {"device": "cpu", "fan": "on"}, {"runtime": "abacus"}):
        with pytest.raises(InputError):
            build_target(wrong)


def test_a_target_by_the_name_of_its_file(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "budgets").mkdir()
    path = tmp_path / "profiles" / "camera.yaml"
    path.write_text(
        "apiVersion: hwn2n/v1\nkind: target\nname: camera\nthreads: 1\nprecision: bf16\n"
    )
    for target in (build_target("camera", beside=tmp_path / "budgets"), build_target(str(path))):
        assert target.name == "camera"
        assert (target.settings.threads, target.settings.precision) == (1, "bf16")
    changed = build_target(str(path), batch=8, changes={"threads": 2})
    assert (changed.batch, changed.settings.threads) == (8, 2)
    assert changed.name == "camera threads=2"
    again = build_target(changed.to_json())
    assert again.fingerprint() == changed.fingerprint()
    path.write_text(path.read_text() + "batch: 2\n")
    assert build_target(str(path)).batch == 2
    with pytest.raises(InputError, match="batch of the budget's input must be that of the target"):
        build_target(str(path), batch=8)


def test_the_fingerprint_is_the_same_in_every_process_and_thread_setting():
    code = (
        "import json; from hwn2n.hardware.fingerprint import fingerprint; "
        "print(json.dumps(fingerprint()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(result.stdout) == fingerprint()
    ours = local(batch=2).fingerprint()
    assert ours == json.loads(json.dumps(ours))
    assert ours["cpu"]
    assert ours["torch"] == torch.__version__
    assert ours != local(batch=3).fingerprint()


def test_a_machine_that_describes_itself_poorly_has_a_fingerprint(monkeypatch, tmp_path):
    monkeypatch.setattr("hwn2n.hardware.fingerprint._CPUINFO", tmp_path / "absent")
    assert fingerprint()["cores"] is None
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n\nHardware\t: Some   board\n")
    monkeypatch.setattr("hwn2n.hardware.fingerprint._CPUINFO", tmp_path / "cpuinfo")
    assert fingerprint()["cpu"] == "Some board"
