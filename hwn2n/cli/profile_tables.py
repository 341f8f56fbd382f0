"""What `hwn2n profile` prints: the cost, and all that a reader needs to judge it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.units import format_quantity
from hwn2n.cli.tables import number_text, ruled_table

if TYPE_CHECKING:
    from hwn2n.commands.profile import Profile


def profile_table(profile: Profile, *, plain: bool) -> Table:
    """One line for each column that was asked for."""
    lines: list[tuple[str, ...]] = []
    for name in COLUMNS:
        if (reading := profile.cost.get(name)) is not None:
            interval = ""
            if reading.low is not None and reading.high is not None:
                low, high = (format_quantity(v, name) for v in (reading.low, reading.high))
                interval = f"[{low}, {high}]"
            level = profile.confidence.get(name, 0.95)
            known = reading.how + ("" if not interval or level == 0.95 else f" ({level:.1%})")
            lines.append((name, number_text(reading.value, name), interval, known, ""))
        elif name in profile.unavailable:
            lines.append((name, "-", "", "unavailable", profile.unavailable[name]))
    return ruled_table(("metric", "value", "95 % interval", "known", "reason"), lines, plain=plain)


def profile_lines(profile: Profile, written: Iterable[Path] = ()) -> list[str]:
    """What was measured, where and with what."""
    shape = "x".join(str(size) for size in profile.input_shape)
    lines = [
        "",
        f"{profile.model} on images of {shape} ({profile.inputs}), target {profile.target}",
        "machine: " + ", ".join(_machine(profile.machine)),
    ]
    after = profile.conditions.get("after", {})
    if parts := list(_conditions(after)):
        lines.append("conditions: " + ", ".join(parts))
    if clock := profile.samples.get("latency"):
        lines.append("clock: " + ", ".join(_clock(clock)))
    if power := profile.samples.get("power"):
        idle = power["idle"]
        low, high = (format_quantity(idle[end], "power_avg") for end in ("low", "high"))
        lines.append(
            f"power: {power['source']} ({power['rail']}), idle "
            f"{format_quantity(idle['watts'], 'power_avg')} [{low}, {high}]"
        )
    lines += [f"note: {note}" for note in profile.notes]
    return [*lines, *(f"written to {path}" for path in written)]


def _machine(machine: dict[str, Any]) -> Iterator[str]:
    yield str(machine.get("cpu", "unknown"))
    if machine.get("usable_threads"):
        yield f"{machine['usable_threads']} threads"
    if machine.get("board"):
        yield str(machine["board"])
    yield from (f"GPU {name}" for name in machine.get("gpu") or ())
    if machine.get("os"):
        yield str(machine["os"])
    if machine.get("torch"):
        yield f"torch {machine['torch']}"


def _conditions(found: dict[str, Any]) -> Iterator[str]:
    """Load, clocks, temperatures and limits, as far as they are known."""
    if load := found.get("load"):
        yield f"load {load[0]:g}"
    cpu = found.get("cpu", {})
    if governors := cpu.get("governors"):
        yield f"governor {'/'.join(governors)}"
    if now := cpu.get("now_mhz"):
        yield f"CPU {now['highest']:.0f} MHz"
    if temperatures := found.get("temperatures"):
        name, degrees = max(temperatures.items(), key=lambda item: item[1])
        yield f"{name} {degrees:.0f} C"
    if mode := found.get("board", {}).get("power_mode"):
        yield f"power mode {mode}"
    gpu = found.get("gpu", {})
    for name, shown in (("driver", "driver {}"), ("temperature", "GPU {} C")):
        if name in gpu:
            yield shown.format(gpu[name])
    clocks = gpu.get("now", {})
    if "sm_mhz" in clocks:
        most = gpu.get("max", {}).get("sm_mhz")
        yield f"SM {clocks['sm_mhz']} MHz" + (f" of {most}" if most else "")
    if "enforced_limit_w" in gpu:
        yield f"power limit {gpu['enforced_limit_w']:.0f} W"
    if "clock_reasons" in gpu:
        yield "clocks held by " + ("/".join(gpu["clock_reasons"]) or "nothing")


def _clock(clock: dict[str, Any]) -> Iterator[str]:
    """How the latency was taken."""
    yield f"{len(clock['samples_s']):,} samples"
    yield f"{clock['threads']} threads"
    if clock["cpus"] is not None:
        yield "CPU " + "/".join(str(number) for number in clock["cpus"])
    yield "steady" if clock["steady"] else "never steady"
