"""What a report works out, against values worked out by hand."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
import small
import typer.main
from report_pages import candidate

from hwn2n.cli import app
from hwn2n.cli.failure import Invocation
from hwn2n.cli.options import assignments
from hwn2n.errors import InputError
from hwn2n.network.capture import capture
from hwn2n.network.counts import count, count_each
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.reporting import trade_off
from hwn2n.reporting.axes import axis_for, log_ticks, quantity
from hwn2n.reporting.facts import RunFacts
from hwn2n.reporting.layer_times import by_layer, layer_seconds
from hwn2n.reporting.layers import LayerTable, PackedLayers
from hwn2n.reporting.points import as_json, by_interest, load_baselines, pareto_front
from hwn2n.reporting.relaxation import nearest, relaxations, standing
from hwn2n.reporting.repeat import command, settings_table, target_name
from hwn2n.reporting.verdict import headline
from hwn2n.run.candidate import State
from hwn2n.search.recipes import RECIPES, build_settings

BUDGET = small.budget("{metric: params, max: 100}", "{metric: flops, max: 10}")


@pytest.fixture(scope="module")
def table() -> LayerTable:
    captured = capture(small.small_teacher().model, small.SHAPE, None)
    return LayerTable(Planner(captured.architecture), small.settings())


@pytest.mark.parametrize(
    ("column", "values"), [("params", (100, 150, 200)), ("throughput", (200, 150, 100))]
)
def test_the_line_of_the_front_is_nowhere_above_what_was_reached(
    column: str, values: tuple[float, ...]
) -> None:
    """It goes along with the accuracy of a network until the next one's cost, and up there."""
    found = [candidate(i, cost={column: v}, accuracy=a)
             for i, (v, a) in enumerate(zip(values, (0.8, 0.9, 0.95), strict=True))]  # fmt: skip
    figure = go.Figure()
    trade_off._front(figure, pareto_front(found, column), column, axis_for(column, [*values]))
    (line,) = figure.data
    assert line.line.shape == "hv" and list(line.y) == [80.0, 90.0, 95.0]


def test_the_front_is_what_no_other_beats_on_both() -> None:
    costs = [(100, 0.9), (50, 0.8), (60, 0.7), (50, 0.6), (200, 0.9), (10, None), (40, 0.2)]
    rows = [
        candidate(i, cost={"params": params}, accuracy=accuracy)
        for i, (params, accuracy) in enumerate(costs)
    ]
    assert [c.id for c in pareto_front(rows, "params")] == [6, 1, 0]
    assert pareto_front(rows, "flops") == []
    fast = [candidate(i, cost={"throughput": v}, accuracy=a)
            for i, (v, a) in enumerate([(5, 0.9), (9, 0.5), (4, 0.8)])]  # fmt: skip
    assert [c.id for c in pareto_front(fast, "throughput")] == [1, 0]
    assert [c.id for c in by_interest(rows, ["params"])][:3] == [0, 1, 6]


@pytest.mark.parametrize(
    ("verdict", "outcome", "sentence"),
    [
        ("pass", "inside", "The student is inside the budget"),
        ("violated", "outside", "The student is outside the budget"),
        ("inconclusive", "unsure", "Nobody can tell whether the student is inside the budget"),
        ("unavailable", "unsure", "Nobody can tell whether the student is inside the budget"),
    ],
)
def test_the_state_of_a_run_is_its_verdict(verdict: str, outcome: str, sentence: str) -> None:
    facts = RunFacts(
        folder="runs/mine",
        request={},
        settings=RECIPES["fast"],
        versions={},
        created="",
        teacher_weights="",
        budget=BUDGET,
        teacher_cost={},
        candidates=(),
        updates={},
        seconds={},
        result={"verdict": verdict},
        planner=None,
    )
    assert (facts.state.value, headline(facts)) == (outcome, sentence)


def test_what_relaxing_each_row_buys() -> None:
    constraints = BUDGET.resolve({})
    costs: list[tuple[dict[str, float], float | None]] = [
        ({"params": 150, "flops": 5}, 0.9),  # outside by params alone, half of the limit
        ({"params": 120, "flops": 5}, 0.7),  # by a fifth: the least
        ({"params": 90, "flops": 11}, None),  # by flops alone, a tenth, and not trained
        ({"params": 300, "flops": 90}, 1.0),  # by both
        ({"params": 80}, 0.5),  # nobody knows its FLOPs
        ({}, None),  # illegal
    ]
    rows = [candidate(i, cost=cost, accuracy=a, satisfied=False)
            for i, (cost, a) in enumerate(costs)]  # fmt: skip
    standings = [standing(row, constraints) for row in rows]
    assert not any(s.inside() for s in standings)
    closest = nearest(standings)
    assert closest is not None and closest.candidate.id == 2
    assert closest.worst == pytest.approx(0.1)
    params, flops = relaxations(standings)
    assert (params.inside, params.limit) == (2, 120)
    assert params.share == pytest.approx(0.2)
    assert params.least is not None and params.least.id == 1
    assert params.best is not None and params.best.id == 0
    assert (flops.inside, flops.limit) == (1, 11)
    assert flops.best is None, "the only one was not trained"
    assert nearest([]) is None and relaxations([]) == []


