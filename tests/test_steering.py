"""A measured budget steers the search: here power, read from the files of a fake sensor."""

from pathlib import Path
from statistics import mean

import pytest
import small

from benchmarks.fake_board import IDLE_W, FakeBoard
from hwn2n.hardware.counts import count
from hwn2n.hardware.measurement import Duration
from hwn2n.run.ledger import Ledger

UPDATES = 8


def board(folder: Path, share: float = 1.0) -> FakeBoard:
    """Draws 10 W from `share` of the teacher's work on."""
    short = Duration(clock=0.01, warmup=0.0, power=0.02, idle=0.02)
    full = Duration(clock=0.05, warmup=0.0, power=0.2, idle=0.2)
    work = count(small.small_teacher().model, small.torch.zeros(1, *small.SHAPE)).flops
    return FakeBoard(folder / "board", share * work, {"quick": short, "full": full})


def test_the_sensor_is_read_as_a_real_one(tmp_path):
    target = board(tmp_path)
    model = small.small_teacher().model
    assert target.unavailable(["power_avg", "power_avg_net", "energy"]) == {}
    found = target.examine(model, small.SHAPE, ["power_avg", "power_avg_net", "energy"])
    assert found.cost["power_avg"].value == pytest.approx(10.0, rel=0.05)
    assert found.cost["power_avg_net"].value == pytest.approx(10.0 - IDLE_W, rel=0.05)
    assert found.samples["power"]["source"] == "ina"
    assert found.samples["power"]["rail"] == "VDD_IN"
    seconds, images = (sum(found.samples["power"][name]) for name in ("seconds", "images"))
    energy = found.cost["energy"].value
    assert energy == pytest.approx(found.cost["power_avg"].value * seconds / images, rel=0.05)


@pytest.mark.slow
def test_a_power_row_steers_the_search_to_a_verified_student(tmp_path):
    # The reward alone shrinks every student to a few hundredths of the teacher: the sensor must
    # tell those apart, and the limit lie below what the unconstrained search settles at.
    def run(name: str, limit: str):
        budget = small.budget_text(f"{{metric: power, max: {limit}}}")
        settings = small.settings(
            removal__updates=0,
            shrinkage__updates=UPDATES,
            shrinkage__rollouts=5,
            shrinkage__lr=0.05,
            anchor=False,
            annealing=2,
        )
        target = board(tmp_path / f"{name}-board", 0.05)
        result = small.compress(tmp_path / name, budget=budget, recipe=settings, target=target)
        ledger = Ledger(tmp_path / name / "ledger.sqlite")
        rows = ledger.candidates()
        ledger.close()
        last = [c for c in rows if c.iteration >= UPDATES - 3 and "power_avg" in c.cost]
        assert len(last) == 15
        return result, mean(c.cost["power_avg"]["value"] for c in last)

    free, usual = run("free", "100W")
    constrained, steered = run("constrained", "4W")
    assert steered < usual
    student = constrained.student["cost"]["power_avg"]
    assert constrained.verdict == "pass" and student["high"] <= 4.0
    assert student["how"] == "measured"
    assert free.verdict == "pass"
