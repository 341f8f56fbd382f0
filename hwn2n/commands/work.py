"""The work of a run, new or gone on with: search, choose, train, prove."""

from __future__ import annotations

from hwn2n.commands.report import reported
from hwn2n.commands.result import Result, judged, prove
from hwn2n.commands.starting import starting_policies
from hwn2n.errors import InterruptedRunError
from hwn2n.run.clock import Clock
from hwn2n.run.folder import RunFolder
from hwn2n.run.progress import Classifying, Reporter
from hwn2n.run.scalars import with_scalars
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import Workbench
from hwn2n.search.choose import choose
from hwn2n.search.finish import CHOICE, train_student
from hwn2n.search.loop import Rounds, run_search


def work(bench: Workbench, folder: RunFolder, reporter: Reporter, stop: Stop) -> Result:
    """The student and its proof. Each part goes on from what the folder already has of it."""
    try:
        with (
            reported(folder, bench.planner, reporter),
            with_scalars(reporter, bench.ledger, folder) as watched,
        ):
            return _work(bench, folder, watched, stop)
    finally:
        bench.evaluator.executor.close()
        bench.ledger.close()


def _work(bench: Workbench, folder: RunFolder, reporter: Reporter, stop: Stop) -> Result:
    """The same; how it ends is reported by who calls."""
    clock = Clock(bench.ledger)
    try:
        if not bench.limits.at_first.rows:
            reporter.message("there is no budget: the search is unconstrained")
        for warning in bench.warnings:
            reporter.message(f"warning: {warning}")
        reporter.message(
            f"compressing {bench.teacher.source} with recipe {bench.settings.recipe}, "
            f"seed {bench.settings.seed}, into {folder.path}"
        )
        if bench.settings.round_to > 1:
            reporter.message(f"widths are multiples of {bench.settings.round_to}")
        bench.school.watch = Classifying(reporter, stop)
        rounds = Rounds(
            planner=bench.planner,
            evaluator=bench.evaluator,
            ledger=bench.ledger,
            folder=folder,
            settings=bench.settings,
            reporter=reporter,
            stop=stop,
            clock=clock,
        )
        run_search(rounds, starting_policies(folder))
        choice = choose(bench.ledger, bench.planner, bench.evaluator, folder, stop)
        clock.lap(CHOICE)
        student = train_student(choice, bench.school, folder, reporter, stop, clock)
        return judged(prove(bench, choice, student, folder))
    except (InterruptedRunError, KeyboardInterrupt) as error:
        raise InterruptedRunError(f"interrupted; go on with: {folder.resume_command}") from error
