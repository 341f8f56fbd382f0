"""The report of a run as a file: whole, harmless, and there however the run ended."""

from __future__ import annotations

import json
import re
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import small
from cli_tools import hwn2n as command_line
from report_pages import Page

import hwn2n
from hwn2n.errors import BudgetNotMetError, InputError, InterruptedRunError, MeasurementError
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Silent, StageProgress
from hwn2n.run.stop import Stop

NASTY = "<img src=http://evil.example/x onerror=alert(1)>%{y}</script>&\"'"


class Told(Silent):
    """Remembers messages; asks for a stop after so many candidates."""

    def __init__(self, stop: Stop | None = None, after: int = 0) -> None:
        self.messages: list[str] = []
        self.stop = stop
        self.after = after

    def message(self, text: str) -> None:
        self.messages.append(text)

    def stage(self, progress: StageProgress) -> None:
        self.after -= 1
        if self.stop is not None and self.after == 0:
            self.stop.request()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    small.compress(out)
    return out


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page(run / "report.html")


def test_a_search_by_evolution_has_its_charts(tmp_path: Path) -> None:
    small.compress(tmp_path / "run", recipe=small.settings(strategy="evolution", runoff=2))
    page = Page(tmp_path / "run" / "report.html")
    reward = page.figures["reward"]["data"]
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite")
    bred = [c for c in ledger.candidates() if c.stage == "evolution"]
    ledger.close()
    [line] = [trace for trace in reward if trace["name"] == "evolution"]
    assert list(line["x"]) == sorted({c.iteration + 1 for c in bred})
    assert not page.figures["reward"]["layout"].get("shapes"), "there is no second stage"
    assert "parts the removal of layers" not in page.words
    assert "run-off" in (tmp_path / "run" / "report.html").read_text()


def test_compress_leaves_a_report_of_everything(run: Path, page: Page) -> None:
    ledger = Ledger(run / "ledger.sqlite")
    candidates = ledger.candidates()
    ledger.close()
    rows = page.data["candidates"]
    assert [row["id"] for row in rows] == [c.id for c in candidates] == list(range(1, 10))
    for row, found in zip(rows, candidates, strict=True):
        assert row["state"] == found.state.value and row["inside"] == found.satisfied
        assert row["reward"] == pytest.approx(found.reward, rel=1e-5)
        assert set(row["cost"]) == set(found.cost)
        if found.key is not None:
            assert len(page.data["networks"][row["layers"]]) == len(page.data["teacher"])
    drawn = {i for trace in page.figures["trade-params"]["data"]
             for i in trace.get("customdata", [])}  # fmt: skip
    assert drawn == {c.id for c in candidates if "params" in c.cost}
    charts = {tag["data-chart"] for tag in page.tags("div") if "data-chart" in tag}
    assert charts == set(page.figures) >= {
        "trade-params", "trade-flops", "trade-latency_p50", "reward", "accuracy", "compression",
        "inside", "epsilon", "entropy", "time",
    }  # fmt: skip
    result = json.loads((run / "result.json").read_text())
    for row in result["rows"]:
        assert row["text"] in page.words
    assert "The student is inside the budget" in page.words
    assert f"{result['student']['test_accuracy']:.2%}" in page.words
    assert page.data["student"] is not None


def test_the_page_asks_for_nothing_and_is_small(page: Page) -> None:
    assert page.size < 6_000_000
    for name, attributes in page.elements:
        for key in ("src", "href", "srcset", "action", "poster", "data"):
            target = attributes.get(key) or ""
            assert not re.match(r"(?i)\s*([a-z][a-z0-9+.-]*:)?//", target), (name, attributes)
            assert not target or target.startswith(("#", "data:")), (name, attributes)
        assert not any(key.startswith("on") for key in attributes), attributes
    assert all("url(" not in style and "@import" not in style for style in page.styles)
    (policy,) = (m["content"] for m in page.tags("meta") if "http-equiv" in m)
    assert policy is not None and "default-src 'none'" in policy
    own = page.scripts["page"]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|innerHTML|https?:", own)


def test_the_page_has_headings_labels_and_no_colour_alone(page: Page) -> None:
    names = [name for name, _ in page.elements]
    assert names.count("h1") == 1 and names.count("main") == 1 and names.count("h2") >= 6
    assert page.tags("html")[0]["lang"] == "en"
    assert any(m.get("name") == "viewport" for m in page.tags("meta"))
    assert all(t.get("scope") in ("row", "col") for t in page.tags("th"))
    drawn = [tag for tag in page.tags("div") if "data-chart" in tag]
    assert drawn and all(tag["aria-label"] for tag in drawn)
    for figure in page.figures.values():
        layout = figure["layout"]
        assert layout["xaxis"]["title"]["text"]
        kinds = [
            (trace.get("mode"), (trace.get("marker") or {}).get("symbol"),
             (trace.get("line") or {}).get("dash"))
            for trace in figure["data"] if trace.get("showlegend") is not False
        ]  # fmt: skip
        assert len(set(kinds)) == len(kinds), kinds
    style = "".join(page.styles)
    assert "@media print" in style and "prefers-color-scheme: dark" in style


