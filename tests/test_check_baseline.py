"""The check beside saved profiles: changes, increases, cached columns, a teacher that is a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from told import MACHINE, MEASURED, SHAPE, Told, budget, latency, net
from torch import nn

import hwn2n
from hwn2n.budget.cost import Reading, cost_to_json
from hwn2n.budget.judgement import Verdict
from hwn2n.errors import InputError
from hwn2n.gate.comparison import read_increase
from hwn2n.gate.outcome import Check
from hwn2n.gate.saved_profile import FORMAT_VERSION, load_profile
from hwn2n.hardware.fingerprint import differences, fingerprint
from hwn2n.hardware.measurement import Measurement
from hwn2n.network.identity import model_digest

PARAMS = {"metric": "params", "max": 100}
P50 = latency(max="1s")
FILE = {"metric": "file_bytes", "max": "1kB"}
COLUMNS = ["params", "latency_p50", "throughput", "energy"]
INPUTS = [1, *SHAPE]


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return net()


def ms(value: float, low: float, high: float) -> Reading:
    return Reading(value / 1000, "measured", low / 1000, high / 1000)


def saved(
    folder: Path, network: nn.Module, target: Told, name: str = "saved.json", /, **changes: Any
) -> Path:
    """A profile of the model on the target, in a file; `changes` to what stands there."""
    path = folder / name
    found = hwn2n.profile(network, target=target, input_shape=SHAPE, columns=COLUMNS)
    found.save(path)
    if changes:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def check(model: nn.Module, target: Told, *rows: dict[str, Any], **how: Any) -> Check:
    return hwn2n.check(model, budget=budget(*rows), target=target, input_shape=SHAPE, **how)


# --- what a profile holds ----------------------------------------------------------------------


def test_a_saved_profile_comes_back(tmp_path: Path, model: nn.Module) -> None:
    path = saved(tmp_path, model, Told(latency_p50=MEASURED))
    found = load_profile(path)
    assert (found.model, found.target, found.input_shape) == ("Sequential", "told", SHAPE)
    assert found.cost == {"params": Reading(47), "latency_p50": MEASURED}
    assert found.machine == MACHINE and found.inputs == "noise"
    assert found.confidence == {"latency_p50": 0.95}
    assert found.model_digest == model_digest(model, SHAPE)
    assert found.torch == torch.__version__.partition("+")[0] or found.torch == torch.__version__
    assert found.missing("params") is None
    assert found.missing("energy") == f"{path} does not have it: not told"
    assert found.missing("latency_p99") == f"{path} does not have it: it was not asked for"


def test_a_profile_for_a_budget_has_its_columns_as_surely_as_it_asks() -> None:
    target = Told(latency_p50=MEASURED, throughput=Reading(50.0, "measured", 40.0, 60.0))
    rows = budget({"metric": "throughput", "min": "1/s", "confidence": 0.99}, input=INPUTS)
    found = hwn2n.profile(net(), target=target, columns=["params"], budget=rows)
    assert set(found.cost) == {"params", "throughput"}
    assert found.confidence == {"throughput": 0.99}
    assert target.protocols[0].confidence == {"throughput": 0.99}


DAMAGES: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "a profile must be JSON"),
    "other JSON": ("[1]", "must be a profile saved by hwn2n profile"),
    "other format": ({"format": "hwn2n-check"}, "must be a profile saved by hwn2n profile"),
    "newer": ({"version": 99}, f"version of a profile must be {FORMAT_VERSION}; found 99"),
    "boolean version": ({"version": True}, "found True"),
    "no cost": ({"cost": None}, "damaged profile"),
    "no column": ({"cost": {"speed": {"value": 1, "how": "exact"}}}, "damaged profile"),
    "infinite": ('{"format": "hwn2n-profile", "x": Infinity}', "numbers must be finite"),
    "huge": ({"cost": {"params": {"value": 1e999, "how": "exact"}}}, "JSON|finite"),
    "outside": (
        {"cost": {"params": {"value": 3, "how": "measured", "low": 4, "high": 5}}},
        "must lie in its interval",
    ),
    "flat": ({"input_shape": [1, 4]}, "damaged profile"),
    "empty images": ({"input_shape": [1, 0, 4]}, "sizes must be whole numbers from 1; found 0"),
    "no machine": ({"machine": []}, "an object must stand where list does"),
    "numbered model": ({"model": 3}, "text must stand where int does"),
    "sure": ({"confidence": {"params": 1.0}}, "confidence must lie between 0 and 1; found 1.0"),
    "notes": ({"notes": "none"}, "a list must stand where str does"),
    "nested": ("[" * 100_000, "a profile must be JSON"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A saved profile, as data."""
    path = saved(tmp_path_factory.mktemp("good"), net(), Told())
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("name", DAMAGES)
def test_anything_else_is_refused(name: str, tmp_path: Path, good: dict[str, Any]) -> None:
    damage, reason = DAMAGES[name]
    path = tmp_path / "saved.json"
    path.write_text(damage if isinstance(damage, str) else json.dumps(good | damage))
    with pytest.raises(InputError, match=reason) as caught:
        check(net(), Told(), PARAMS, baseline=path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_keys_and_files_are_named(tmp_path: Path, model: nn.Module) -> None:
    path = saved(tmp_path, model, Told())
    data = json.loads(path.read_text())
    del data["machine"]
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="a profile must have 'machine'; found none"):
        load_profile(path)
    with pytest.raises(InputError, match="must be a readable profile; found: No such file"):
        load_profile(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="must be a readable profile"):
        load_profile(tmp_path)


