"""`hwn2n compare` and `hwn2n.compare`."""

from __future__ import annotations

import gc
import inspect
import json
import os
from pathlib import Path
from typing import Any

import crafted
import pytest
import torch
from cli_tools import hwn2n
from torch import nn

import hwn2n as package
from benchmarks import latency_ab
from hwn2n.commands import compare as commands
from hwn2n.commands.compare import Compared, compare
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.latency import Comparison, Quiet
from hwn2n.hardware.latency.compare import MARGIN, MAX_SECONDS
from hwn2n.hardware.latency.placement import Burst, Placement
from hwn2n.hardware.runtimes import Executable
from hwn2n.hardware.target import Target
from hwn2n.network.files import Teacher

SHAPE = (3, 8, 8)


def network(width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 36, 2)
    )


def outcome(low: float, high: float, limit: float | None = None, **changes: Any) -> Compared:
    """A comparison that found this interval."""
    placements = tuple(Placement(a_s=(0.01, 0.012), b_s=(0.011, 0.0132)) for _ in range(7))
    settings: dict[str, Any] = {
        "ratio": (low + high) / 2,
        "low": low,
        "high": high,
        "confidence": 0.95,
        "margin": 0.01,
        "limit": limit,
        "placements": placements,
        "burst": Burst(runs=1, lead=0),
        "looks": (7,),
        "discarded": 0,
        "throttle_reasons": (),
        "seconds": 4.25,
    }
    return Compared(
        a="main.pt2",
        b="change.pt2",
        input_shape=SHAPE,
        batch=2,
        target="cpu",
        found=Comparison(**settings | changes),
        quiet=Quiet(3, (0, 2, 5)),
        conditions={"before": {"load": [0.25, 0, 0], "cpu": {"governors": ["performance"]}}},
        machine={"cpu": "Abacus 9", "os": "Linux", "gpu": []},
        provenance={},
        notes=("a note of the runtime",),
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command line asked for; `answer` is what it gets."""
    asked: dict[str, Any] = {"answer": outcome(1.09, 1.11)}

    def run(a: str, b: str, **settings: Any) -> Compared:
        asked.update(settings, a=a, b=b)
        return asked["answer"]

    monkeypatch.setattr(commands, "compare", run)
    return asked


def test_a_network_beside_another() -> None:
    a, b = network(), network(8).train()
    before = [value.clone() for value in b.state_dict().values()]
    compared = compare(a, b, input_shape=SHAPE, batch=2, threads=1, max_seconds=3.0, seed=3)
    found = compared.found
    assert found.low <= found.ratio <= found.high
    assert 7 <= len(found.placements) <= 32
    assert found.verdict in ("faster", "slower", "same", "inconclusive")
    assert compared.exit_code == 0
    assert (compared.a, compared.b, compared.batch) == ("Sequential", "Sequential", 2)
    assert compared.quiet.threads == 1
    if hasattr(os, "sched_setaffinity"):
        assert compared.quiet.pinned is not None and len(compared.quiet.pinned) == 1
    # Nothing of it stays behind, in the networks or in the process.
    assert b.training and gc.isenabled()
    assert all(torch.equal(x, y) for x, y in zip(before, b.state_dict().values(), strict=True))
    content = json.loads(json.dumps(compared.to_json(), allow_nan=False))
    assert content["format"] == "hwn2n-comparison"
    assert content["machine"]["target"]["batch"] == 2
    assert content["comparison"]["rounds"] == found.rounds
    assert {"before", "after"} <= content["conditions"].keys()


def test_it_is_a_function_of_the_package() -> None:
    assert package.compare is compare
    assert "compare" in package.__all__


def test_executables_are_closed_even_if_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Executable] = []
    closed: list[Executable] = []
    original = commands.LocalTarget.executable

    def watched(self: Any, *arguments: Any) -> Executable:
        found = original(self, *arguments)
        close = found.close
        opened.append(found)
        monkeypatch.setattr(found, "close", lambda: (closed.append(found), close()))
        if len(opened) == 6:
            monkeypatch.setattr(found, "sample", lambda: 1 / 0)
        return found

    monkeypatch.setattr(commands.LocalTarget, "executable", watched)
    with pytest.raises(MeasurementError, match="must run to be compared; found ZeroDivisionError"):
        compare(network(), network(), input_shape=SHAPE, max_seconds=3.0)
    assert len(opened) == 6
    assert set(closed) == set(opened)


def test_what_runs_in_a_program_of_its_own_cannot_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Executable, "live", False)
    with pytest.raises(MeasurementError, match="networks compare only where they take turns"):
        compare(network(), network(), input_shape=SHAPE, max_seconds=3.0)


def test_a_network_that_does_not_run_is_said() -> None:
    with pytest.raises(MeasurementError, match="run the network"):
        compare(network(), nn.Linear(5, 2), input_shape=SHAPE, max_seconds=3.0)


class Elsewhere(Target):
    name = "elsewhere"  # type: ignore[assignment]

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def unavailable(self, columns: Any) -> dict[str, str]:
        return {}

    def measure(self, *arguments: Any) -> Any:
        raise AssertionError


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(InputError, match="on this machine only; found the target elsewhere"):
        compare(network(), network(), input_shape=SHAPE, target=Elsewhere())
    with pytest.raises(InputError, match=r"max_slowdown must be at least 0; found -0\.1"):
        compare(network(), network(), input_shape=SHAPE, max_slowdown=-0.1)
    with pytest.raises(InputError, match="give --input-shape"):
        compare(network(), network())


def test_shapes_of_two_files() -> None:
    one = Teacher(model=network(), source="one.pt2", input_shape=(3, 8, 8))
    two = Teacher(model=network(), source="two.pt2", input_shape=(3, 9, 9))
    silent = Teacher(model=network(), source="weights.pt")
    common = commands._common_shape
    assert common(one, one, None) == (3, 8, 8)
    assert common(one, silent, None) == common(silent, one, None) == (3, 8, 8)
    assert common(one, two, (3, 7, 7)) == (3, 7, 7)
    with pytest.raises(InputError, match=r"two.pt2: its images must .* one.pt2 have, 3,8,8, but"):
        common(one, two, None)


def test_weights_beside_a_file_that_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--arch` is for those that need one: an exported program refuses it."""
    program, weights = tmp_path / "a.pt2", tmp_path / "b.pt"
    program.write_bytes(crafted.exported())
    weights.write_bytes(crafted.saved(crafted.tiny().state_dict()))

    def shape_only(a: Teacher, b: Teacher, given: Any) -> tuple[int, int, int]:
        raise MeasurementError(f"{a.source} and {b.source} are loaded")

    monkeypatch.setattr(commands, "_common_shape", shape_only)
    with pytest.raises(MeasurementError, match="are loaded"):
        compare(weights, program, arch="crafted:Tiny")
    with pytest.raises(MeasurementError, match="are loaded"):
        compare(weights, weights, arch="crafted:Tiny")
    with pytest.raises(InputError, match="must come with its architecture"):
        compare(program, weights)
    with pytest.raises(InputError, match=r"b\.pt"):
        compare(weights, weights, arch="crafted:Tiny", arch_b="crafted:Bomb")


@pytest.mark.parametrize(
    ("low", "high", "limit", "code"),
    [
        (1.09, 1.11, None, 0),
        (1.0, 1.04, 1.05, 0),
        (1.06, 1.08, 1.05, 1),
        (1.04, 1.06, 1.05, 4),
    ],
)
def test_exit_codes(
    told: dict[str, Any], low: float, high: float, limit: float | None, code: int
) -> None:
    told["answer"] = outcome(low, high, limit)
    arguments = ["compare", "main.pt2", "change.pt2"]
    arguments += [] if limit is None else ["--max-slowdown", "5%"]
    plain = hwn2n(*arguments)
    assert plain.code == code
    assert plain.err == ""
    in_json = hwn2n(*arguments, "--json")
    assert in_json.code == in_json.json["exit_code"] == code
    if limit is not None:
        assert told["max_slowdown"] == pytest.approx(0.05)
        assert in_json.json["limit_sentence"] in plain.out


def test_what_is_printed(told: dict[str, Any]) -> None:
    told["answer"] = outcome(1.09, 1.11, discarded=2, throttle_reasons=("too hot",))
    lines = hwn2n("compare", "main.pt2", "change.pt2").out.splitlines()
    assert lines[1].split() == ["A", "main.pt2", "11.0ms", "1"]
    assert lines[2].split() == ["B", "change.pt2", "12.1ms", "1.1000", "[1.0900,", "1.1100]"]
    assert lines[4:] == [
        "B is slower than A: time +10.00 % (+9.00 % to +11.00 % at 95 % confidence)",
        "14 rounds in 7 placements, 4.2 s, on images of 2x3x8x8, target cpu, 3 threads on CPUs "
        "0,2,5",
        "2 rounds were thrown away because of too hot",
        "a note of the runtime",
        "machine: Abacus 9, Linux, load 0.25 before, governor performance",
    ]


def test_options_arrive(told: dict[str, Any]) -> None:
    done = hwn2n(
        "compare", "a.pt", "b.pt", "--arch", "x:y", "--arch-b", "x:z", "--input-shape", "3,8,8",
        "--batch", 4, "--threads", 1, "--confidence", 0.99, "--margin", "2.5%", "--seconds", 60,
        "--target", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert told.pop("answer")
    assert told == {
        "a": "a.pt",
        "b": "b.pt",
        "arch": "x:y",
        "arch_b": "x:z",
        "input_shape": (3, 8, 8),
        "batch": 4,
        "threads": 1,
        "confidence": 0.99,
        "margin": 0.025,
        "max_slowdown": None,
        "max_seconds": 60.0,
        "target": "cpu",
        "unsafe_pickle": False,
    }


def test_defaults_of_the_command_are_those_of_the_function(told: dict[str, Any]) -> None:
    assert hwn2n("compare", "a.pt2", "b.pt2").code == 0
    defaults = inspect.signature(compare).parameters
    for name in ("confidence", "margin", "max_seconds", "max_slowdown", "batch", "threads"):
        assert told[name] == defaults[name].default, name
    assert (told["margin"], told["max_seconds"]) == (MARGIN, MAX_SECONDS)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--max-slowdown", "5"), ("--max-slowdown", "-5%"), ("--margin", "one%")],
)
def test_shares_must_be_percentages(told: dict[str, Any], option: str, value: str) -> None:
    done = hwn2n("compare", "a.pt2", "b.pt2", f"{option}={value}")
    assert done.code == 2
    assert done.err == f"error: {option} must be a percentage such as 5%; found {value!r}\n"


def test_a_file_that_is_not_there() -> None:
    done = hwn2n("compare", "nothing.pt2", "b.pt2")
    assert done.code == 2
    assert "nothing.pt2" in done.err and done.err.count("\n") == 1


def test_the_benchmark_slows_by_real_work_and_counts_verdicts() -> None:
    torch.manual_seed(0)
    base = network()
    slowed = latency_ab.Slowed(base, 3).eval()
    images = torch.rand(2, *SHAPE)
    with torch.inference_mode():
        assert torch.equal(slowed(images), base.eval()(images))
        expected = slowed.factor @ slowed.factor
    assert torch.allclose(slowed.product, expected)

    def one(verdict: str, ratio: float) -> dict[str, Any]:
        return {"verdict": verdict, "ratio": ratio, "added": 0.05, "seconds": 10.0}

    equal = latency_ab._row("net", "equal", [one("same", 1.0)] * 18 + [one("faster", 0.9)] * 2)
    assert (equal["hits"], equal["holds"]) == (2, False)
    # Wilson's interval of 2 of 20
    assert (equal["low"], equal["high"]) == pytest.approx((0.0279, 0.3010), abs=1e-4)
    told = [one("slower", 1.05)] * 18 + [one("inconclusive", 1.02)] * 2
    row = latency_ab._row("net", "slowed", told)
    assert (row["hits"], row["rate"], row["holds"]) == (18, 0.9, True)
    assert latency_ab.table([equal, row]).splitlines()[2:] == [
        "| net | A again | 20 | called different: 10% (3% to 30%) | 18 | 0 "
        "| 1.000 (0.900 to 1.000) | 10 |",
        "| net | A + 5% | 20 | called slower: 90% (70% to 97%) | 0 | 2 "
        "| 1.050 (1.020 to 1.050) | 10 |",
    ]
