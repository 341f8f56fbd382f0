import numpy as np
import pytest

from hwn2n.budget.columns import COUNTABLE
from hwn2n.budget.cost import Reading
from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget, Constraints
from hwn2n.errors import InputError, MeasurementError

TEXT = """
apiVersion: hwn2n/v1
name: x
constraints:
  - {metric: latency, stat: p50, max: 10ms, tolerance: 5%}
  - {metric: params, max: 50%}
  - {metric: accuracy, min: -1pt}
  - {sum: [{metric: params, coef: 2, scale: 1k}, {metric: flops, scale: 1M}], max: 4}
  - {metric: energy, max: 1mJ, severity: warn}
"""
TEACHER = {"params": Reading(2000), "flops": Reading(9e6), "accuracy": Reading(0.9)}


def cost(**values: float) -> dict[str, Reading]:
    return {name: Reading(value) for name, value in values.items()}


INSIDE = cost(params=800, flops=1e6, latency_p50=0.008, accuracy=0.9)


@pytest.fixture
def constraints() -> Constraints:
    return load_budget(TEXT).resolve(TEACHER)


def test_the_matrix_by_hand(constraints):
    assert constraints.columns == ("params", "flops", "latency_p50", "accuracy")
    assert np.array_equal(
        constraints.A,
        [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0.002, 1e-6, 0, 0]],
    )
    assert np.array_equal(constraints.b, [0.01, 1000, -0.89, 4])


def test_residuals_by_hand_and_as_scipy_sees_them(constraints):
    residuals = constraints.residuals(INSIDE)
    # (0.008-0.01)/0.01, (800-1000)/1000, (-0.9+0.89)/0.89, (1.6+1-4)/4
    assert residuals == pytest.approx([-0.2, -0.2, -0.01 / 0.89, -0.35])
    x = np.array([INSIDE[name].value for name in constraints.columns])
    _, slack = constraints.linear.residual(x)
    scales = np.array([row.scale for row in constraints.rows])
    assert residuals * scales == pytest.approx(-slack)


def test_satisfied_and_tolerance(constraints):
    assert constraints.satisfied(INSIDE)
    assert constraints.satisfied(INSIDE | cost(params=1000))  # the limit itself is inside
    assert not constraints.satisfied(INSIDE | cost(params=1001))
    assert constraints.satisfied(INSIDE | cost(params=1001), tolerance=0.01)
    assert constraints.satisfied(INSIDE | cost(latency_p50=0.0104))  # the row's own 5 %
    assert not constraints.satisfied(INSIDE | cost(latency_p50=0.0106))
    assert not constraints.satisfied(INSIDE | cost(accuracy=0.88))


def test_an_absent_column_is_unavailable_and_not_zero(constraints):
    known = cost(params=800, flops=1e6)
    assert constraints.missing(known) == ["latency_p50", "accuracy"]
    for question in (constraints.residuals, constraints.satisfied):
        with pytest.raises(MeasurementError, match="latency_p50, accuracy"):
            question(known)
    assert constraints.residuals(known, columns=COUNTABLE) == pytest.approx([-0.2, -0.35])


def test_only_the_countable_rows(constraints):
    countable = constraints.only(COUNTABLE)
    assert countable.columns == ("params", "flops")
    assert [row.id for row in countable.rows] == ["params", "sum"]
    assert countable.warnings == ()
    assert countable.satisfied(cost(params=1000, flops=1e6))
    assert not countable.satisfied(cost(params=1000, flops=3e6))
    assert constraints.only(["flops"]).rows == ()


def test_the_binding_row_has_the_largest_residual(constraints):
    assert constraints.binding(INSIDE).id == "accuracy"
    assert constraints.binding(INSIDE | cost(params=1500)).id == "params"
    assert constraints.binding(cost(latency_p50=1.0)).source.startswith("latency_p50 <= 10ms (")
    with pytest.raises(MeasurementError, match="unavailable"):
        constraints.binding({})


def test_describe(constraints):
    table = constraints.describe(INSIDE)
    assert [row["id"] for row in table] == ["latency_p50", "params", "accuracy", "sum", "energy"]
    assert table[1] == {
        "id": "params",
        "text": "params <= 50% of the teacher (budget:6)",
        "severity": "error",
        "column": "params",
        "sense": "max",
        "value": 800,
        "limit": 1000,
        "headroom": pytest.approx(0.2),
        "satisfied": True,
        "unit": "",
        "value_text": "800",
        "limit_text": "1.00k",
    }
    accuracy = table[2]
    assert (accuracy["sense"], accuracy["value"], accuracy["limit"]) == ("min", 0.9, 0.89)
    assert (accuracy["value_text"], accuracy["limit_text"]) == ("90.00%", "89.00%")
    assert (table[3]["column"], table[3]["value_text"], table[3]["limit_text"]) == (
        None,
        "2.6",
        "4",
    )
    energy = table[4]
    assert energy["severity"] == "warn"
    assert (energy["value"], energy["satisfied"], energy["headroom"]) == (None, None, None)
    assert energy["value_text"] == "unavailable"
    for row in constraints.describe(INSIDE | cost(latency_p50=0.012))[:1]:
        assert row["satisfied"] is False
        assert row["headroom"] == pytest.approx(-0.2)


