"""Quiet: a process that does nothing else while a network is timed, on CPUs of its own.

The garbage of a search with its thousands of ledger rows would be charged to whichever student
happens to be timed, and a thread that the system moves to another core leaves its cache behind.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from hwn2n.errors import InputError

_TASKS = Path("/proc/self/task")
_STAT = Path("/proc/stat")
_SYSFS = Path("/sys/devices/system/cpu")
# Long enough to see which CPUs are busy, by a clock that ticks every 10 ms.
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Quiet:
    """Threads that torch has, and the CPUs that they are bound to; None if they are not."""

    threads: int
    pinned: tuple[int, ...] | None


@contextmanager
def quiet(threads: int | None = None, *, pin: bool = False) -> Iterator[Quiet]:
    """No garbage collection, `threads` CPU threads (None: as torch is set), bound to CPUs if `pin`.

    All threads of this process are bound to as many of its allowed CPUs as torch has threads: the
    idlest, of different cores where there are enough. Only Linux can; elsewhere nothing is bound.
    Everything is as before afterwards, for threads too that were started in between. Raises
    InputError for a number of threads below 1.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1; found {threads}")
    threads_before, collecting = torch.get_num_threads(), gc.isenabled()
    used = threads or threads_before
    chosen = _chosen_cpus(used) if pin else None
    masks = _masks() if chosen else {}
    try:
        for thread in masks:
            _bind(thread, set(chosen or ()))
        if threads is not None:
            torch.set_num_threads(threads)
        gc.disable()
        yield Quiet(used, chosen)
    finally:
        if collecting:
            gc.enable()
        if threads is not None:
            torch.set_num_threads(threads_before)
        if masks:
            usual = masks.get(os.getpid()) or set.union(*masks.values())
            for thread in _threads():
                _bind(thread, masks.get(thread, usual))


def _threads() -> list[int]:
    """The threads of this process, as the system numbers them."""
    try:
        return [int(entry.name) for entry in _TASKS.iterdir()]
    except OSError:
        return []


def _masks() -> dict[int, set[int]]:
    """The CPUs that each thread may use now."""
    found = {}
    for thread in _threads():
        with suppress(OSError):  # it has ended meanwhile
            found[thread] = os.sched_getaffinity(thread)
    return found


def _bind(thread: int, cpus: set[int]) -> None:
    with suppress(OSError):  # it has ended meanwhile, or a container forbids it
        os.sched_setaffinity(thread, cpus)


def _chosen_cpus(count: int) -> tuple[int, ...] | None:
    """The CPUs to bind to; None where binding is impossible."""
    if not hasattr(os, "sched_setaffinity") or not _threads():
        return None
    allowed = os.sched_getaffinity(0)
    if count >= len(allowed):
        return tuple(sorted(allowed))
    before = _idle_ticks()
    time.sleep(_LOOK_SECONDS)
    after = _idle_ticks()
    idle = {cpu: after.get(cpu, 0) - before.get(cpu, 0) for cpu in allowed}
    return choose(idle, {cpu: _core_of(cpu) for cpu in allowed}, count)


def choose(idle: dict[int, int], cores: dict[int, str], count: int) -> tuple[int, ...]:
    """`count` of the CPUs in `idle` (CPU: how idle), first one of each core, the idlest first.

    `cores` names the core of each CPU. A core is as idle as the least idle of its CPUs, since they
    share it. Among equals the last one: interrupts tend to go to the first.
    """
    core_idle: dict[str, int] = {}
    for cpu, ticks in idle.items():
        core_idle[cores[cpu]] = min(ticks, core_idle.get(cores[cpu], ticks))
    taken: dict[str, int] = {}
    found: list[int] = []
    while len(found) < count:
        best = min(
            (cpu for cpu in idle if cpu not in found),
            key=lambda cpu: (taken.get(cores[cpu], 0), -core_idle[cores[cpu]], -idle[cpu], -cpu),
        )
        found.append(best)
        taken[cores[best]] = taken.get(cores[best], 0) + 1
    return tuple(sorted(found))


def _idle_ticks() -> dict[int, int]:
    """How long each CPU has been idle since the start of the machine, in ticks."""
    found = {}
    with suppress(OSError, ValueError, IndexError):
        for line in _STAT.read_text().splitlines():
            name, *numbers = line.split()
            if name.startswith("cpu") and name != "cpu":
                found[int(name[3:])] = int(numbers[3]) + int(numbers[4])
    return found


def _core_of(cpu: int) -> str:
    """A name that CPUs of one core share."""
    with suppress(OSError):
        return (_SYSFS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    return str(cpu)
