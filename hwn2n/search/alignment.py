"""Which widths a target likes: the least step by which a narrower network saves it time.

Kernels work on blocks of 4, 8 or 16 channels. Beside such blocks a network can be slower than a
wider one: in ONNX Runtime a CPU may need 1.4 times as long for 15 channels of 16, and the time of
16 for 12. What the counts say of a network knows nothing of it, and a search that takes widths one
channel at a time pays for channels that it does not have. So where time is limited the target is
asked before anything is trained: the teacher, its widths multiples of the largest step, against the
same with every group one step narrower, for each step. The paper has no such step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.matrix import Constraints
from hwn2n.hardware.measurement import Beside, complete
from hwn2n.hardware.target import Target
from hwn2n.network.channels import ChannelGroup
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.planner import Planner
from hwn2n.run.folder import RunFolder, read_json, write_json
from hwn2n.search.fitting.projection import as_cost, free_widths, upper_rows
from hwn2n.search.fitting.widths import Widths
from hwn2n.search.limits import Limits
from hwn2n.search.school import School
from hwn2n.search.settings import Settings

STEPS = (1, 2, 4, 8, 16)
"""Channels; the finest that is good enough is taken."""
WORTH = 0.25
"""A step is good enough where narrowing by it saves so much of the share of time that it saves of
the FLOPs."""
NOISE = 0.01
"""Of the time: readings beside the teacher differ by as much."""
READINGS = 3
"""Of each network, of which the middle one counts: a machine that changes its speed meanwhile must
not decide."""
FAR = 0.25
"""So far outside, as a share of a limit, the least widths of a step may be: a removal is to bring
such a network inside."""

Measure = Callable[[Decision], Beside]
"""Readings of the network of a decision, beside its teacher's."""


def aligned(
    settings: Settings,
    *,
    planner: Planner,
    school: School,
    target: Target,
    limits: Limits,
    folder: RunFolder,
) -> Settings:
    """The settings with the step of widths that the target likes, where they ask for it (`align`),
    name no step themselves (`round_to`), and time is limited.

    What was found is kept in the folder: a resumed search must not find another.
    """
    column = timed_column(limits.learned_left_out().at_first)
    if not settings.align or settings.round_to > 1 or column is None:
        return settings
    if folder.alignment.exists():
        kept = read_json(folder.alignment)
        return settings.model_copy(update={"round_to": int(kept["round_to"])})

    def headroom(decision: Decision, found: Beside) -> float:
        counts = as_cost(planner.count(decision))
        return limits.known_headroom({**counts, **found.cost}, found.teacher)

    asked = Alignment(
        planner=planner,
        column=column,
        floor=settings.min_width,
        measure=short_readings(planner, school, target, column),
        headroom=headroom,
    )
    step = asked.step()
    write_json(folder.alignment, {"round_to": step, "column": column, "shares": asked.shares})
    return settings.model_copy(update={"round_to": step})


def short_readings(planner: Planner, school: School, target: Target, column: str) -> Measure:
    """Reads `column` of a decision's network, not trained yet, and of the teacher in turns. Raises
    `MeasurementError` where the target gives no reading of either."""
    protocol = school.protocol("quick", Constraints(rows=()))
    shape = planner.teacher.input_shape

    def measure(decision: Decision) -> Beside:
        architecture = planner.plan(decision)
        student = school.student(architecture, decision, seed=0)
        found = target.measure_beside(student, school.teacher, shape, [column], [column], protocol)
        who, name = f"one of {architecture.key()}", target.name
        complete(found.teacher, [column], target=name, who="the teacher")
        complete(found.cost, [column], target=name, who=who)
        return found

    return measure


def timed_column(constraints: Constraints) -> str | None:
    """The column of an upper limit that is a time, or follows from one; None if there is none."""
    names = upper_rows(constraints).columns
    return next((n for n in names if n.startswith(("latency", "throughput"))), None)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Asks a target for the step of widths.

    `floor`: channels below which no layer goes. `headroom`: of a network that was read, as
    `Limits.known_headroom` has it. `shares` are filled with what was read: the time of each network
    that was tried, as a share of the teacher's, by its name.
    """

    planner: Planner
    column: str
    floor: int
    measure: Measure
    headroom: Callable[[Decision, Beside], float]
    shares: dict[str, float] = field(default_factory=dict)

    def step(self) -> int:
        """Channels of which widths are best multiples; 1 where no step is known to be better.

        A finer one, which is not good enough but better than none, where the least widths of that
        are far outside the budget.
        """
        blocks = self._allowed(STEPS[-1])
        base = self._of_widths(lambda group: blocks.at_most(group, group.width))
        whole = self._share(self._read("whole blocks", base))
        work = self.planner.count(base).flops
        for step in STEPS:
            narrower = self._narrower(base, step)
            if narrower == base:
                break
            share = self._share(self._read(f"{step} narrower", narrower))
            saved = 1 - self.planner.count(narrower).flops / max(1, work)
            if 1 - share / whole >= WORTH * saved - NOISE:
                finer = (s for s in reversed(STEPS) if s <= step)
                return next((s for s in finer if s == 1 or self._fits(s)), 1)
        return 1

    def _fits(self, step: int) -> bool:
        least = self._of_widths(self._allowed(step).least)
        found = self._read(f"multiples of {step}, least widths", least)
        return self.headroom(least, found) >= -FAR

    def _narrower(self, base: Decision, step: int) -> Decision:
        """Every group of `base` at the next multiple of `step` below, where there is one."""
        allowed, now = self._allowed(step), base.widths
        return self._of_widths(
            lambda group: min(now[group.name], allowed.at_most(group, now[group.name] - group.step))
        )

    def _of_widths(self, width: Callable[[ChannelGroup], int]) -> Decision:
        groups, _ = free_widths(self.planner, NOTHING)
        return Decision(widths={name: width(group) for name, group in groups.items()})

    def _allowed(self, step: int) -> Widths:
        return Widths(round_to=step, floor=self.floor)

    def _read(self, name: str, decision: Decision) -> Beside:
        """The middle one of several readings, by the share of the teacher's time."""
        readings = sorted((self.measure(decision) for _ in range(READINGS)), key=self._share)
        found = readings[READINGS // 2]
        self.shares[name] = self._share(found)
        return found

    def _share(self, found: Beside) -> float:
        mine, whole = found.cost[self.column].value, found.teacher[self.column].value
        return whole / mine if COLUMNS[self.column].falls else mine / whole
