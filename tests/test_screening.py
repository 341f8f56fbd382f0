"""Which sampled decisions are evaluated, and what policies learn of those that are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
from torch import nn

from hwn2n.budget.cost import Reading
from hwn2n.distil.feed import DivergedError
from hwn2n.errors import InterruptedRunError
from hwn2n.hardware.measurement import Effort
from hwn2n.network.counts import Counts
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import Workbench
from hwn2n.search.learners.base import Learner
from hwn2n.search.proposals import Place, Proposal
from hwn2n.search.screening import Screening

HALF = "{metric: params, max: 50%}"
NO_NETWORK = Decision(frozenset({"conv3", "classifier"}))
Make = Callable[..., Workbench]


@pytest.fixture
def workbench(tmp_path: Path) -> Iterator[Make]:
    made: list[Workbench] = []

    def build(*rows: str, folder: Path | None = None, **changes: Any) -> Workbench:
        bench = small.workbench(folder or tmp_path / f"run{len(made)}", *rows, **changes)
        made.append(bench)
        return bench

    yield build
    for bench in made:
        bench.ledger.close()


class ByFirstWidth:
    """Promises more to a wider first layer."""

    ready = True

    def fit(self, trained: Sequence[Candidate], *how: Any) -> None:
        pass

    def expected(self, decisions: Sequence[tuple[Decision, Counts]]) -> list[float]:
        return [decision.widths["conv1"] / 10 for decision, _ in decisions]


def screening(bench: Workbench) -> Screening:
    made = Screening(bench.evaluator, bench.ledger)
    made.predictor = ByFirstWidth()  # type: ignore[assignment]
    return made


def choose(made: Screening, decisions: Sequence[Decision], wanted: int) -> list[int]:
    return made.chosen(made.networks(decisions), wanted)


def earn(made: Screening, decisions: Sequence[Decision]) -> list[float | None]:
    return made.rewards(made.networks(decisions))


def widths(*numbers: int) -> list[Decision]:
    return [Decision(widths={"conv1": n, "conv2": 2, "conv3": 2}) for n in numbers]


def test_the_first_and_the_most_promising_are_chosen(workbench: Make) -> None:
    made = screening(workbench())
    assert choose(made, widths(1, 2, 7, 4, 8, 3), 3) == [0, 2, 4]
    assert choose(made, widths(8, 8, 7, 7, 7, 3), 3) == [0, 2, 5], "none twice"
    assert choose(made, widths(5, 5, 5, 5), 3) == [0, 1, 2], "unless there is no other"
    assert choose(made, [NO_NETWORK, *widths(4, 5), NO_NETWORK], 3) == [0, 1, 2]
    assert choose(made, widths(1, 2), 2) == [0, 1]


def test_without_a_budget_what_is_smaller_promises_more(workbench: Make) -> None:
    """The reward is the paper's there: the most accurate network would be the teacher."""
    made = screening(workbench())
    alike = [Decision(widths={"conv1": 4, "conv2": n, "conv3": 6}) for n in (8, 7, 2, 5)]
    assert choose(made, alike, 2) == [0, 2]


def test_what_was_trained_is_not_chosen_again(workbench: Make) -> None:
    bench = workbench()
    proposal = Proposal(decision=widths(8)[0], place=Place("shrinkage", 0, 0), actions=(1,))
    list(bench.evaluator.evaluate([proposal], epsilon=0.0))
    made = screening(bench)
    made.learn(until=("shrinkage", 0))
    assert choose(made, widths(1, 2, 7, 8, 3), 2) == [0, 3], "it did not know of it"
    made.learn()
    assert choose(made, widths(1, 2, 7, 8, 3), 2) == [0, 2]


def test_without_a_guess_those_that_come_first_are_chosen(workbench: Make) -> None:
    bench = workbench()
    made = Screening(bench.evaluator, bench.ledger)
    made.learn()
    assert choose(made, widths(1, 2, 7, 4), 2) == [0, 1]
    assert earn(made, widths(1, 2)) == [None, None]


SMALL, MIDDLE, LARGE = (
    Decision(widths={"conv1": one, "conv2": two, "conv3": three})
    for one, two, three in ((2, 8, 6), (8, 8, 2), (8, 4, 4))
)


