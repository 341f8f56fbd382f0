"""What runs in a process of Ray's: functions that take an order, and what they keep between calls.

Tasks and not actors: a task that waits goes to whichever node has room, also to one that joined
later, and one whose worker or node died is given to another by Ray itself. What a task needs
besides itself is made once in a process and kept for the next one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from hwn2n.distil.state import TrainState
from hwn2n.errors import InputError, one_line
from hwn2n.hardware.measurement import Beside
from hwn2n.hardware.target import Target
from hwn2n.search.executors.kit import MEASURING, TRAINING, Kit, PackedTarget, check_versions
from hwn2n.search.workshop import SET_UP, Outcome, Task, Workshop, timed, train_student


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a task works with.

    `run` tells one search from another. `kit` (to train), `board` (to measure) and `target` are
    references to objects in Ray's store: two `Kit`s and a `PackedTarget`. `versions` are those of
    the driver. `threads` is the driver's number of CPU threads, which a target without a number of
    its own is measured with.
    """

    run: str
    versions: dict[str, str]
    threads: int
    kit: Any = None
    board: Any = None
    target: Any = None


_made: dict[tuple[str, str], Any] = {}


def train(order: Order, task: Task, state: TrainState | None) -> tuple[Outcome, TrainState | None]:
    """Train the network of a task, on from `state`; the outcome has no readings.

    Its state comes apart, so that it can stay in Ray's store until another worker wants it.
    """
    seconds: dict[str, float] = {}
    with timed(seconds, SET_UP):
        school = _once(order, "school", lambda: _fetch(order.kit, Kit).school(), TRAINING)
    outcome = train_student(school, replace(task, state=state), Beside({}, {}), seconds)
    return replace(outcome, state=None), None if task.until is None else outcome.state


def measure(order: Order, task: Task) -> Outcome:
    """The readings of a task's network, on this node; the outcome was not trained."""
    seconds: dict[str, float] = {}
    with timed(seconds, SET_UP):
        workshop: Workshop = _once(
            order, "workshop", lambda: _fetch(order.board, Kit).workshop(_target(order)), MEASURING
        )
    with timed(seconds, "measure"):
        beside = workshop.measure(task.architecture, task.decision, task.effort)
    return Outcome(beside=beside, seconds=seconds)


def ask_target(order: Order, method: str, arguments: tuple[Any, ...]) -> Any:
    """What a method of the target gives on this node."""
    return getattr(_target(order), method)(*arguments)


def _target(order: Order) -> Target:
    def make() -> Target:
        torch.set_num_threads(order.threads)
        return _fetch(order.target, PackedTarget).unpacked()

    return _once(order, "target", make, MEASURING)


def _once(order: Order, what: str, make: Callable[[], Any], packages: tuple[str, ...]) -> Any:
    key = (order.run, what)
    if key not in _made:
        check_versions(order.versions, packages, platform.node())
        for old in [old for old in _made if old[0] != order.run]:
            del _made[old]
        _made[key] = make()
    return _made[key]


def _fetch(reference: Any, kind: type) -> Any:
    import ray

    try:
        found = ray.get(reference)
    except ray.exceptions.RaySystemError as error:
        raise not_loaded(error, platform.node()) from error
    assert isinstance(found, kind)
    return found


def not_loaded(error: Exception, node: str) -> InputError:
    """What is said of something that a node could not unpickle, most often for want of a module.

    Ray's own error has the whole traceback as its text, whose last line says it.
    """
    lines = [line for line in str(error).splitlines() if line.strip()]
    return InputError(
        "each node of the Ray cluster must be able to load what the driver sends, but "
        f"{node} is not: {one_line(lines[-1] if lines else error)}"
    )