# --- fingerprints and digests ------------------------------------------------------------------


def test_fingerprints_differ_by_whatever_decides_speed() -> None:
    here = fingerprint() | {"target": {"name": "lab", "batch": 1, "power": {"source": "auto"}}}
    again = json.loads(json.dumps(here))
    assert differences(here, again) == {}
    again["target"]["name"] = "a name decides nothing"
    assert differences(here, again) == {}
    for key in fingerprint():
        changed = again | {key: "another"}
        assert list(differences(here, changed)) == [key]
    again["target"] = {"name": "lab", "batch": 8, "power": {"source": "ina"}}
    del again["torch"]
    assert differences(here, again) == {
        "torch": (here["torch"], None),
        "target.batch": (1, 8),
        "target.power.source": ("auto", "ina"),
    }
    assert differences(again, here)["torch"] == (None, here["torch"])


def test_the_digest_is_of_weights_and_structure(model: nn.Module) -> None:
    digest = model_digest(model, SHAPE)
    assert digest is not None and digest.startswith("sha256:") and len(digest) == 7 + 64
    named = nn.Sequential()
    for name, part in zip("abcd", model, strict=True):
        named.add_module(name, part)
    assert model_digest(named, SHAPE) == digest  # the same network, whatever its parts are called
    assert model_digest(model.train(), SHAPE) == digest and model.training
    tanh = nn.Sequential(model[0], nn.Tanh(), *model[2:])
    assert model_digest(tanh, SHAPE) not in (digest, None)
    with torch.no_grad():
        model[3].bias[0] += 1e-3
    assert model_digest(model, SHAPE) not in (digest, None)


def test_what_cannot_be_captured_has_no_digest() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) if float(x.sum()) > 1e9 else x.flatten(1) + torch.rand(1)

    assert model_digest(Odd(), SHAPE) is None


# --- changes -----------------------------------------------------------------------------------


def test_changes_are_relative_to_the_baseline(tmp_path: Path, model: nn.Module) -> None:
    before = saved(tmp_path, model, Told(latency_p50=ms(10, 9, 11), throughput=Reading(100.0)))
    now = Told(latency_p50=ms(12, 11.5, 13), throughput=Reading(80.0))
    rows = (PARAMS, P50, {"metric": "throughput", "min": "1/s"}, {"metric": "energy", "max": "1J"})
    found = check(net(4), now, *rows, baseline=before)
    changes = [row.change for row in found.rows]
    assert found.baseline == str(before)
    assert (changes[0].baseline, changes[0].relative) == (47, pytest.approx(91 / 47 - 1))
    assert changes[0].distinguishable and changes[0].text == "+93.6%"
    assert (changes[1].relative, changes[1].distinguishable) == (pytest.approx(0.2), True)
    assert changes[2].text == "-20.0%"
    assert changes[3] is None and found.rows[3].verdict is Verdict.UNAVAILABLE
    same = check(model, Told(latency_p50=ms(10.5, 9.5, 12)), PARAMS, P50, baseline=before)
    assert [row.change.text for row in same.rows] == ["+0.0%", "~"]


