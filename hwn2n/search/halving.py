"""Successive halving within an update: all candidates train for a while, the best of them go on.

Jamieson and Talwalkar 2016 (arXiv 1502.07943), with one rung. The policies learn from rewards, so
all candidates of an update need accuracies on one scale: one that was stopped is given what it
would have gained, judged by those that went on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from statistics import median

from hwn2n.search.executors import Executor
from hwn2n.search.workshop import Outcome, Task


def halved(executor: Executor, tasks: Sequence[Task], *, rung: int, share: float) -> list[Outcome]:
    """All tasks for `rung` epochs, then the best `share` of them to the end; in order."""
    outcomes = list(executor.run([replace(task, until=rung) for task in tasks]))
    went = kept([outcome.accuracy for outcome in outcomes], share)
    further = [
        replace(tasks[i], measured=outcomes[i].beside, state=outcomes[i].state) for i in went
    ]
    ends = dict(zip(went, executor.run(further), strict=True))
    rungs = {i: o.accuracy for i, o in enumerate(outcomes) if o.accuracy is not None}
    stopped = {i: accuracy for i, accuracy in rungs.items() if i not in ends}
    pairs = {i: (rungs[i], end.accuracy) for i, end in ends.items() if end.accuracy is not None}
    guessed = estimates(stopped, pairs)
    for i, outcome in enumerate(outcomes):
        if i in ends:
            outcomes[i] = replace(ends[i], seconds=_sum(outcome.seconds, ends[i].seconds))
        elif i in guessed:
            outcomes[i] = replace(outcome, accuracy=guessed[i], stopped=True)
    return [replace(outcome, state=None) for outcome in outcomes]


def _sum(*parts: dict[str, float]) -> dict[str, float]:
    return {name: sum(p.get(name, 0.0) for p in parts) for name in dict.fromkeys(chain(*parts))}


def kept(accuracies: Sequence[float | None], share: float) -> list[int]:
    """Indices of those that go on: the best `share` of the trained, at least one; the earlier of
    equals. None stands for one that was not trained."""
    known = [(-value, index) for index, value in enumerate(accuracies) if value is not None]
    return sorted(index for _, index in sorted(known)[: math.ceil(share * len(known))])


def estimates(
    stopped: Mapping[int, float], went_on: Mapping[int, tuple[float, float]]
) -> dict[int, float]:
    """The accuracies that the stopped would have had, by index.

    `stopped`: accuracies at the rung. `went_on`: (at the rung, in the end). An estimate is the
    accuracy at the rung and the median gain of those that went on, but no more than the least of
    them had in the end: the rung said that they are better.
    """
    if not went_on:
        return dict(stopped)
    gain = median(end - rung for rung, end in went_on.values())
    most = min(end for _, end in went_on.values())
    return {i: min(max(value + gain, 0.0), max(most, 0.0)) for i, value in stopped.items()}
