"""Which of many sampled decisions are worth a training, and what the others would have earned.

A strategy samples `Settings.screen` decisions for each candidate of an update. All that can be
known of a network without training it is known of each of them; a predictor that has seen the
trained ones guesses the rest (predictor.py). The most promising are evaluated, and one that nobody
chose, so that the predictor keeps seeing what it does not favour. Policies learn from all of
them: a guess is worth less than a reward, but there are many more of them. The paper evaluates
all that it samples, which `screen: 1` does.

Before the predictor has seen enough, size may choose (`Settings.zero_cost`), and guesses start from
size afterwards, which is the number of parameters: a limit on time or FLOPs makes its networks
equally fast, and those with more parameters learn more. Parameters are hard to beat among the
proxies that cost no training (Krishnakumar et al. 2022, arXiv 2210.03230). Under a limit on
parameters all are as large, and size says nothing. FLOPs do not count: by them shallow networks of
wide early layers would win there, which learn fast and end low (docs/figures/strategies.md). It is
a hint and no more, so each candidate is chosen from its own few, and not all of them from the
extremes.

A row of the ledger never has a guess.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from hwn2n.budget.cost import Cost
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.counts import Counts
from hwn2n.network.decision import Decision, name_of
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.ledger import Ledger
from hwn2n.search.evaluate import Evaluator
from hwn2n.search.fitting.projection import as_cost
from hwn2n.search.predictor import SIZE_SLOPE, AccuracyPredictor
from hwn2n.search.reward import DEGENERATE_REWARD, score
from hwn2n.search.runoff import STAGE as RUNOFF


@dataclass(frozen=True)
class Sampled:
    """A decision as it would be evaluated, and its counts."""

    decision: Decision
    counts: Counts

    @cached_property
    def name(self) -> str:
        """Equal for equal decisions."""
        return name_of(self.decision.to_json())


class Screening:
    """Chooses and guesses by the candidates in a ledger that were trained briefly."""

    def __init__(self, evaluator: Evaluator, ledger: Ledger) -> None:
        self.evaluator = evaluator
        self.ledger = ledger
        self.predictor = AccuracyPredictor(evaluator.planner, evaluator.settings.granularity)
        self._known: dict[str, Candidate] = {}
        self._seen: list[Candidate] = []

    def learn(self, *, until: tuple[str, int] | None = None) -> None:
        """Learn from the ledger; of this stage, from iterations before `until` only."""
        rows = self.ledger.candidates()
        if until is not None:
            rows = [c for c in rows if c.stage != until[0] or c.iteration < until[1]]
        self.fit(rows)

    def fit(self, rows: Sequence[Candidate]) -> None:
        """Learn from these rows, accuracies as far as they were trained briefly, and from no
        others."""
        brief = [c for c in rows if c.stage != RUNOFF]
        if brief == self._seen:
            return  # an update begins with what the one before ended with
        self._seen = brief
        self._known = {name_of(c.decision): c for c in brief}
        known = [c for c in brief if c.state in (State.TRAINED, State.REUSED)]
        settings = self.evaluator.settings
        # expected accuracies have slopes of their own
        weights = (settings.size_weight, settings.depth_weight) if self._expects else (0.0, 0.0)
        slope = SIZE_SLOPE + weights[0] if self.hinted else 0.0
        self.predictor.fit(known, slope, weights[1], self._rewarded)

    @property
    def _expects(self) -> bool:
        """Whether rewards are of expected accuracies (`reward.score`)."""
        return self.evaluator.settings.formula == "accuracy"

    def _rewarded(self, candidate: Candidate) -> float:
        """Its accuracy as the reward takes it."""
        return candidate.expected if self._expects else candidate.accuracy or 0.0

    @property
    def hinted(self) -> bool:
        """Whether size is a hint: it is not where networks are not scaled to a budget."""
        return self.evaluator.settings.zero_cost and self.evaluator.fitter.fills

    def networks(self, decisions: Sequence[Decision]) -> list[Sampled | None]:
        """The decisions as they would be evaluated; None for one that makes no network."""
        found: list[Sampled | None] = []
        for decision in decisions:
            try:
                fitted = self.evaluator.fitter.fitted(decision)
                found.append(Sampled(fitted, self.evaluator.planner.count(fitted)))
            except IllegalArchitectureError:
                found.append(None)
        return found

    def chosen(self, sampled: Sequence[Sampled | None], wanted: int) -> list[int]:
        """The indices of `wanted` of them, in order: the first as it comes, then the most promising
        of those that no candidate was yet; a single one is the most promising. Without a guess,
        those that come first, or by their sizes."""
        if wanted >= len(sampled):
            return list(range(wanted))
        if not self.predictor.ready:
            return self._by_size(sampled, wanted)
        names, new = {sampled[0].name} if sampled[0] is not None else set(), []
        for i in self.best(sampled):
            one = sampled[i]
            if i and one is not None and one.name not in names and one.name not in self._known:
                names.add(one.name)
                new.append(i)
        best = new[:1] if wanted == 1 and new else [0, *new[: wanted - 1]]
        rest = [i for i in range(len(sampled)) if i not in best]
        return sorted([*best, *rest[: wanted - len(best)]])

    def _by_size(self, sampled: Sequence[Sampled | None], wanted: int) -> list[int]:
        """The first as it comes; for each other one, the largest of as many as there are for it.
        Those that come first where size is no hint."""
        if not self.hinted:
            return list(range(wanted))
        found = [0]
        for place in range(1, wanted):
            names = {one.name for one in (sampled[i] for i in found) if one is not None}
            found.append(
                max(
                    range(place, len(sampled), wanted),
                    key=lambda i: (self._size(sampled[i], names), -i),
                )
            )
        return sorted(found)

    def _size(self, one: Sampled | None, names: Collection[str]) -> float:
        """Its parameters; -inf for no network, one outside the budget, and one of `names` or of the
        ledger."""
        if one is None or one.name in names or one.name in self._known:
            return -math.inf
        if not self._inside(one.counts):
            return -math.inf
        return one.counts.params

    def best(self, sampled: Sequence[Sampled | None]) -> list[int]:
        """Their indices, the highest guessed reward first; of equals, the earlier first."""
        rewards = self._rewards(sampled)
        promise = [-math.inf if reward is None else reward for reward in rewards]
        return sorted(range(len(sampled)), key=lambda i: (-promise[i], i))

    def rewards(self, sampled: Sequence[Sampled | None]) -> list[float | None]:
        """What each would earn, all that the ledger has now considered: -1 for what makes no
        network or one that nobody can train, None for what is outside the budget, or without a
        guess."""
        self.learn()
        return self._rewards(sampled) if self.predictor.ready else [None] * len(sampled)

    def _rewards(self, sampled: Sequence[Sampled | None]) -> list[float | None]:
        """By its row where a candidate was that very network, else by a guess."""
        new = [one for one in sampled if one is not None and one.name not in self._known]
        guesses = iter(self.predictor.expected([(one.decision, one.counts) for one in new]))
        found: list[float | None] = []
        for one in sampled:
            known = None if one is None else self._known.get(one.name)
            if one is None or (known is not None and known.state is State.ILLEGAL):
                found.append(DEGENERATE_REWARD)
                continue
            if known is not None:  # its own reading says more than a forecast
                accuracy, inside = self._rewarded(known), known.satisfied
            else:
                accuracy, inside = next(guesses), self._inside(one.counts)
            found.append(self._reward(one, accuracy) if inside else None)
        return found

    def _reward(self, one: Sampled, accuracy: float) -> float:
        """Of a network inside the budget, so that epsilon does not matter."""
        rows = self.evaluator.rows
        return score(
            accuracy=accuracy,
            teacher_accuracy=rows.teacher_accuracy,
            compression=rows.compression(as_cost(one.counts)),
            satisfied=True,
            epsilon=0.0,
            formula=self.evaluator.settings.formula,
        ).reward

    def _inside(self, counts: Counts) -> bool:
        forecast = self.evaluator.fitter.forecast
        if not self.evaluator.countable.satisfied(as_cost(counts)):
            return False
        cost: Cost = as_cost(counts) if forecast is None else forecast.cost(counts)
        return forecast is None or forecast.rows.satisfied(cost)