def test_a_sum_changes_as_a_whole(tmp_path: Path, model: nn.Module) -> None:
    row = {"sum": [latency(scale="10ms"), {"metric": "params", "scale": "47"}], "max": 99}
    before = saved(tmp_path, model, Told(latency_p50=ms(10, 10, 10)))  # 1 + 1
    found = check(net(4), Told(latency_p50=ms(20, 20, 20)), row, baseline=before)
    assert found.rows[0].change.relative == pytest.approx((2 + 91 / 47) / 2 - 1)


def test_measured_columns_compare_only_on_the_same_machine(
    tmp_path: Path, model: nn.Module
) -> None:
    before = saved(tmp_path, model, Told(latency_p50=MEASURED))
    elsewhere = Told(MACHINE | {"cpu": "B", "torch": "2.1"}, latency_p50=MEASURED)
    found = check(model, elsewhere, PARAMS, P50, baseline=before)
    params, fast = found.rows
    assert (params.change.relative, fast.change.relative) == (0.0, None)
    reason = f"{before} was measured elsewhere: its cpu is 'a CPU', and here 'B' (and 1 more)"
    assert fast.change.reason == f"latency_p50: {reason}"
    assert found.exit_code == 0  # the change is only shown


def test_power_compares_only_on_the_same_images(tmp_path: Path, model: nn.Module) -> None:
    told = Told(energy=Reading(1.0, "measured", 0.9, 1.1))
    before = saved(tmp_path, model, told, inputs="cifar10")
    [row] = check(model, told, {"metric": "energy", "max": "2J"}, baseline=before).rows
    assert row.change.reason.endswith("was measured on cifar10, not on noise")


def test_only_parameters_compare_with_images_of_another_size(
    tmp_path: Path, model: nn.Module
) -> None:
    target = Told(latency_p50=MEASURED, flops=Reading(9.0), weight_bytes=Reading(188.0))
    rows = (
        {"metric": "params", "max": "100%"},
        {"metric": "flops", "max": "100%"},
        {"metric": "weight_bytes", "max": "100%"},
        latency(max="200%"),
    )
    of = {"input_shape": [1, 5, 5], "cost": cost_to_json(target.readings | {"params": Reading(47)})}
    large = saved(tmp_path, model, target, **of)
    found = check(model, target, *rows, teacher=large, baseline=large, max_increase="0%")
    here = [Verdict.PASS, Verdict.UNAVAILABLE, Verdict.PASS, Verdict.UNAVAILABLE]
    assert [row.verdict for row in found.rows] == here * 2
    reason = f"flops to compare with: {large} is of images of the shape 1,5,5, and not 1,4,4"
    assert (found.rows[1].reason, found.exit_code) == (reason, 3)


def test_bytes_compare_in_one_precision_and_those_of_files_by_one_writer(
    tmp_path: Path, model: nn.Module
) -> None:
    target = {"device": "cpu", "batch": 1, "precision": "bf16", "runtime": "onnxruntime"}
    half = MACHINE | {"target": target, "runtime_packages": {"onnx": "1.0"}}
    readings = {"weight_bytes": Reading(94.0), "file_bytes": Reading(500.0)}
    cost = cost_to_json({"params": Reading(47), **readings})
    before = saved(tmp_path, model, Told(half, **readings), cost=cost)
    rows = (PARAMS, {"metric": "weight_bytes", "max": "1kB"}, FILE)

    def compared(machine: dict[str, Any]) -> list[str | None]:
        found = check(model, Told(machine, **readings), *rows, baseline=before)
        return [row.change.reason for row in found.rows]

    assert compared(half | {"cpu": "B", "os": "another"}) == [None] * 3
    single = f"{before} was counted otherwise: its target.precision is 'bf16', and here 'fp32'"
    assert compared(half | {"target": target | {"precision": "fp32"}}) == [
        None,
        f"weight_bytes: {single}",
        f"file_bytes: {single}",
    ]
    for change in ({"torch": "2.1"}, {"runtime_packages": {"onnx": "2.0"}}):
        params, weights, file = compared(half | change)
        assert (params, weights) == (None, None)
        assert file is not None and f"its {next(iter(change))}" in file