def test_warnings_never_steer(constraints):
    costly = INSIDE | cost(energy=5.0)
    assert constraints.satisfied(costly)
    assert constraints.binding(costly).id == "accuracy"
    assert constraints.describe(costly)[-1]["satisfied"] is False


def test_a_relative_row_needs_the_teachers_value():
    budget = load_budget(TEXT)
    assert budget.relative_columns == ("params", "accuracy")
    with pytest.raises(MeasurementError, match=r"params <= 50% .* needs the teacher's params"):
        budget.resolve({"accuracy": Reading(0.9)})
    optional = load_budget(TEXT.replace("max: 1mJ", "max: 90%"))
    assert optional.resolve(TEACHER).warnings == ()


def test_a_column_is_known_as_surely_as_its_most_demanding_row_asks():
    budget = load_budget(
        TEXT.replace("tolerance: 5%", "confidence: 0.9").replace("1mJ,", "1mJ, confidence: 0.999,")
        + "  - {metric: latency, stat: p50, min: 1ms, confidence: 0.99}\n"
        + "  - {sum: [{metric: latency, stat: p95, scale: 1s}, {metric: params, scale: 1}],"
        " max: 9, confidence: 0.8}\n"
    )
    # params: 0.95 by default in one row and 0.8 in another; energy only warns
    assert budget.confidences == {
        "params": 0.95, "flops": 0.95, "latency_p50": 0.99, "latency_p95": 0.8, "accuracy": 0.95,
    }  # fmt: skip
    assert Budget(name="unconstrained", rows=()).confidences == {}


def test_a_scale_relative_to_nothing_is_refused():
    text = TEXT.replace("scale: 1k", "scale: 50%")
    with pytest.raises(InputError, match="a scale must be positive; found 0"):
        load_budget(text).resolve(TEACHER | cost(params=0))


def test_a_teacher_out_of_all_proportion_is_refused():
    # 500 % of it is no number, and neither is a share of the smallest number that there is.
    for text, teacher, error in (
        (TEXT.replace("max: 50%", "max: 500%"), 1e308, "a limit must be finite; found inf"),
        (TEXT.replace("scale: 1k", "scale: 500%"), 1e308, "one can divide by; found inf"),
        (TEXT.replace("scale: 1k", "scale: 50%"), 1e-320, "one can divide by; found 4.9"),
    ):
        with pytest.raises(InputError, match=error):
            load_budget(text).resolve(TEACHER | cost(params=teacher))


def test_a_budget_without_rows_is_unconstrained():
    free = Budget(name="unconstrained", rows=()).resolve({})
    assert free.columns == ()
    assert free.A.shape == (0, 0)
    assert free.missing({}) == []
    assert free.residuals({}).shape == (0,)
    assert free.satisfied({})
    assert free.describe({}) == []
    with pytest.raises(InputError, match="must have rows"):
        free.binding({})


def test_one_negative_coefficient_is_a_lower_limit():
    """It is shown as a person says it; in the matrix it stands as it was written."""
    budget = load_budget(
        {
            "apiVersion": "hwn2n/v1",
            "name": "matrix",
            "columns": ["params", "accuracy"],
            "A": [[0, -1], [-2, 0], [1, -1]],
            "b": [-0.9, 0, 5],
        }
    )
    rows = budget.resolve({}).rows
    assert [row.lower for row in rows] == [True, True, False]
    assert [row.coefficients for row in rows] == [
        {"accuracy": -1},
        {"params": -2},
        {"params": 1, "accuracy": -1},
    ]
    assert [row.upper for row in rows] == [-0.9, 0, 5]
    shown = rows[0].describe({"accuracy": Reading(0.95), "params": Reading(4.0)})
    assert (shown["sense"], shown["value"], shown["limit"]) == ("min", 0.95, 0.9)
    assert rows[0].written == "1 accuracy >= 0.9"


def test_a_matrix_row_is_judged_like_any_other():
    text = """
apiVersion: hwn2n/v1
name: x
columns: [params, accuracy]
A: [[1, -1000], [0, 1]]
b: [0, 0.95]
"""
    constraints = load_budget(text).resolve({})
    assert constraints.residuals(cost(params=500, accuracy=0.9)) == pytest.approx(
        [-400, -0.05 / 0.95]
    )
    assert constraints.rows[0].column is None
    assert constraints.rows[1].column == "accuracy"
