"""A power window: one network, back to back, for as long as a claim about it needs.

First comes idle power, unless it is known already; then the network runs until the device has left
its idle state; then the window. Meter and network are not in step: what is counted is the energy
and the inferences between the same two moments, for each part of the window, so that nothing needs
to start or stop for the meter's sake, and no part has a pause in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hwn2n.errors import Hwn2nError, InputError, MeasurementError, one_line
from hwn2n.hardware.power.base import PowerSource, Window
from hwn2n.hardware.power.clock import Clock, SystemClock
from hwn2n.hardware.power.idle import IdleReading, measure_idle
from hwn2n.hardware.power.parts import least_seconds, part_edges
from hwn2n.hardware.power.sample import PowerSample
from hwn2n.hardware.power.trace import EnergyTrace, check_window

CLAIM_SECONDS = 10.0
"""Shorter windows do not support a claim within 2 %."""

# The halves of a settled window differ by less than this share.
_DRIFT = 0.05


def measure_power(
    run: Callable[[], object],
    source: PowerSource,
    *,
    images_per_run: int,
    seconds: float,
    idle_seconds: float = 0.0,
    idle: IdleReading | None = None,
    confidence: Mapping[str, float] | None = None,
    clock: Clock | None = None,
) -> PowerSample:
    """Power and energy of `run`, which does one inference of `images_per_run` and waits for it.

    The window lasts `seconds`, or longer where the source needs it, which is noted. `idle` is a
    reading of the same source and rail; without one, idle power is read first, for
    `idle_seconds`. `confidence` is the level of a column's interval, 0.95 where it names none.
    Raises MeasurementError where `run` fails, the source fails, or it says what cannot be; and
    InputError where an argument cannot be used.
    """
    if images_per_run < 1 or not seconds > 0:
        raise InputError(
            "a power window needs at least 1 image a run and more than 0 s; "
            f"found {images_per_run=}, {seconds=}"
        )
    if idle is not None and (idle.source, idle.rail) != (source.name, source.rail):
        raise InputError(
            f"idle power must be of the same meter, {source}; found {idle.source} ({idle.rail})"
        )
    clock = clock or SystemClock()
    if idle is None:
        idle = measure_idle(source, idle_seconds, clock=clock)
    lasting = max(seconds, least_seconds(source))
    with source.open_window(clock) as window:
        begin, ends = _work(run, window, clock, lasting)
        trace = window.close()
    edges = part_edges(begin, ends[-1], source)
    check_window(trace, edges, str(source), working=True)
    runs = np.interp(edges, [begin, *ends], np.arange(len(ends) + 1))
    return PowerSample(
        source=source.name,
        rail=source.rail,
        seconds=np.diff(edges),
        joules=trace.energy(edges),
        images=np.diff(runs) * images_per_run,
        idle=idle,
        runs=len(ends),
        missed=trace.missed,
        notes=_notes(source, seconds, lasting, trace, edges, idle),
        confidence=dict(confidence or {}),
    )


def _work(
    run: Callable[[], object], window: Window, clock: Clock, seconds: float
) -> tuple[float, list[float]]:
    """Run back to back; when the window began, and when each run since then ended.

    The last end is the window's: runs that only kept the device busy until the meter had covered
    it do not count.
    """
    source = window.source
    settled = clock.now() + max(2 * source.period_s, min(1.0, seconds / 10))
    while (begin := clock.now()) < settled or window.covered_s == -np.inf:
        _once(run)
        window.check_alive()
    ends: list[float] = []
    while not ends or ends[-1] < begin + seconds:
        _once(run)
        ends.append(clock.now())
        window.check_alive()
    while window.covered_s < ends[-1]:
        _once(run)
        window.check_alive()
    return begin, ends


def _once(run: Callable[[], object]) -> None:
    try:
        run()
    except Hwn2nError:
        raise
    except Exception as error:
        raise MeasurementError(
            "the network must run for its power to be measured; found "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error


def _notes(
    source: PowerSource,
    asked: float,
    lasted: float,
    trace: EnergyTrace,
    edges: np.ndarray,
    idle: IdleReading,
) -> tuple[str, ...]:
    """What a reader of the figures should know."""
    notes = [f"power source {source}" + (f": {source.note}" if source.note else "")]
    notes.append(
        "power intervals cover the scatter of this session, not the calibration of the sensor "
        f"({source.calibration})"
    )
    if lasted > asked:
        notes.append(
            f"the power window lasted {lasted:.3g} s instead of {asked:.3g} s: {source} has a new "
            f"value every {source.period_s:.3g} s"
        )
    if lasted < CLAIM_SECONDS:
        best = "is good to 10 % at best; " if lasted <= 1 else "is short: "
        notes.append(
            f"a power window of {lasted:.3g} s {best}{CLAIM_SECONDS:.0f} s and more are needed for "
            "a claim within 2 %"
        )
    powers = trace.energy(edges) / np.diff(edges)
    half = len(powers) // 2
    first, last = float(powers[:half].mean()), float(powers[-half:].mean())
    if abs(last - first) > _DRIFT * powers.mean():
        notes.append(
            f"power drifted from {first:.4g} W to {last:.4g} W within the window, so its interval "
            "is too narrow"
        )
    if not idle.settled:
        notes.append("idle power had not come to rest when it was read")
    if trace.missed:
        notes.append(f"{trace.missed} reads of {source} failed and were left out")
    return tuple(notes)