class Threaded(Told):
    """Says with how many threads it timed."""

    def __init__(self, threads: int, machine: dict[str, Any] | None = None) -> None:
        super().__init__(machine, latency_p50=MEASURED)
        self.threads = threads

    def examine(self, *arguments: Any, **how: Any) -> Measurement:
        cost = self.measure(*arguments, **how)
        return Measurement(cost, {"latency": {"threads": self.threads}})


def test_on_a_cpu_readings_compare_with_as_many_threads(tmp_path: Path, model: nn.Module) -> None:
    before = saved(tmp_path, model, Threaded(1))
    assert load_profile(before).threads == 1
    assert check(model, Threaded(1), P50, baseline=before, max_increase="5%").exit_code == 4
    found = check(model, Threaded(2), PARAMS, P50, baseline=before, max_increase="5%")
    reason = f"{before} was measured with 1 CPU threads, not with 2 CPU threads"
    assert [row.change and row.change.reason for row in found.rows] == [
        *(None, f"latency_p50: {reason}", None, None)
    ]
    assert found.exit_code == 3
    teacher = check(model, Threaded(2), latency(max="200%"), teacher=before)
    assert teacher.rows[0].reason == f"latency_p50 to compare with: {reason}"
    cached = saved(tmp_path, model, Threaded(2), "now.json")
    assert check(model, Told(), P50, profile=cached, baseline=before).rows[0].change.reason
    gpu = MACHINE | {"target": {"device": "cuda", "batch": 1}}
    there = saved(tmp_path, model, Threaded(1, gpu), "gpu.json")
    [row] = check(model, Threaded(2, gpu), P50, baseline=there).rows
    assert row.change.reason is None


def test_an_engine_compares_where_it_was_built(tmp_path: Path, model: nn.Module) -> None:
    told = Told(file_bytes=Reading(500.0, "measured"))
    before = saved(tmp_path, model, told, cost=cost_to_json(told.readings))
    [here] = check(model, told, FILE, baseline=before).rows
    elsewhere = Told(MACHINE | {"gpu": ["B"]}, file_bytes=Reading(500.0, "measured"))
    [there] = check(model, elsewhere, FILE, baseline=before).rows
    assert here.change.reason is None
    assert "was measured elsewhere: its gpu is" in there.change.reason


def test_a_change_from_nothing_has_no_share(tmp_path: Path, model: nn.Module) -> None:
    zero = {"params": {"value": 0, "how": "exact"}}
    before = saved(tmp_path, model, Told(), cost=zero)
    [row] = check(model, Told(), PARAMS, baseline=before).rows
    assert (row.change.relative, row.change.baseline) == (None, 0)


# --- the largest increase ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "verdict", "code"),
    [
        (ms(10, 9, 10.3), Verdict.PASS, 0),  # 105 % of 10 to 11 ms is 10.5 to 11.55 ms
        (ms(10.4, 10, 10.6), Verdict.INCONCLUSIVE, 4),
        (ms(12, 11.5, 13), Verdict.INCONCLUSIVE, 4),
        (ms(12, 11.6, 13), Verdict.VIOLATED, 1),
    ],
)
def test_an_increase_is_judged_by_both_intervals(
    now: Reading, verdict: Verdict, code: int, tmp_path: Path, model: nn.Module
) -> None:
    before = saved(tmp_path, model, Told(latency_p50=ms(10.5, 10, 11)))
    found = check(model, Told(latency_p50=now), PARAMS, P50, baseline=before, max_increase="5%")
    assert [row.kind for row in found.rows] == ["limit", "limit", "increase", "increase"]
    assert [row.id for row in found.rows[2:]] == ["params-increase", "latency_p50-increase"]
    assert [row.verdict for row in found.rows] == [Verdict.PASS] * 3 + [verdict]
    assert found.exit_code == code
    assert found.rows[3].limit == pytest.approx(0.011025)
    assert found.rows[3].text == "latency_p50 <= 105% of the baseline (budget)"


