"""What a person sees while hwn2n works: events, and those who show them.

The work reports to a `Reporter` and knows nothing of terminals: rich bars where there is one,
plain lines where there is none, nothing where a program asked.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import IO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hwn2n.run.stop import Stop


@dataclass(frozen=True, kw_only=True)
class StageProgress:
    """How far a search stage is. `best` is the best reward inside the budget so far.

    `candidates` of `total` are done, the last of them the `rollout` of the `iteration`.
    """

    stage: str
    iteration: int
    iterations: int
    rollout: int
    candidates: int
    total: int
    reward: float | None
    best: float | None
    best_accuracy: float | None
    best_params: int | None
    feasible_share: float

    def text(self) -> str:
        """One line without the counts."""
        best = "none inside the budget yet"
        if self.best is not None and self.best_accuracy is not None:
            best = f"best {self.best:.3f} ({self.best_accuracy:.2%}, {self.best_params:,} params)"
        reward = "" if self.reward is None else f"reward {self.reward:.3f}  "
        update = f"update {self.iteration + 1}/{self.iterations}  "
        return f"{update}{reward}{best}  inside {self.feasible_share:.0%}"


class Reporter(ABC):
    """Receives what happens, in order."""

    @abstractmethod
    def message(self, text: str) -> None:
        """One line about what was done or begins."""

    @abstractmethod
    def stage(self, progress: StageProgress) -> None:
        """A candidate of a search stage is done."""

    @abstractmethod
    def epoch(self, name: str, epoch: int, epochs: int, text: str) -> None:
        """An epoch of a training is done."""

    def close(self) -> None:  # noqa: B027  most reporters have nothing to close
        """Nothing more will happen."""


class Silent(Reporter):
    """Shows nothing."""

    def message(self, text: str) -> None:
        pass

    def stage(self, progress: StageProgress) -> None:
        pass

    def epoch(self, name: str, epoch: int, epochs: int, text: str) -> None:
        pass


class PlainLines(Reporter):
    """One line for each iteration and epoch, for logs and pipes; at most one in `every` seconds."""

    def __init__(self, stream: IO[str], every: float = 1.0) -> None:
        self.stream = stream
        self.every = every
        self._last = 0.0
        self._start = time.monotonic()

    def message(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def stage(self, progress: StageProgress) -> None:
        at_end = progress.candidates == progress.total
        now = time.monotonic()
        if at_end or now - self._last >= self.every:
            self._last = now
            self.message(
                f"{progress.stage} {progress.candidates}/{progress.total} "
                f"[{now - self._start:.0f}s]  {progress.text()}"
            )

    def epoch(self, name: str, epoch: int, epochs: int, text: str) -> None:
        now = time.monotonic()
        if epoch == epochs or now - self._last >= self.every:
            self._last = now
            self.message(f"{name} epoch {epoch}/{epochs} [{now - self._start:.0f}s]  {text}")


class RichBars(Reporter):
    """Progress bars with the time left, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def message(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def stage(self, progress: StageProgress) -> None:
        self._show(progress.stage, progress.candidates, progress.total, progress.text())

    def epoch(self, name: str, epoch: int, epochs: int, text: str) -> None:
        self._show(name, epoch, epochs, text)

    def _show(self, name: str, done: int, total: int, text: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, text=text)
        self._progress.update(self._tasks[name], completed=done, total=total, text=text)

    def close(self) -> None:
        self._progress.stop()


class Classifying:
    """Says now and then how far a teacher is with the images that students learn from.

    An instance is a `hwn2n.distil.accuracy.Watch`. It raises `InterruptedRunError` where a stop was
    asked for.
    """

    def __init__(self, reporter: Reporter, stop: Stop, every: float = 20.0) -> None:
        self.reporter = reporter
        self.stop = stop
        self.every = every
        self._last = 0.0

    def __call__(self, done: int, images: int) -> None:
        """`done` of `images` are classified."""
        self.stop.check()
        now = time.monotonic()
        if done == 0:
            self._last = now
        elif now - self._last >= self.every:
            self._last = now
            self.reporter.message(
                f"the teacher has classified {done:,} of {images:,} images to learn from"
            )


def reporter_for(console: Console, *, quiet: bool = False) -> Reporter:
    """Bars on a terminal, lines otherwise, nothing if `quiet`."""
    if quiet:
        return Silent()
    if console.is_terminal:
        return RichBars(console)
    return PlainLines(console.file)