def test_a_lower_limit_is_relaxed_downwards() -> None:
    constraints = small.budget("{metric: throughput, min: 100/s}").resolve({})
    found = [standing(candidate(1, cost={"throughput": 80}, satisfied=False), constraints)]
    (row,) = relaxations(found)
    assert row.limit == 80 and row.share == pytest.approx(-0.2)


def test_a_relative_limit_is_of_the_teacher_beside_the_candidate(table: LayerTable) -> None:
    from hwn2n.budget.cost import Reading
    from hwn2n.reporting.facts import RunFacts

    facts = RunFacts(
        folder="run", request={}, settings=small.settings(), versions={}, created="",
        teacher_weights="", budget=small.budget("{metric: latency, stat: p50, max: 50%}"),
        teacher_cost={"latency_p50": Reading(4e-3, "measured")}, candidates=(), updates={},
        seconds={}, result=None, planner=table.planner,
    )  # fmt: skip
    row = candidate(1)
    assert facts.constraints(row).rows[0].upper == pytest.approx(2e-3)
    object.__setattr__(row, "teacher", {"latency_p50": {"value": 6e-3, "how": "measured"}})
    assert facts.constraints(row).rows[0].upper == pytest.approx(3e-3)


def test_axes_have_one_unit_and_round_ticks() -> None:
    assert log_ticks(10, 100) == (5, 10, 20, 50, 100, 200)
    assert log_ticks(1, 2e4) == (1, 10, 100, 1000, 1e4)
    near = axis_for("latency_p50", [120e-6, 300e-6])
    assert (near.title, near.factor, near.log) == ("latency p50 (µs)", 1e-6, False)
    wide = axis_for("params", [10_000, 1_000_000])
    assert wide.log and wide.title == "parameters (thousands)" and 1000 in wide.ticks
    assert axis_for("energy", []).title == "energy of one image (µJ)"
    assert quantity(10_268.0, "params") == "10,268" and quantity(None, "params") != "0"


def test_operations_add_up_to_the_network(table: LayerTable) -> None:
    teacher = table.planner.teacher
    each = count_each(teacher).values()
    assert sum(c.params for c in each) == count(teacher).params == 1131
    assert sum(layer.params for layer in table.teacher) == 1131


def test_a_student_beside_its_teacher(table: LayerTable) -> None:
    group = table.planner.channels.own_group("conv1")
    assert group is not None
    removed = next(t.operations for t in table.teacher if t.name == "conv2")
    decision = Decision(removed=frozenset(removed), kernels={"conv3": (1, 1)})
    student = table.student(decision.to_json())
    by_name = dict(zip((t.name for t in table.teacher), student.layers, strict=True))
    assert by_name["conv2"].status == "removed" and by_name["conv2"].params == 0
    assert by_name["conv3"].status == "shrunk" and "3x3 -> 1x1" in by_name["conv3"].change
    assert by_name["conv3"].params == 8 * 6 + 6
    assert by_name["conv1"].status == "kept" and by_name["conv1"].change == ""
    assert (student.removed, student.shrunk) == (1, 1)
    whole = count(table.planner.plan(decision))
    assert student.counts == whole == count(table.architecture(decision.to_json()))
    assert sum(layer.params for layer in student.layers) == whole.params
    assert sum(layer.flops for layer in student.layers) == whole.flops


def test_packed_layers_share_networks_and_stop_at_their_limit(table: LayerTable) -> None:
    packed = PackedLayers(table, limit=10_000)
    whole = Decision().to_json()
    small_kernel = Decision(kernels={"conv3": (1, 1)}).to_json()
    assert [packed.add(d) for d in (whole, small_kernel, whole)] == [0, 1, 0]
    assert packed.networks[0] == [1] * len(table.teacher)
    text, params, _ = next(layer for layer in packed.networks[1] if isinstance(layer, list))
    assert packed.texts[text] == "▾ 3x3 -> 1x1" and params == 54
    assert packed.add({"removed": ["no such layer"], "widths": {}, "kernels": {}}) is None
    assert packed.left_out == 0
    full = PackedLayers(table, limit=0)
    assert full.add(whole) is None and full.left_out == 1 and full.networks == []