def test_counted_columns_and_columns_that_should_be_large(tmp_path: Path, model: nn.Module) -> None:
    before = saved(tmp_path, net(10), Told(throughput=Reading(100.0)))  # 223 parameters
    rows = (
        {"metric": "params", "max": "1k"},
        {"metric": "params", "max": "2k", "severity": "warn"},
        {"metric": "throughput", "min": "1/s", "severity": "warn"},
    )
    now = Told(throughput=Reading(89.0))
    found = check(net(11), now, *rows, baseline=before, max_increase="10%")  # 245 parameters
    params, speed = found.rows[3:]
    assert (params.verdict, params.limit) == (Verdict.PASS, pytest.approx(245.3))
    assert (speed.verdict, speed.sense, speed.limit) == (Verdict.VIOLATED, "min", 90)
    assert (params.severity, speed.severity, found.exit_code) == ("error", "warn", 0)
    worse = check(net(12), now, *rows, baseline=before, max_increase="10%")
    assert (worse.rows[3].verdict, worse.exit_code) == (Verdict.VIOLATED, 1)
    assert worse.rows[3].change.text == "+19.7%"


def test_what_cannot_be_compared_could_not_be_measured(tmp_path: Path, model: nn.Module) -> None:
    before = saved(tmp_path, model, Told(latency_p50=MEASURED))
    elsewhere = Told(MACHINE | {"cpu": "B"}, latency_p50=MEASURED)
    found = check(model, elsewhere, PARAMS, P50, baseline=before, max_increase="5%")
    assert (found.rows[3].verdict, found.exit_code) == (Verdict.UNAVAILABLE, 3)
    assert "its cpu is 'a CPU', and here 'B'" in found.rows[3].reason
    static = check(
        model, elsewhere, PARAMS, P50, baseline=before, max_increase="5%", static_only=True
    )
    assert [row.id for row in static.rows] == ["params", "latency_p50", "params-increase"]
    assert static.exit_code == 0
    sure = {**P50, "confidence": 0.99}
    vague = check(model, Told(latency_p50=MEASURED), sure, baseline=before, max_increase="5%")
    assert vague.exit_code == 3 and "holds at 0.95, and must at 0.99" in vague.rows[1].reason


def test_ids_of_increases_are_unique(tmp_path: Path, model: nn.Module) -> None:
    before = saved(tmp_path, model, Told())
    rows = ({**PARAMS, "id": "params-increase"},)
    found = check(model, Told(), *rows, baseline=before, max_increase="5%")
    assert [row.id for row in found.rows] == ["params-increase", "params-increase-2"]


def test_increases_are_percentages_and_need_a_baseline(model: nn.Module) -> None:
    assert (read_increase("5%"), read_increase("0%")) == (pytest.approx(0.05), 0)
    for text in ("5", "-5%", "100%", "5 %", "\u0665%", "nan%", "1e1%"):
        with pytest.raises(InputError, match="--max-increase must be a percentage below 100%"):
            read_increase(text)
    with pytest.raises(InputError, match=r"--max-increase .* --baseline FILE"):
        check(model, Told(), PARAMS, max_increase="5%")


# --- columns from a profile --------------------------------------------------------------------


def test_measured_columns_may_come_from_a_profile(tmp_path: Path, model: nn.Module) -> None:
    lab = MACHINE | {"cpu": "the device's", "torch": "2.9"}
    path = saved(tmp_path, model, Told(lab, latency_p50=MEASURED))
    here = Told()  # cannot measure anything
    rows = (PARAMS, latency(max="12ms"), {"metric": "energy", "max": "1J", "severity": "warn"})
    found = check(model, here, *rows, profile=path)
    assert [row.how for row in found.rows] == ["exact", "cached", None]
    assert (found.rows[1].low, found.rows[1].high) == (0.009, 0.012)
    assert found.rows[2].reason == f"energy: {path} does not have it: not told"
    assert (found.exit_code, found.machine, found.profile) == (0, lab, str(path))
    assert here.measured == []
    assert found.summary.endswith(f"on target told, as measured in {path}")
    assert check(model, here, latency(max="11ms"), profile=path).exit_code == 4
    assert check(model, here, latency(max="8ms"), profile=path).exit_code == 1


