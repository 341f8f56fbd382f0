"""The rows of a check as cells of text, the same in a terminal and in markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwn2n.budget.judgement import Judgement, Verdict
from hwn2n.gate.outcome import Check


def clean(text: str) -> str:
    """`text` on one line, of characters that print: no control characters, no lone surrogates.

    File names may have any of them, and each format would break on some.
    """
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def headings(check: Check) -> tuple[str, ...]:
    """The columns; the change stands there only where there is a baseline."""
    change = ("change",) if check.baseline else ()
    return ("metric", "value", "limit", "headroom", *change, "verdict", "known")


def cells(check: Check) -> list[tuple[str, ...]]:
    """One line for each row of the check, under `headings`."""
    return [tuple(clean(cell) for cell in _line(row, check)) for row in check.rows]


def _line(row: Judgement, check: Check) -> tuple[str, ...]:
    change = ("-" if row.change is None else row.change.text,) if check.baseline else ()
    return (
        row.metric,
        row.value_text,
        row.limit_text,
        row.headroom_text,
        *change,
        row.verdict_text,
        row.how or "-",
    )


def remarks(check: Check) -> list[str]:
    """What stands below the table: the rows that decide, missing changes, notes, the machine."""
    decisive = [row for row in check.decisive if row.verdict is not Verdict.UNAVAILABLE]
    lines = [f"{row.verdict.value}: {row.text}" for row in decisive]
    unavailable = [row for row in check.rows if row.verdict is Verdict.UNAVAILABLE]
    lines += [f"unavailable: {row.text}: {row.reason}" for row in unavailable]
    changes = [row.change for row in check.rows if row.change is not None]
    reasons = dict.fromkeys(change.reason for change in changes if change.reason)
    lines += [f"no change: {reason}" for reason in reasons]
    if any(change.distinguishable is False for change in changes):
        lines.append("~: the change lies inside the intervals of the two measurements")
    lines += [f"note: {note}" for note in check.notes]
    if any(row.how in ("measured", "cached") for row in check.rows):
        lines.append(f"machine: {described(check.machine)}; inputs: {check.inputs}")
    return [clean(line) for line in lines]


def described(machine: Mapping[str, Any]) -> str:
    """A fingerprint in a line: CPU, threads, board, GPUs, system, torch."""
    parts = [str(machine["cpu"])] if machine.get("cpu") else []
    if machine.get("usable_threads"):
        parts.append(f"{machine['usable_threads']} threads")
    parts += [f"board {machine['board']}"] if machine.get("board") else []
    gpus = machine.get("gpu")
    parts += [f"GPU {name}" for name in gpus] if isinstance(gpus, list) else []
    parts += [str(machine["os"])] if machine.get("os") else []
    parts += [f"torch {machine['torch']}"] if machine.get("torch") else []
    return ", ".join(parts) or "unknown"


def explanation(row: Judgement) -> str:
    """A row that is not inside, in a sentence that needs no table beside it."""
    if row.verdict in (Verdict.UNAVAILABLE, Verdict.SKIPPED):
        return clean(f"{row.text}: {row.verdict.value}, {row.reason}")
    headroom = f"headroom {row.headroom_text}"
    return clean(f"{row.text}: {row.verdict.value}, found {row.value_text}, {headroom}, {row.how}")
