"""What tables keep where there is little room, and which rows they have."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import small
from rich.console import Console
from rich.table import Table

from hwn2n.cli import console
from hwn2n.cli.tables import result_table, ruled_table

NAME, REASON = "features.stage1.0.conv1.of.a.long.name", "it cannot go, for its output has a size"
HEADINGS = ("layer", "operator", "params", "FLOPs of one image", "reason")
ROWS = [(NAME, "aten.conv2d.default", "1,234,567", "593,920,000", REASON), ("x", "", "1", "", "")]


def shown(width: int, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> list[str]:
    """The lines of a table where there are so many columns."""
    stream = io.StringIO()
    made = Console(file=stream, width=width, force_terminal=terminal, color_system=None)
    monkeypatch.setattr(console, "_console", lambda stderr: made)
    console.show(lambda plain: ruled_table(HEADINGS, ROWS, plain=plain), [])
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 80, 120])
def test_numbers_stay_whole_on_a_narrow_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(width, monkeypatch, terminal=True)
    text = "\n".join(lines)
    assert "1,234,567" in text and "593,920,000" in text and "…" not in text
    assert NAME not in text, "which folds"
    assert max(map(len, lines)) <= max(width, 76)


def test_nothing_folds_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(console._PLAIN_WIDTH, monkeypatch, terminal=False)
    assert len(lines) == 1 + len(ROWS)
    assert all(cell in lines[1] for cell in ROWS[0])


def test_a_warning_on_what_cannot_be_measured_has_a_row(tmp_path: Path) -> None:
    budget = small.budget_text(
        "{metric: params, max: 40%}", "{metric: power, max: 3W, severity: warn}"
    )
    result = small.compress(tmp_path / "run", budget=budget)
    table: Table = result_table(result, plain=True)
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    row = next(row for row in zip(*cells, strict=True) if "power" in row[0])
    assert row[1:3] == ("unavailable", "unavailable")
    assert "warning only" in row[-1] and "3" in row[4]
