"""Networks are scaled again by what they measure, before one of them is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small

from hwn2n.budget.cost import Reading
from hwn2n.errors import InterruptedRunError
from hwn2n.hardware.measurement import Effort
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import Workbench
from hwn2n.search.proposals import Place, Proposal
from hwn2n.search.recipes import RECIPES

LIMIT = "{metric: latency, stat: p50, max: 45%}"
WIDE = Decision(widths={"conv1": 8, "conv2": 8, "conv3": 2, "fc1": 6})

Make = Callable[..., Workbench]


class OfItsOwnKind(small.OddTarget):
    """Every network needs `times` as long as its counts say, one after the other; the teacher once.

    So no forecast is right, and only a network's own reading tells.
    """

    def __init__(self, *times: float) -> None:
        super().__init__()
        self.times = list(times)
        self.read: list[float] = []

    def odd(self, reading: Reading, effort: Effort) -> Reading:
        factor = self.times.pop(0) if len(self.times) > 1 else self.times[0]
        self.read.append(factor * reading.value)
        return replace(reading, value=self.read[-1])


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Workbench] = []

    def build(target: small.CalmTarget, *rows: str, **changes: Any) -> Workbench:
        bench = small.workbench(tmp_path / f"run{len(made)}", *(rows or [LIMIT]), **changes)
        bench.evaluator.workshop.target = target
        made.append(bench)
        return bench

    yield build
    for bench in made:
        bench.ledger.close()


def evaluated(bench: Workbench, *decisions: Decision, iteration: int = 0) -> list[Candidate]:
    proposals = [
        Proposal(decision=decision, place=Place("removal", iteration, n))
        for n, decision in enumerate(decisions)
    ]
    return list(bench.evaluator.evaluate(proposals, epsilon=1.0))


def headroom(bench: Workbench, row: Candidate) -> float:
    return small.rounds(bench).headroom(row)


def test_the_default_does_and_the_paper_does_not() -> None:
    assert RECIPES["fast"].refits == 2 and RECIPES["paper"].refits == 0


@pytest.mark.parametrize("times", [0.6, 1.0, 2.0])
def test_a_network_uses_the_budget_whatever_its_forecast_was(make: Make, times: float) -> None:
    by_forecast = make(OfItsOwnKind(times), refits=0)
    (guessed,) = evaluated(by_forecast, WIDE)
    target = OfItsOwnKind(times)
    bench = make(target)
    (row,) = evaluated(bench, WIDE)
    assert row.satisfied and headroom(bench, row) <= 0.25, (
        "channels of so small a network are coarse"
    )
    assert abs(headroom(bench, row)) <= abs(headroom(by_forecast, guessed))
    assert len(target.read) <= 3 and row.cost["latency_p50"]["value"] in target.read
    assert row.state is State.TRAINED and row.seconds["measure"] > 0


def test_proportions_stay(make: Make) -> None:
    bench = make(OfItsOwnKind(2.0))
    (row,) = evaluated(bench, WIDE)
    widths = Decision.from_json(row.decision).widths
    assert widths["conv1"] >= widths["conv3"] and widths["conv2"] >= widths["conv3"]
    assert Decision.from_json(row.decision).removed == WIDE.removed


def almost_right(make: Make) -> OfItsOwnKind:
    """A target on which the network that the first forecast gives needs 95 % of the limit."""
    bench = make(small.CalmTarget(), refits=0)
    (row,) = evaluated(bench, WIDE)
    limit = 0.45 * bench.teacher_cost["latency_p50"].value
    return OfItsOwnKind(0.95 * limit / row.cost["latency_p50"]["value"])


def test_one_that_is_near_its_limit_is_left_alone(make: Make) -> None:
    target = almost_right(make)
    bench = make(target)
    (row,) = evaluated(bench, WIDE)
    assert len(target.read) == 1 and headroom(bench, row) == pytest.approx(0.05)
    assert Decision.from_json(row.decision) == bench.evaluator.fitter.fitted(WIDE)


def test_of_all_readings_the_one_inside_that_uses_most_counts(make: Make) -> None:
    # far inside; then, wider, far outside; then, narrower than that, a little inside
    target = OfItsOwnKind(0.5, 2.0, 1.0)
    bench = make(target)
    (row,) = evaluated(bench, WIDE)
    limit = 0.45 * bench.teacher_cost["latency_p50"].value
    inside = [value for value in target.read if value <= limit]
    assert len(target.read) == 3 and row.satisfied
    assert row.cost["latency_p50"]["value"] == max(inside)


def test_where_none_is_inside_the_nearest_counts(make: Make) -> None:
    target = OfItsOwnKind(3.0, 9.0, 27.0)
    bench = make(target)
    (row,) = evaluated(bench, WIDE)
    assert not row.satisfied and row.cost["latency_p50"]["value"] == min(target.read)


def test_a_network_that_is_known_is_not_read_again(make: Make) -> None:
    target = almost_right(make)
    bench = make(target)
    (first,) = evaluated(bench, WIDE)
    bench.evaluator.fitter.learn = lambda earlier: None  # type: ignore[method-assign]
    (again,) = evaluated(bench, WIDE, iteration=1)
    assert again.key == first.key and again.state is State.REUSED and len(target.read) == 1


def test_a_decision_that_may_be_small_by_itself_does_not_grow(make: Make) -> None:
    target = OfItsOwnKind(0.5)
    bench = make(target)
    bench.evaluator.fitter.fills = False  # as beside a limit that nothing forecasts
    (row,) = evaluated(bench, WIDE)
    assert headroom(bench, row) > 0.3 and len(target.read) == 1
    (row,) = evaluated(make(OfItsOwnKind(2.0)), WIDE)
    assert row.satisfied, "but it is narrowed all the same"


def test_nothing_is_read_where_counting_has_decided(make: Make) -> None:
    target = OfItsOwnKind(1.0)
    bench = make(target, "{metric: params, max: 40%}", LIMIT, project=False)
    assert bench.evaluator.fitter.forecast is None
    (row,) = list(
        bench.evaluator.evaluate(
            [Proposal(decision=Decision(), place=Place("removal", 0, 0))], epsilon=0.0
        )
    )
    assert row.state is State.SKIPPED and not target.read


def test_a_search_has_no_candidate_outside(make: Make) -> None:
    inside = {}
    for refits in (2, 0):
        how = {"refits": refits, "strategy": "evolution", "removal__updates": 3}
        bench = make(OfItsOwnKind(1.5), **how)
        small.search(bench, bench.ledger.path.parent)
        rows = bench.ledger.candidates("evolution")
        inside[refits] = [row.satisfied for row in rows]
    assert all(inside[2]) and not all(inside[0])


def test_a_stop_does_not_wait_for_the_readings_of_a_batch(make: Make) -> None:
    stop = Stop()

    class Asking(OfItsOwnKind):
        def odd(self, reading: Reading, effort: Effort) -> Reading:
            stop.request()
            return super().odd(reading, effort)

    target = Asking(2.0)
    bench = make(target)
    proposals = [
        Proposal(decision=decision, place=Place("removal", 0, n))
        for n, decision in enumerate([WIDE, Decision()])
    ]
    rounds = small.rounds(bench, stop=stop)
    with pytest.raises(InterruptedRunError):
        rounds.evaluate(proposals, epsilon=1.0, iterations=1, done=0, total=2)
    assert len(target.read) == 1 and not bench.ledger.candidates()
    assert len(evaluated(bench, WIDE, Decision())) == 2, "and the same batch may begin again"