def test_nothing_of_a_name_is_markup(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a <b>bold</b> & run"
    shutil.copytree(run, folder)
    for name, key in (("config.json", "request"), ("result.json", "target")):
        data = json.loads((folder / name).read_text())
        if key == "request":
            data["request"] |= {"teacher": NASTY, "data": NASTY}
            data["versions"] = {NASTY: NASTY}
        else:
            data |= {"target": NASTY, "machine": {NASTY: NASTY}}
            data["rows"][0]["text"] = NASTY
        (folder / name).write_text(json.dumps(data))
    other = tmp_path / "b.json"
    other.write_text(json.dumps({"name": NASTY, "cost": {"params": 9, "accuracy": 0.5}}))
    hwn2n.report(folder, baselines=[other])
    page = Page(folder / "report.html")
    assert not page.tags("img") and not page.tags("b")
    assert len(page.tags("script")) == 4
    assert NASTY in page.text and "<b>bold</b>" in page.text
    texts = [text for trace in page.figures["trade-params"]["data"]
             for text in [trace["name"], *(trace.get("text") or [])]]  # fmt: skip
    assert not any("<img" in text for text in texts)
    assert any("&lt;img" in text for text in texts)


def test_a_run_without_a_student_has_a_report(tmp_path: Path) -> None:
    text = small.budget_text("{metric: params, max: 40%}", "{metric: latency, stat: p50, max: 1%}")
    out = tmp_path / "run"
    with pytest.raises(BudgetNotMetError, match=r"nearest, candidate \d+") as raised:
        small.compress(out, budget=text)
    page = Page(out / "report.html")
    assert "No student inside the budget was found" in page.words
    assert str(raised.value) in page.words
    near = re.search(r"candidate (\d+)", str(raised.value))
    assert near is not None and f"The nearest candidate: candidate {near[1]}" in page.words
    assert "What relaxing each row would buy" in page.words
    ledger = Ledger(out / "ledger.sqlite")
    costs = [c.cost for c in ledger.candidates() if "latency_p50" in c.cost]
    ledger.close()
    without = sum(cost["params"]["value"] <= 0.4 * 1131 for cost in costs)
    assert without > 0 and f"{without} instead of 0" in page.words
    assert len(page.data["candidates"]) == 12, "four anchors among them"
    again = hwn2n.report(out, out=tmp_path / "again.html")
    assert again.state == "none found"


@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_run_has_a_report(after: int, tmp_path: Path) -> None:
    out = tmp_path / "my run"
    stop = Stop()
    with pytest.raises(InterruptedRunError):
        small.compress(out, reporter=Told(stop, after), stop=stop)
    page = Page(out / "report.html")
    assert "The run is not complete" in page.words
    assert f"hwn2n compress --resume '{out}'" in page.words
    assert len(page.data["candidates"]) == after + 1, "the anchor comes first"
    assert "8" in page.words
    data, target = small.small_data(), small.CalmTarget()
    hwn2n.resume(out, model=small.small_teacher(), data=data, target=target)
    assert "The student is inside the budget" in Page(out / "report.html").words


def test_a_run_that_was_killed_at_once_has_a_report(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", "budget.yaml"):
        shutil.copy(run / name, folder / name)
    written = hwn2n.report(folder)
    page = Page(folder / "report.html")
    assert (written.state, written.candidates) == ("unfinished", 0)
    assert "No candidate was evaluated yet" in page.words
    assert "teacher was given as an object" in page.words
    assert page.figures == {}
    assert not (folder / "ledger.sqlite").exists()


def test_a_report_that_cannot_be_drawn_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of\nall")

    monkeypatch.setattr("hwn2n.reporting.report.build", broken)
    told = Told()
    result = small.compress(tmp_path / "run", reporter=told)
    assert result.satisfied
    warnings = [text for text in told.messages if text.startswith("warning:")]
    assert warnings == ["warning: no report could be drawn: of all"]
    assert not (tmp_path / "run" / "report.html").exists()


def test_layers_are_known_without_the_teacher(run: Path, tmp_path: Path) -> None:
    hwn2n.report(run, out=tmp_path / "with.html", measure_layers=True)
    page = Page(tmp_path / "with.html")
    assert "conv1" in page.words and "eager torch" in page.words
    assert re.search(r"\d(\.\d+)?us", page.words)
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "teacher-architecture.json").unlink()
    hwn2n.report(folder)
    without = Page(folder / "report.html")
    assert "The layers are not known" in without.words and "--teacher FILE" in without.words
    assert without.data["networks"] == [] and len(without.data["candidates"]) == 9
    with pytest.raises(MeasurementError, match="layers cannot be timed"):
        hwn2n.report(folder, measure_layers=True)
    with pytest.raises(InputError):
        hwn2n.report(folder, teacher=tmp_path / "none.pt")


def test_the_command(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    outcome = command_line("report", run, "--out", out, "--baseline", run)
    assert outcome.code == 0 and "The student is inside the budget" in outcome.out
    assert str(out) in outcome.out and out.exists()
    found = command_line("report", run, "-o", out, "--json").json
    assert (found["state"], found["bytes"]) == ("inside", out.stat().st_size)
    tails = tmp_path / "tails.json"
    tails.write_text(json.dumps({"name": "tails", "cost": {"latency_p99": 1, "accuracy": 0.5}}))
    for arguments, message in (
        ([tmp_path], "has no config.json"),
        ([run, "--out", tmp_path / "no" / "page.html"], "must be writable"),
        ([run, "--baseline", tmp_path / "none.json"], "must be a JSON file of baselines"),
        ([run, "--baseline", tmp_path], "has no config.json"),
        ([run, "--baseline", tails], "baseline 'tails' must have a column that the run's"),
    ):
        failed = command_line("report", *arguments)
        assert failed.code == 2 and message in failed.err and failed.err.count("\n") == 1


def test_runs_side_by_side(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "second"
    small.compress(other, recipe=small.settings(seed=5))
    html = tmp_path / "runs.html"
    outcome = command_line("compare", run, other, "--html", html)
    assert outcome.code == 0 and str(run) in outcome.out and str(other) in outcome.out
    assert "budget small" in outcome.out
    page = Page(html)
    assert page.size < 6_000_000 and {"runs-params", "runs-flops"} <= set(page.figures)
    assert str(other) in page.words and "inside" in page.words
    names = {t["name"] for t in page.figures["runs-params"]["data"]}
    assert names == {str(run), str(other)}
    found = command_line("compare", run, other, "--json").json
    assert [line["seed"] for line in found["runs"]] == [0, 5]
    assert found["runs"][0]["cost"]["params"] <= 0.4 * 1131
    for arguments, message in (
        ([run], "at least two runs"),
        ([run, run], "is twice"),
        ([run, "student.pt2"], "must be the folder of a run"),
        ([run, other, "--threads", "2"], "must stand without --threads"),
        (["a.pt", "b.pt", "--html", html], "--html is for folders of runs"),
        (["a.pt"], "two networks must be given"),
        ([run, tmp_path], "has no config.json"),
    ):
        failed = command_line("compare", *arguments)
        assert failed.code == 2 and message in failed.err, failed.err


def test_runs_of_one_name_are_told_apart(run: Path, tmp_path: Path) -> None:
    """Budgets by their rows, teachers by their weights, data by their images; and a run without a
    limit has no budget to be inside of."""
    looser, free = tmp_path / "looser", tmp_path / "free"
    small.compress(looser, budget=small.budget_text("{metric: params, max: 60%}"))
    small.compress(free, budget=None)
    outcome = command_line("compare", run, looser, free)
    assert outcome.code == 0
    shared = outcome.out.splitlines()[-1]
    assert "the same for all: teacher" in shared and "budget" not in shared
    for text in ("small (1)", "small (2)", "no limit"):
        assert text in outcome.out
    found = command_line("compare", run, looser, free, "--json").json["runs"]
    assert [line["outcome"] for line in found] == ["inside", "inside", "no limit"]
    assert found[0]["limits"] != found[1]["limits"] and found[2]["limits"] == []
    assert len({line["data_digest"] for line in found}) == 1


class Writer:
    """Stands in for torch.utils.tensorboard's."""

    made: list[Writer]

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir
        self.values: dict[str, list[tuple[int, float]]] = {}
        self.closed = False
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.values.setdefault(name, []).append((step, float(value)))

    def close(self) -> None:
        self.closed = True


def test_tensorboard_scalars_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    Writer.made = []
    out = tmp_path / "run"
    small.compress(out)
    (writer,) = Writer.made
    assert writer.closed and writer.log_dir == str(out / "tensorboard")
    ledger = Ledger(out / "ledger.sqlite")
    candidates = [c for c in ledger.candidates() if c.stage != "anchor"]
    updates = ledger.updates("removal")
    ledger.close()
    assert writer.values["candidates/reward"] == [(c.id, c.reward) for c in candidates]
    assert writer.values["removal/entropy"] == [(u["iteration"] + 1, u["entropy"]) for u in updates]
    assert len(writer.values["shrinkage/epsilon"]) == 2
    assert [step for step, _ in writer.values["final/loss"]] == [1, 2, 3]
    assert all(0 <= value <= 1 for _, value in writer.values["final/accuracy"])


def test_without_tensorboard_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    told = Told()
    small.compress(tmp_path / "run", reporter=told)
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert not any(text.startswith("warning") for text in told.messages)
