"""TensorBoard scalars of a run, where the package `tensorboard` is installed.

In `RUN/tensorboard`: `candidates/...` by the candidate's number in the ledger, `STAGE/...` by the
policy update, and `final/...` by the epoch of the final training. A run that is resumed goes on in
another file, which TensorBoard joins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import RunFolder, load_checkpoint
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Reporter, StageProgress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_FINAL = "final"
"""The checkpoint of the final training (`search.finish.FINAL`)."""


@contextmanager
def with_scalars(reporter: Reporter, ledger: Ledger, folder: RunFolder) -> Iterator[Reporter]:
    """Gives `reporter`, which writes scalars too if tensorboard is there, and is itself if not.

    `ledger` must be open to the end.
    """
    writer = None
    # not installed, or broken in one of the many ways that it can be: the run needs none
    with suppress(Exception):
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(log_dir=str(folder.path / "tensorboard"))
    if writer is None:
        yield reporter
        return
    scalars = Scalars(reporter, ledger, folder, writer)
    try:
        yield scalars
    finally:
        scalars.close()


class Scalars(Reporter):
    """Passes all on, and writes what the ledger has learned since. It fails at nothing."""

    def __init__(
        self, reporter: Reporter, ledger: Ledger, folder: RunFolder, writer: SummaryWriter
    ) -> None:
        self._reporter = reporter
        self._ledger = ledger
        self._folder = folder
        self._writer = writer
        self._updates: dict[str, int] = {}

    def message(self, text: str) -> None:
        self._reporter.message(text)

    def stage(self, progress: StageProgress) -> None:
        self._reporter.stage(progress)
        with suppress(Exception):
            found = self._ledger.find(progress.stage, progress.iteration, progress.rollout)
            if found is not None:
                self._candidate(found)
            if progress.rollout == 0:
                self._update(progress.stage)

    def epoch(self, name: str, epoch: int, epochs: int, text: str) -> None:
        self._reporter.epoch(name, epoch, epochs, text)
        with suppress(Exception):
            self._last_updates()
            saved = load_checkpoint(self._folder.checkpoint(_FINAL))
            assert saved is not None, "an epoch is saved before it is told"
            report = saved["state"]["history"][-1]
            if report["epoch"] == epoch:
                self._writer.add_scalar("final/loss", report["loss"], epoch)
                self._writer.add_scalar("final/accuracy", report["validation"]["top1"], epoch)

    def close(self) -> None:
        """End the scalars; the reporter behind goes on, and is closed by whoever made it."""
        with suppress(Exception):
            self._last_updates()
            self._writer.close()

    def _candidate(self, candidate: Candidate) -> None:
        values = {
            "reward": candidate.reward,
            "accuracy": candidate.accuracy,
            "compression": candidate.terms.get("compression"),
            "inside": float(candidate.satisfied),
            **{name: reading["value"] for name, reading in candidate.cost.items()},
        }
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(f"candidates/{name}", value, candidate.id)

    def _last_updates(self) -> None:
        for stage in list(self._updates):
            self._update(stage)

    def _update(self, stage: str) -> None:
        """Write the policy updates that were not there at the last call."""
        reports = self._ledger.updates(stage)
        for report in reports[self._updates.get(stage, 0) :]:
            for name, value in report.items():
                if name != "iteration" and isinstance(value, int | float):
                    self._writer.add_scalar(f"{stage}/{name}", value, report["iteration"] + 1)
        self._updates[stage] = len(reports)