def test_what_a_page_carries_adds_up_to_the_candidate(table: LayerTable) -> None:
    """Where a pooling is gone, what comes after it has more to read."""
    packed = PackedLayers(table, limit=10_000)
    for removed in ((), ("pool",), ("conv2",), ("pool", "conv2")):
        decision = Decision(frozenset(removed), {"conv1": 3}).to_json()
        student, number = table.student(decision), packed.add(decision)
        assert number is not None
        for k, total in ((1, student.counts.params), (2, student.counts.flops)):
            found = 0
            for layer, whole in zip(packed.networks[number], table.teacher, strict=True):
                kept = (whole.params, whole.flops)[k - 1]
                found += layer[k] if isinstance(layer, list) else layer * kept
            assert found == total, removed
    grown = table.student(Decision(frozenset({"pool"})).to_json())
    assert {layer.shown for layer in grown.layers if layer.status == "grown"} == {"▴ larger input"}


def test_layers_are_timed_one_by_one(table: LayerTable) -> None:
    teacher = table.planner.teacher
    seconds = layer_seconds(teacher, repeats=2)
    assert set(seconds) == set(teacher.by_name()) and min(seconds.values()) > 0
    layers = [t.operations for t in table.teacher]
    found = by_layer({"conv1": 1.0, "bn1": 2.0}, {"conv1": "conv1", "bn1": "bn1"}, layers)
    assert sum(found) == 3.0 and found[0] == 3.0


def test_the_command_gives_the_same_request_again() -> None:
    settings = build_settings("fast", {"seed": 7, "final.augment": "crop", "clip_norm": 1.5})
    request: dict[str, Any] = {
        "teacher": "my teacher.pt", "data": "imagefolder:a b", "arch": None,
        "input_shape": (3, 8, 8), "unsafe_pickle": False, "data_root": None, "image_size": 8,
        "download": False, "validation": 0.3, "split_seed": 2,
    }  # fmt: skip
    line = command(request, settings, budget="run/budget.yaml", target="jetson", policies=["p"])
    assert line is not None
    _, name, *words = shlex.split(line)
    parsed = typer.main.get_command(app).commands[name].make_context(  # type: ignore[attr-defined]
        name, words, obj=Invocation()
    ).params  # fmt: skip
    assert parsed["teacher"] == "my teacher.pt" and parsed["data"] == "imagefolder:a b"
    assert parsed["input_shape"] == "3,8,8" and parsed["validation"] == "0.3"
    assert (parsed["budget"], parsed["target"]) == ("run/budget.yaml", "jetson")
    assert list(parsed["policy"]) == ["p"]
    assert build_settings(parsed["recipe"], assignments(parsed["set_"])) == settings
    request["data"] = "(given as an object)"
    assert command(request, settings, budget=None, target=None) is None


def test_names_of_targets() -> None:
    assert target_name({"name": "orin", "device": "cuda"}) == "orin"
    assert target_name({"name": None, "device": "cuda:1"}) == "cuda:1"
    assert target_name({"name": None, "device": "cpu"}) == "cpu"
    assert target_name("(given as an object)") is None


def test_settings_name_what_is_not_the_recipes() -> None:
    assert not any(setting.changed for setting in settings_table(RECIPES["fast"]))
    changed = [s for s in settings_table(build_settings("fast", {"train.epochs": 9})) if s.changed]
    assert [(s.name, s.value, s.usual) for s in changed] == [("train.epochs", "9", "1")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "must be a JSON file of baselines"),
        ([], "must have at least one baseline"),
        ([3], "baseline 1 must be an object with name and cost"),
        ({"cost": {}}, "must have a name"),
        ({"name": "a", "cost": {"parms": 3}}, "must be one of params"),
        ({"name": "a", "cost": {"params": 3}}, "must have cost.accuracy"),
        ({"name": "a", "cost": {"params": 3, "accuracy": 92}}, "must have cost.accuracy"),
        ({"name": "a", "cost": {"accuracy": 0.9}}, "must have a column to draw"),
    ],
)
def test_baselines_that_cannot_be_read(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_baselines(path)


def test_baselines(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps([{"name": "FitNet\n-4", "cost": {"params": 5, "accuracy": 0.9}}]))
    (found,) = load_baselines(path)
    assert (found.name, found.accuracy, found.cost["params"].value) == ("FitNet -4", 0.9, 5)
    with pytest.raises(InputError, match="must be a JSON file"):
        load_baselines(tmp_path / "none.json")


def test_states_of_candidates_are_counted() -> None:
    from hwn2n.reporting.points import state_counts

    rows = [candidate(1), candidate(2, state=State.ILLEGAL), candidate(3)]
    assert state_counts(rows) == {"trained": 2, "illegal": 1}


def test_a_candidate_says_what_it_is_compared_by() -> None:
    rows = [
        candidate(1, terms={"expected": 0.4}),
        candidate(2),
        candidate(3, accuracy=None, terms={"expected": None}),
    ]
    assert [as_json(row, None)["expected"] for row in rows] == [0.4, 0.5, None]