def test_a_profile_of_another_network_or_target_is_refused(
    tmp_path: Path, model: nn.Module
) -> None:
    path = saved(tmp_path, model, Told(latency_p50=MEASURED))
    torch.manual_seed(1)
    with pytest.raises(InputError, match="must be of this very network, Sequential; found one"):
        check(net(), Told(), P50, profile=path)
    batch = Told(MACHINE | {"target": {"device": "cpu", "batch": 8}})
    with pytest.raises(InputError, match="target, told, whose batch is 8; found 1"):
        check(model, batch, P50, profile=path)
    with pytest.raises(InputError, match="must not be given with --static-only"):
        check(model, Told(), PARAMS, profile=path, static_only=True)
    nameless = saved(tmp_path, model, Told(latency_p50=MEASURED), model_digest=None)
    with pytest.raises(InputError, match="found no model_digest"):
        check(model, Told(), P50, profile=nameless)
    large = saved(tmp_path, model, Told(latency_p50=MEASURED), input_shape=[1, 5, 5])
    with pytest.raises(InputError, match="images of the shape 1,4,4; found 1,5,5"):
        check(model, Told(), P50, profile=large)


def test_a_profile_must_be_as_sure_as_the_row(tmp_path: Path, model: nn.Module) -> None:
    path = saved(tmp_path, model, Told(latency_p50=MEASURED))
    found = check(model, Told(), {**P50, "confidence": 0.99}, profile=path)
    assert found.exit_code == 3
    assert "its interval in" in found.rows[0].reason and "--budget" in found.rows[0].reason
    rows = budget({**P50, "confidence": 0.99})
    told = Told(latency_p50=MEASURED)
    hwn2n.profile(model, target=told, input_shape=SHAPE, budget=rows).save(path)
    assert check(model, Told(), {**P50, "confidence": 0.99}, profile=path).exit_code == 0


def test_a_profile_beside_a_baseline_of_the_same_lab(tmp_path: Path, model: nn.Module) -> None:
    lab = MACHINE | {"cpu": "the device's"}
    before = saved(tmp_path, net(4), Told(lab, latency_p50=ms(20, 19, 21)), "main.json")
    now = saved(tmp_path, model, Told(lab, latency_p50=ms(10, 9, 11)))
    [row] = check(model, Told(), P50, profile=now, baseline=before).rows
    assert row.change.text == "-50.0%"


# --- the teacher's profile ---------------------------------------------------------------------


def test_a_saved_profile_may_be_the_teacher(tmp_path: Path, model: nn.Module) -> None:
    teacher = saved(tmp_path, net(10), Told(latency_p50=ms(20, 19, 21)), "teacher.json")
    rows = ({"metric": "params", "max": "50%"}, latency(max="70%"))
    target = Told(latency_p50=MEASURED)
    found = check(model, target, *rows, teacher=teacher)
    assert [row.limit for row in found.rows] == [pytest.approx(111.5), pytest.approx(0.014)]
    assert (found.rows[1].limit_low, found.exit_code) == (pytest.approx(0.0133), 0)
    assert target.measured == ["latency_p50"]
    elsewhere = Told(MACHINE | {"cpu": "B"}, latency_p50=MEASURED)
    far = check(model, elsewhere, *rows, teacher=str(teacher))
    assert [row.verdict for row in far.rows] == [Verdict.PASS, Verdict.UNAVAILABLE]
    assert "latency_p50 to compare with" in far.rows[1].reason and far.exit_code == 3


def test_with_a_profile_the_teacher_must_be_one_too(tmp_path: Path, model: nn.Module) -> None:
    lab = MACHINE | {"cpu": "the device's"}
    path = saved(tmp_path, model, Told(lab, latency_p50=MEASURED))
    rows = ({"metric": "params", "max": "50%"}, latency(max="70%"))
    found = check(model, Told(), *rows, profile=path, teacher=net(10))
    assert [row.verdict for row in found.rows] == [Verdict.PASS, Verdict.UNAVAILABLE]
    assert "--teacher PROFILE.json" in found.rows[1].reason
    teacher = saved(tmp_path, net(10), Told(lab, latency_p50=ms(20, 19, 21)), "teacher.json")
    assert check(model, Told(), *rows, profile=path, teacher=teacher).exit_code == 0