def test_without_a_guess_the_largest_inside_are_chosen(workbench: Make) -> None:
    """Of equally many parameters those that compute most; each from its own few."""
    bench = workbench(HALF)
    made = Screening(bench.evaluator, bench.ledger)
    made.learn()
    three = [n for n in made.networks([SMALL, MIDDLE, LARGE]) if n is not None]
    sizes = [n.counts.params for n in three]
    assert sizes == sorted(set(sizes)), "what the budget makes of them"
    assert choose(made, [SMALL, MIDDLE, LARGE, SMALL, SMALL, LARGE], 2) == [0, 5]
    assert choose(made, [SMALL, MIDDLE, LARGE, LARGE, LARGE, MIDDLE], 3) == [0, 4, 5], "none twice"
    assert choose(made, [SMALL, SMALL, MIDDLE, MIDDLE], 2) == [0, 3]


def test_size_chooses_none_outside_the_budget(workbench: Make) -> None:
    bench = workbench("{metric: latency, stat: p50, max: 10%}")
    made = Screening(bench.evaluator, bench.ledger)
    made.learn()
    assert choose(made, [NO_NETWORK, *widths(1, 8, 4)], 2) == [0, 1]


def test_size_is_no_hint_without_a_budget_and_where_it_is_not_asked(workbench: Make) -> None:
    """Without a budget, the reward pays for being small; without scaling, a network may use little
    of it."""
    few = [SMALL, SMALL, MIDDLE, LARGE]
    for bench in (workbench(), workbench(HALF, zero_cost=False), workbench(HALF, project=False)):
        made = Screening(bench.evaluator, bench.ledger)
        made.learn()
        assert choose(made, few, 2) == [0, 1]


def test_what_others_would_have_earned(workbench: Make) -> None:
    """-1 for no network, nothing for what is outside, else the reward of the guess."""
    bench = workbench(HALF, project=False, forecast=False)
    whole = Decision(widths={"conv1": 8, "conv2": 8, "conv3": 6})
    degenerate, outside, inside = earn(screening(bench), [NO_NETWORK, whole, *widths(4)])
    assert degenerate == -1.0 and outside is None
    assert inside == pytest.approx(0.4 / bench.evaluator.rows.teacher_accuracy)


@pytest.mark.parametrize("formula", ["accuracy", "paper", "naive"])
def test_what_is_known_is_not_guessed(workbench: Make, formula: str) -> None:
    bench = workbench(HALF, formula=formula, size_weight=0.6)
    proposal = Proposal(decision=widths(4)[0], place=Place("shrinkage", 0, 0), actions=(1,))
    [row] = bench.evaluator.evaluate([proposal], epsilon=0.0)
    made = screening(bench)
    assert earn(made, [proposal.decision]) == [pytest.approx(row.reward)]


class Slow(small.OddTarget):
    """Reads three times what a forecast expects."""

    def odd(self, reading: Reading, effort: Effort) -> Reading:
        return replace(reading, value=3 * reading.value)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_what_was_measured_outside_earns_nothing_whatever_a_forecast_says(
    workbench: Make, epsilon: float
) -> None:
    """Skipped at once, or trained while the constraint was soft."""
    bench = workbench("{metric: latency, stat: p50, max: 60%}", target=Slow(), refits=0)
    proposal = Proposal(decision=widths(4)[0], place=Place("shrinkage", 0, 0), actions=(1,))
    [row] = bench.evaluator.evaluate([proposal], epsilon=epsilon)
    assert not row.satisfied
    assert row.state is (State.TRAINED if epsilon else State.SKIPPED)
    made = screening(bench)
    known = [Decision.from_json(row.decision)]
    inside = [n is not None and made._inside(n.counts) for n in made.networks(known)]
    assert inside == [True], "by the forecast"
    assert earn(made, known) == [None]
    assert choose(made, [*widths(1), *known, *widths(2)], 2) == [0, 2]


