"""Budgets that no network can meet, found before anything is trained."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from scipy.optimize import linprog

from hwn2n.budget.consistency import (
    CHAINS,
    budget_contradictions,
    contradiction_error,
    contradictions,
)
from hwn2n.budget.cost import Reading
from hwn2n.budget.infeasible import Inequality, minimal_conflict
from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Constraints
from hwn2n.budget.rows import Row
from hwn2n.errors import InputError, MeasurementError

HEAD = "apiVersion: hwn2n/v1\nname: x\n"


def rows(*lines: str) -> str:
    """A budget whose first row stands on line 4."""
    return HEAD + "constraints:\n" + "".join(f"  - {line}\n" for line in lines)


def matrix(columns: str, a: str, b: str) -> str:
    return HEAD + f"columns: [{columns}]\nA: {a}\nb: {b}\n"


def found(text: str, **teacher: float) -> list[str]:
    cost = {name: Reading(value) for name, value in teacher.items()}
    return [row.id for row in budget_contradictions(load_budget(text), cost)]


def test_differences_to_an_unknown_teacher_may_contradict_each_other() -> None:
    def named(*limits: str) -> list[str]:
        return found(rows(*(f"{{metric: accuracy, {limit}}}" for limit in limits)))

    assert len(named("min: -1pt", "max: -2pt")) == 2
    assert not named("min: -2pt", "max: -1pt")
    assert not named("min: +60pt", "max: -2pt")  # nobody knows where the teacher is
    assert not named("min: -1pt, tolerance: 1%", "max: -2pt")


def test_a_teacher_near_idle_keeps_no_row_from_the_others() -> None:
    net = "{sum: [{metric: power, scope: net, scale: 50%}], max: 1}"
    over, under = "{metric: params, max: 5}", "{metric: params, min: 6}"
    assert found(rows(net), power_avg_net=-0.1) == []
    assert len(found(rows(net, over, under), power_avg_net=-0.1)) == 2


def message(text: str) -> str:
    return str(contradiction_error(budget_contradictions(load_budget(text))))


COMBO = (
    "{sum: [{metric: latency, stat: p95, coef: 0.7, scale: 10ms},"
    " {metric: energy, coef: 0.3, scale: 50mJ}], max: 1}"
)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            rows(
                "{metric: flops, max: 1}", "{metric: params, max: 5M}", "{metric: params, min: 6M}"
            ),
            "budget:5 and budget:6 contradict each other: params <= 5M and params >= 6M",
        ),
        (
            rows("{metric: params, min: 6M, max: 5M}"),
            "budget:4: these contradict each other: params <= 5M and params >= 6M",
        ),
        (
            rows(
                "{metric: latency, stat: p50, min: 9ms}", "{metric: latency, stat: p99, max: 5ms}"
            ),
            "budget:4 and budget:5 contradict each other: latency_p50 >= 9ms and "
            "latency_p99 <= 5ms, as latency_p50 <= latency_p99",
        ),
        (
            rows("{metric: worst_class_accuracy, min: 91%}", "{metric: accuracy, max: 90%}"),
            "budget:4 and budget:5 contradict each other: worst_class_accuracy >= 91% and "
            "accuracy <= 90%, as worst_class_accuracy <= accuracy",
        ),
        (
            rows("{metric: power, scope: net, min: 3W}", "{metric: power, max: 2W, tolerance: 9%}"),
            "budget:4 and budget:5 contradict each other: power_avg_net >= 3W and power_avg <= 2W "
            "(tolerance 9%), as power_avg_net <= power_avg",
        ),
        (
            rows("{metric: params, max: 50%}", "{metric: params, min: 60%}"),
            "budget:4 and budget:5 contradict each other: params <= 50% of the teacher and "
            "params >= 60% of the teacher",
        ),
        (
            matrix("params", "[[1]]", "[-5]"),
            "budget:4: no cost can be within 1 params <= -5, as params >= 0",
        ),
        (
            matrix("accuracy, params", "[[-1, 0]]", "[-1.01]"),
            "budget:4: no cost can be within 1 accuracy >= 1.01, as accuracy <= 100%",
        ),
        (
            rows(COMBO, "{metric: params, max: 5M}", "{metric: energy, min: 200mJ}"),
            "budget:4 and budget:6 contradict each other: 0.7 latency_p95/(10ms) + "
            "0.3 energy/(50mJ) <= 1 and energy >= 200mJ",
        ),
        (
            rows(COMBO, "{metric: energy, min: 100mJ}", "{metric: latency, stat: p50, min: 8ms}"),
            "budget:4, budget:5 and budget:6 contradict each other: 0.7 latency_p95/(10ms) + "
            "0.3 energy/(50mJ) <= 1, energy >= 100mJ and latency_p50 >= 8ms, as "
            "latency_p50 <= latency_p95",
        ),
    ],
)
def test_contradictions_are_named_with_their_lines(text: str, error: str) -> None:
    assert message(text) == error


@pytest.mark.parametrize(
    "text",
    [
        rows("{metric: params, max: 5M}", "{metric: params, min: 5M}"),
        rows("{metric: accuracy, min: 100%}", "{metric: worst_class_accuracy, max: 1%}"),
        rows("{metric: params, max: 5M}", "{metric: params, min: 6M, severity: warn}"),
        rows("{metric: params, max: 5M, tolerance: 20%}", "{metric: params, min: 6M}"),
        rows("{metric: params, max: 50%}", "{metric: params, min: 1G}"),  # of a large teacher
        rows("{metric: params, max: 50%}", "{metric: flops, min: 60%}"),
        rows("{metric: latency, stat: p99, min: 10ms}", "{metric: latency, stat: p50, max: 5ms}"),
        # Neither holds of every cost: the end-to-end clock may even stop before the device's.
        rows(
            "{metric: latency, stat: p50, max: 5ms}",
            "{metric: latency, stat: p50, scope: device, min: 6ms}",
        ),
        rows("{metric: params, max: 1}", "{metric: weight_bytes, min: 1GB}"),
        rows("{metric: throughput, min: 1G/s}", "{metric: latency, stat: p50, min: 1s}"),
        rows(COMBO, "{metric: energy, min: 100mJ}", "{metric: latency, stat: p50, min: 5ms}"),
        matrix("params, flops", "[[0.1, 0.2], [-1, 0], [0, -1]]", "[0.3, -1, -1]"),  # at a corner
        matrix("params, flops", "[[1, -1], [-1, 1]]", "[-1, 2]"),
        matrix("params, accuracy", "[[1, -1000]]", "[-500]"),
    ],
)
def test_budgets_with_a_solution(text: str) -> None:
    assert found(text) == []


def test_tolerances_by_hand() -> None:
    # 5M (1 + 0.1) = 5.5M < 6M (1 - 0.08) = 5.52M, but not with 9 %.
    tight = rows(
        "{metric: params, max: 5M, tolerance: 10%}", "{metric: params, min: 6M, tolerance: 8%}"
    )
    assert found(tight) == ["params", "params-2"]
    assert found(tight.replace("8%", "9%")) == []


def test_with_a_teacher_relative_rows_take_part() -> None:
    text = rows(
        "{metric: params, max: 50%}", "{metric: params, min: 1M}", "{metric: accuracy, min: +2pt}"
    )
    assert found(text) == []
    assert found(text, params=2e6) == []
    assert found(text, params=1e6) == ["params", "params-2"]
    assert found(text, accuracy=0.99) == ["accuracy"]
    assert found(text, accuracy=0.98) == []


def test_a_scale_that_is_a_share_of_nothing() -> None:
    text = rows("{sum: [{metric: params, scale: 50%}], max: 1}")
    assert found(text) == []
    with pytest.raises(InputError, match=r"budget:4\).*a scale must be positive"):
        found(text, params=0)


def test_the_set_is_minimal_where_one_row_is_enough() -> None:
    text = matrix("params, flops", "[[-1, 0], [1, 0], [1, 1]]", "[-7, -5, -1]")
    assert found(text) == ["A1"]


def test_files_without_combinations_need_no_scipy() -> None:
    plain = rows("{metric: params, max: 5M}", "{metric: params, min: 6M}")
    code = (
        "import sys; from hwn2n.budget.load import load_budget; "
        "from hwn2n.budget.consistency import budget_contradictions as f; "
        f"assert len(f(load_budget({plain!r}))) == 2; "
        f"assert not f(load_budget({rows(COMBO, '{metric: energy, min: 100mJ}')!r})); "
        "print([name for name in ('torch', 'scipy', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def row(index: int, coefficients: dict[str, float], upper: float) -> Row:
    return Row(id=str(index), coefficients=coefficients, upper=upper, scale=1.0, source="")


def solvable(chosen: tuple[Row, ...]) -> bool:
    """What scipy says of rows on p50, p90 and accuracy, and what is known of any cost."""
    names = ["latency_p50", "latency_p90", "accuracy"]
    a = [[one.coefficients.get(name, 0.0) for name in names] for one in chosen]
    b = [one.upper for one in chosen]
    bounds = [(0, None), (0, None), (0, 1)]
    done = linprog([0, 0, 0], A_ub=[*a, [1, -1, 0]], b_ub=[*b, 0], bounds=bounds)
    assert done.status in (0, 2)
    return bool(done.status == 0)


def test_random_systems_against_scipy() -> None:
    rng = random.Random(5)
    sizes = []
    for _ in range(120):
        chosen = []
        for index in range(rng.randint(2, 6)):
            names = rng.sample(["latency_p50", "latency_p90", "accuracy"], rng.randint(1, 3))
            factors = {name: rng.choice((-3, -2, -1, 1, 2, 3)) * 1.0 for name in names}
            chosen.append(row(index, factors, float(rng.randint(-6, 6))))
        conflict = contradictions(Constraints(rows=tuple(chosen)))
        assert bool(conflict) is not solvable(tuple(chosen))
        sizes.append(len(conflict))
        for spare in conflict:
            assert solvable(tuple(one for one in conflict if one is not spare))
    assert {0, 1, 2, 3} <= set(sizes)  # all kinds were among them


def test_units_that_lie_far_apart() -> None:
    text = rows(
        "{sum: [{metric: params, scale: 1T}, {metric: latency, stat: p50, scale: 1ns}], max: 1}",
        "{metric: params, min: 500G}",
        "{metric: latency, stat: p50, min: 0.6ns}",
    )
    assert found(text) == ["sum", "params", "latency_p50"]
    assert found(text.replace("0.6ns", "0.5ns")) == []


def test_only_what_is_proved_counts() -> None:
    def conflict(upper: float) -> tuple[str | None, ...]:
        system = [
            Inequality({"x": 1.0, "y": 1.0}, upper, "sum"),
            Inequality({"x": -1.0}, -1.0, "x"),
            Inequality({"y": -1.0}, -1.0, "y"),
            Inequality({"z": 1.0}, 5.0, "z"),
        ]
        return minimal_conflict(system, rounding=1e-3)

    assert conflict(1.9) == ("sum", "x", "y")
    assert conflict(1.9999) == ()  # less than a thousandth of the limits
    assert conflict(2.0) == ()
    assert minimal_conflict([], 1e-9) == ()


def test_relations_hold_of_columns_in_order() -> None:
    for chain in CHAINS:
        low = Row(id="low", coefficients={chain[0]: -1.0}, upper=-0.5, scale=0.5, source="")
        high = Row(id="high", coefficients={chain[-1]: 1.0}, upper=0.4, scale=0.4, source="")
        assert contradictions(Constraints(rows=(high, low))) == (high, low)
        swapped = [
            Row(id="a", coefficients={chain[-1]: -1.0}, upper=-0.5, scale=0.5, source=""),
            Row(id="b", coefficients={chain[0]: 1.0}, upper=0.4, scale=0.4, source=""),
        ]
        assert contradictions(Constraints(rows=tuple(swapped))) == ()


def test_a_budget_without_rows_is_consistent() -> None:
    assert contradictions(Constraints(rows=())) == ()


def test_a_missing_value_is_no_contradiction() -> None:
    budget = load_budget(rows("{metric: params, max: 50%}", "{metric: accuracy, min: -1pt}"))
    assert budget_contradictions(budget) == ()
    with pytest.raises(MeasurementError):
        budget.resolve({})
