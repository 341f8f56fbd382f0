import subprocess
import sys
from pathlib import Path

import pytest

from hwn2n.budget.cost import Reading
from hwn2n.budget.load import load_budget
from hwn2n.errors import InputError

BUDGETS = Path(__file__).parent.parent / "budgets"
HEAD = "apiVersion: hwn2n/v1\nname: x\n"  # so that the first constraint stands on line 4


def rows(*lines: str) -> str:
    return HEAD + "constraints:\n" + "".join(f"  - {line}\n" for line in lines)


@pytest.mark.parametrize("path", sorted(BUDGETS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_budget_loads_under_its_own_name(path):
    budget = load_budget(path)
    assert budget.name == path.stem
    assert budget.rows


def test_the_shipped_budgets_mean_what_they_should():
    teacher = {"params": Reading(1000), "flops": Reading(5000), "latency_p50": Reading(0.1)}

    def limits(name):
        constraints = load_budget(BUDGETS / name).resolve(teacher)
        return {row.column: row.upper for row in constraints.rows}

    assert limits("demo.yaml") == {"params": 100, "flops": 2000}
    assert limits("mnist-20k.yaml") == {"params": 20000}
    assert limits("cifar10-1m.yaml") == {"params": 1e6}
    assert limits("cpu-latency.yaml") == {"params": 500, "latency_p50": 0.066}
    assert load_budget(BUDGETS / "cpu-latency.yaml").target == "cpu"


def test_a_row_remembers_how_and_where_it_was_written():
    path = BUDGETS / "mnist-20k.yaml"
    [row] = load_budget(path).rows
    assert row.source == f"params <= 20000 ({path}:6)"
    assert (row.written, row.where, row.line) == ("params <= 20000", f"{path}:6", 6)


def test_paths_texts_and_mappings_give_the_same_budget(tmp_path):
    text = rows("{metric: params, max: 5M}")
    (tmp_path / "b.yaml").write_text(text)
    mapping = {
        "apiVersion": "hwn2n/v1",
        "name": "x",
        "constraints": [{"metric": "params", "max": "5M"}],
    }
    budgets = [load_budget(source) for source in (text, str(tmp_path / "b.yaml"), mapping)]
    assert {budget.rows[0].limit.value for budget in budgets} == {5e6}
    with pytest.raises(InputError, match=r"budget: constraints\[0\]\.max: "):
        load_budget(mapping | {"constraints": [{"metric": "params", "max": "5ms"}]})
    with pytest.raises(InputError, match="must be a path, YAML text or a mapping"):
        load_budget(5)


def test_the_whole_schema():
    budget = load_budget(
        """
apiVersion: hwn2n/v1
name: everything
description: each key once
target: {device: cuda, batch: 8, precision: bf16, round_to: 8, min_width: 16}
input: [8, 3, 32, 32]
constraints:
  - {metric: params, max: 5M}
  - {metric: latency, stat: p95, max: 10ms, tolerance: 2%, confidence: 0.9}
  - {metric: latency, stat: p50, scope: device, min: 1ms, max: 2ms, id: fast}
  - {metric: power, scope: net, max: 12W, severity: warn}
  - {metric: accuracy, min: -1pt}
  - id: combo
    sum:
      - {metric: latency, stat: p50, coef: 0.7, scale: 10ms}
      - {metric: flops, coef: 0.3, scale: 50%}
    max: 1.0
columns: [params, accuracy]
A: [[1, 0], [-1e-6, -2]]
b: [1e6, -1]
"""
    )
    assert budget.target == {
        "device": "cuda",
        "runtime": "eager",
        "precision": "bf16",
        "batch": 8,
        "threads": None,
        "power_mode": None,
        "power": {"source": "auto", "rail": None},
        "match": None,
        "round_to": 8,
        "min_width": 16,
    }
    assert budget.input == (8, 3, 32, 32)
    assert [row.id for row in budget.rows] == [
        *("params", "latency_p95", "fast-max", "fast-min", "power_avg_net", "accuracy", "combo"),
        *("A0", "A1"),
    ]
    assert (budget.rows[1].tolerance, budget.rows[1].confidence) == (0.02, 0.9)
    assert "power_avg_net" not in budget.columns
    assert budget.warning_columns == ("power_avg_net",)
    assert budget.relative_columns == ("flops", "accuracy")
    assert budget.rows[6].source == (
        "0.7 latency_p50/(10ms) + 0.3 flops/(50% of the teacher) <= 1 (budget:13)"
    )
    assert budget.rows[8].source == "-1e-06 params - 2 accuracy <= -1 (budget:19)"
    resolved = budget.resolve({"flops": Reading(1000), "accuracy": Reading(0.9)})
    combo = resolved.rows[5]
    assert combo.coefficients == pytest.approx({"latency_p50": 70.0, "flops": 0.3 / 500})
    assert [row.id for row in resolved.warnings] == ["power_avg_net"]


def test_two_rows_on_one_column_get_ids_of_their_own():
    budget = load_budget(rows("{metric: params, max: 5M}", "{metric: params, max: 50%}"))
    assert [row.id for row in budget.rows] == ["params", "params-2"]


def test_an_id_that_somebody_wrote_stays():
    budget = load_budget(
        rows(
            "{metric: params, max: 5M}",
            "{id: params, metric: flops, max: 1G}",
            "{metric: params, min: 1, max: 4M}",
            "{id: params-max, metric: params, max: 3M}",
            "{id: params-2, metric: params, max: 2M}",
        )
    )
    assert [row.id for row in budget.rows] == [
        *("params-3", "params", "params-max-2", "params-min", "params-max", "params-2")
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("- a\n", 1, "a budget must be a mapping"),
        ("name: x\nconstraints: []\n", 1, "the key 'apiVersion' must be given"),
        ("apiVersion: hwn2n/v2\nname: x\n", 1, "should be 'hwn2n/v1'"),
        (HEAD, 1, "at least one constraint"),
        (HEAD + "constraints: 5\n", 3, "a list must stand here; found 5"),
        (HEAD + "constrains: []\n", 3, "found 'constrains'; did you mean 'constraints'"),
        ("apiVersion: hwn2n/v1\nname: a b\n", 2, "a name must begin with a letter or digit"),
        ("apiVersion: hwn2n/v1\nname: 5\n", 2, "text must stand here; found 5"),
        (HEAD + "input: [1, 3, 32]\n", 3, "at least 4 items"),
        (HEAD + "input: [1, 3, 32, 0]\n", 3, "greater than or equal to 1"),
        (HEAD + "target: [cpu]\n", 3, "text must stand here"),
        (HEAD + "target:\n  device: cpu\n  batch: big\n", 5, "a whole number must stand here"),
        (HEAD + "target:\n  device: gpu\n", 4, "a device must be cpu, cuda or cuda:N"),
        (HEAD + "target:\n  power: {source: ina,\n   rails: a}\n", 5, "did you mean 'rail'"),
        (
            rows("{metric: params, max: 1}") + "target: {device: cpu,\n  runtime: tensorrt}\n",
            6,
            "runtime tensorrt must have device cuda or cuda:N; found cpu",
        ),
        (
            rows("{metric: params, max: 1}") + "target:\n  power: {source: rapl, rail: x}\n"
            "  device: cpu\n  match: {gpu: 1}\n",
            8,
            "text must stand here",
        ),
        (rows("5"), 4, "a mapping must stand here; found 5"),
        (rows("{metric: params, max: 1}", "{metric: params}"), 5, "must have max or min"),
        (rows("{metric: params, maxx: 1}"), 4, "did you mean 'max'"),
        (rows("{max: 1}"), 4, "the key 'metric' must be given"),
        (rows("{metric: speed, max: 1}"), 4, "metric must be one of params, flops"),
        (rows("{metric: latency, max: 10ms}"), 4, "stat of latency must be one of p50"),
        (rows("{metric: latency, stat: p95,\n     max: 10}"), 5, "a unit is needed, e.g. 10ms"),
        (rows("{metric: params, max: [1]}"), 4, "a quantity such as 5M, 10ms or 60%"),
        (rows("{metric: params, max: true}"), 4, "a quantity such as 5M, 10ms or 60%"),
        (rows("{metric: params, max: on}"), 4, "finite number"),
        (rows("{metric: params, max: .nan}"), 4, "finite number"),
        (rows("{metric: params, max: 1, tolerance: 2}"), 4, "text must stand here"),
        (rows("{metric: params, max: 1, tolerance: -2%}"), 4, "a tolerance must be a percentage"),
        (rows("{metric: params, max: 1, confidence: 1}"), 4, "less than 1"),
        (rows("{metric: params, max: 1, severity: no}"), 4, "'error' or 'warn'"),
        (rows(*["{id: a, metric: params, max: 1}"] * 2), 5, "an id must stand once; found 'a'"),
        (
            rows("{id: a, metric: params, min: 1, max: 2}", "{id: a-max, metric: flops, max: 1}"),
            5,
            "an id must stand once; found 'a-max' again",
        ),
        (rows("{sum: [], max: 1}"), 4, "at least 1 item"),
        (rows("{sum: [{metric: params}], max: 1}"), 4, "the key 'scale' must be given"),
        (rows("{sum: [{metric: flops, scale: 1ms}], max: 1}"), 4, "the unit of flops"),
        (rows("{sum: [{metric: flops, scale: 1, coef: 0}], max: 1}"), 4, "not zero; found 0"),
        (rows("{sum: [{metric: flops, scale: 1, coef: 1e-300}], max: 1}"), 4, "found 1e-300"),
        (rows("{sum: [{metric: accuracy, scale: -1pt}], max: 1}"), 4, "must not be a difference"),
        (rows("{sum: [{metric: flops, scale: 1}], max: 1ms}"), 4, "unit of the limit of a sum"),
        (rows("{sum: [{metric: flops, scale: 1}], max: 5%}"), 4, "must be a number; found 5%"),
        (
            rows("{sum: [{metric: flops, scale: 1}, {metric: flops, scale: 1}], max: 1}"),
            4,
            "must stand once in a sum",
        ),
        (HEAD + "columns: [params]\nA: [[1]]\n", 1, "belong together; found only columns, A"),
        (HEAD + "columns: [speed]\nA: [[1]]\nb: [1]\n", 3, "a column must be one of"),
        (HEAD + "columns: [params, params]\nA: [[1, 1]]\nb: [1]\n", 3, "must stand once"),
        (HEAD + "columns: [params]\nA: [[1, 2]]\nb: [1]\n", 4, "must have 1 numbers"),
        (HEAD + "columns: [params]\nA: [[0]]\nb: [1]\n", 4, "other than 0"),
        (HEAD + "columns: [params]\nA: [[.inf]]\nb: [1]\n", 4, "finite number"),
        (HEAD + "columns: [params]\nA: [[-1e-99]]\nb: [1]\n", 4, "0, or 1e-24 or more in size"),
        (HEAD + "columns: [params]\nA: [[1]]\nb: [1e-99]\n", 5, "0, or 1e-24 or more in size"),
        (HEAD + "columns: [params]\nA: [[1]]\nb: [1, 2]\n", 5, "as many rows; found 1 and 2"),
    ],
)
def test_bad_budgets_are_refused_with_their_line(text, line, message):
    with pytest.raises(InputError) as caught:
        load_budget(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"budget:{line}: ")
    assert "\n" not in str(caught.value)


def test_a_key_in_the_wrong_place_is_no_hint_at_itself():
    with pytest.raises(InputError, match=r"found 'metric'$"):
        load_budget(HEAD + "metric: params\n")


def test_numbers_from_python_may_be_of_any_size():
    base = {"apiVersion": "hwn2n/v1", "name": "x"}
    for data in (
        {"constraints": [{"metric": "params", "max": 10**500}]},
        {"columns": ["params"], "A": [[10**500]], "b": [1]},
    ):
        with pytest.raises(InputError):
            load_budget(base | data)


def test_budgets_are_read_without_torch():
    code = (
        "import sys; from hwn2n.budget.load import load_budget; "
        f"load_budget({str(BUDGETS / 'demo.yaml')!r}).resolve; "
        "import hwn2n.budget.cost, hwn2n.budget.matrix; "
        "heavy = ('torch', 'torchvision', 'scipy', 'numpy'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=BUDGETS.parent,
    )
    assert result.stdout.strip() == "[]"


def test_a_tolerance_reaches_as_far_as_it_says():
    for tenths in range(1, 1000):
        row = {"metric": "params", "max": 1000, "tolerance": f"{tenths / 10}%"}
        budget = load_budget({"apiVersion": "hwn2n/v1", "name": "x", "constraints": [row]})
        constraints = budget.resolve({})
        assert constraints.satisfied({"params": Reading(1000 + tenths)}), row
        assert not constraints.satisfied({"params": Reading(1001 + tenths)}), row