def test_what_nobody_can_train_earns_what_its_candidate_earned(workbench: Make) -> None:
    bench = workbench(HALF)

    def diverge(student: nn.Module, **how: Any) -> Any:
        raise DivergedError("the loss must be finite, but is NaN")

    bench.school.train_briefly = diverge  # type: ignore[method-assign]
    proposal = Proposal(decision=widths(4)[0], place=Place("shrinkage", 0, 0), actions=(1,))
    [row] = bench.evaluator.evaluate([proposal], epsilon=0.0)
    made = screening(bench)
    assert earn(made, [Decision.from_json(row.decision)]) == [row.reward] == [-1.0]


def test_a_single_one_is_the_most_promising(workbench: Make) -> None:
    made = screening(workbench())
    assert choose(made, widths(1, 2, 7, 4), 1) == [2]


@pytest.mark.parametrize("strategy", ["policies", "random", "evolution"])
def test_no_more_is_trained_with_it(workbench: Make, strategy: str) -> None:
    """As many candidates as without, and all of them rows that were evaluated."""
    bench = workbench(HALF, screen=6, strategy=strategy, **BUSY)
    small.search(bench, bench.ledger.path.parent)
    rows = bench.ledger.candidates()
    assert len(rows) == 1 + 4 * 4 + 4 * 4
    assert all(c.state.value in ("trained", "reused", "illegal") for c in rows)


BUSY: dict[str, Any] = {
    "removal__updates": 4,
    "removal__rollouts": 4,
    "shrinkage__updates": 4,
    "shrinkage__rollouts": 4,
}


def test_policies_learn_from_guesses_too(workbench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    update = Learner.update

    def spied(self: Learner, steps: Any, actions: Any, rewards: Any, imitate: Any = None) -> Any:
        assert len(actions) == len(rewards)
        seen.append(len(rewards))
        return update(self, steps, actions, rewards, imitate)

    monkeypatch.setattr(Learner, "update", spied)
    bench = workbench(HALF, screen=6, shrink_from=1, **BUSY)
    small.search(bench, bench.ledger.path.parent)
    assert len(seen) == 8
    assert seen[0] == 4, "of five networks nothing is guessed"
    assert set(seen) == {4, 24} and seen == sorted(seen)


def test_the_second_stage_goes_on_from_several_removals(workbench: Make) -> None:
    bench = workbench(HALF, screen=6, shrink_from=3, **BUSY)
    small.search(bench, bench.ledger.path.parent)
    shrunk = {tuple(c.decision["removed"]) for c in bench.ledger.candidates("shrinkage")}
    assert len(shrunk) > 1


@pytest.mark.parametrize("rollouts", [2, 3, 5])
def test_of_few_rollouts_there_are_two_of_each_removal(workbench: Make, rollouts: int) -> None:
    how = {**BUSY, "removal__updates": 2, "shrinkage__updates": 2, "shrinkage__rollouts": rollouts}
    bench = workbench(HALF, screen=1, shrink_from=3, **how)
    small.search(bench, bench.ledger.path.parent)
    rows = bench.ledger.candidates("shrinkage")
    each = Counter((c.iteration, tuple(c.decision["removed"])) for c in rows)
    assert len(rows) == 2 * rollouts and min(each.values()) >= 2
    assert all("loss" in update for update in bench.ledger.updates("shrinkage"))


def test_a_search_that_is_resumed_chooses_what_it_would_have(workbench: Make) -> None:
    how: dict[str, Any] = {"screen": 6, "shrink_from": 2, **BUSY}
    whole = workbench(HALF, **how)
    small.search(whole, whole.ledger.path.parent)
    rows = [c.comparable() for c in whole.ledger.candidates()]
    for after in (7, 18, 23):
        part = workbench(HALF, **how)
        folder = part.ledger.path.parent
        with pytest.raises(InterruptedRunError):
            small.search(part, folder, _stop_after(part, after))
        assert len(part.ledger.candidates()) == after
        small.search(part, folder)
        assert [c.comparable() for c in part.ledger.candidates()] == rows


def _stop_after(bench: Workbench, count: int) -> Stop:
    """Asked to stop once so many candidates are in the ledger."""

    class AfterSome(Stop):
        def check(self) -> None:
            if len(bench.ledger.candidates()) >= count:
                raise InterruptedRunError("enough")

    return AfterSome()
