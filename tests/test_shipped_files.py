"""Every budget, target, schema and hook that comes with hwn2n is what it says, and is installed."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from budget_texts import BUDGETS, PROFILES, ROOT, SHIPPED

from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget
from hwn2n.budget.target_file import is_device, load_target_file
from hwn2n.budget.target_schema import TargetFileModel
from hwn2n.budget.validate import validated_file
from hwn2n.commands.budget import explain

PRESETS = {
    *("demo", "jetson-orin-nano", "jetson-agx-orin", "jetson-thor", "phone-cpu", "raspberry-pi-5"),
    *("datacenter-gpu", "microcontroller", "ci", "cpu-latency", "mnist-20k", "cifar10-1m"),
}


def budgets() -> list[Path]:
    return [path for path in SHIPPED if path.parent == BUDGETS]


def profiles() -> list[Path]:
    return [path for path in SHIPPED if path.parent == PROFILES]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_every_file_is_valid_and_has_its_own_name(path: Path) -> None:
    found = validated_file(path)
    assert isinstance(found, Budget if path.parent == BUDGETS else TargetFileModel)
    assert found.name == path.stem


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_every_file_names_its_schema_and_says_what_it_is(path: Path) -> None:
    first, second, *_ = path.read_text(encoding="utf-8").splitlines()
    schema = "budget.schema.json" if path.parent == BUDGETS else "target.schema.json"
    assert first == f"# yaml-language-server: $schema={schema}"
    assert (path.parent / schema).is_file()
    assert second.startswith("# ")


@pytest.mark.parametrize("path", budgets(), ids=name)
def test_every_budget_can_be_explained(path: Path) -> None:
    found = explain(path)
    assert found.problems == ()
    matrix = found.to_json()
    assert len(matrix["A"]) == len(matrix["b"]) == len(found.rows) > 0
    assert all(len(numbers) == len(found.columns) for numbers in matrix["A"])
    # Something of each is known before any training.
    assert any(row.known == "counted" for row in found.rows)


def test_the_presets_are_there() -> None:
    assert {path.stem for path in budgets()} == PRESETS


def presets() -> list[Path]:
    """The targets that were written by hand; the others come from benchmarks with figures."""
    return [path for path in profiles() if not load_target_file(path).measured]


def test_targets_of_budgets_are_shipped_under_their_names() -> None:
    named = {load_budget(path).target for path in budgets()} - {None}
    files = {target for target in named if isinstance(target, str) and not is_device(target)}
    assert files == {path.stem for path in presets()}


def test_power_is_read_where_the_boards_have_it() -> None:
    power = {path.stem: load_target_file(path).power for path in presets()}
    found = {target: (model.source, model.rail) for target, model in power.items()}
    assert found == {
        "cpu-1-thread": ("auto", None),
        "datacenter-gpu": ("nvml-energy", None),
        "jetson-agx-orin": ("ina", None),  # the sum of its rails, which `power.ina` knows
        "jetson-orin-nano": ("ina", "VDD_IN"),
        "jetson-thor": ("ina", "VIN"),
        "phone-cpu": ("none", None),
        "raspberry-pi-5": ("none", None),
    }
    for path in budgets():
        budget = load_budget(path)
        if {"power_avg", "power_avg_net", "energy"} & {*budget.columns, *budget.warning_columns}:
            assert power[str(budget.target)].source != "none"


def test_the_gate_of_continuous_integration_decides_by_what_can_be_counted() -> None:
    budget = load_budget(BUDGETS / "ci.yaml")
    assert set(budget.columns) == {"params", "flops", "weight_bytes"}
    assert budget.warning_columns == ("peak_memory", "latency_p50")
    assert budget.relative_columns == ()
    resnet18 = {"params": 11_689_512, "flops": 1_824_033_792, "weight_bytes": 46_796_608}
    for row in budget.rows:
        if row.severity == "error":
            assert resnet18[row.columns[0]] <= row.limit.value


def test_a_microcontroller_asks_for_nothing_it_cannot_have() -> None:
    budget = load_budget(BUDGETS / "microcontroller.yaml")
    limits = {row.columns[0]: row.limit.value for row in budget.rows}
    assert limits["params"] == 250e3
    assert 4 * limits["params"] < limits["weight_bytes"] == 1024**2
    assert budget.target is None and budget.relative_columns == ()


def hooks() -> list[dict[str, Any]]:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load(text))


def test_the_hooks_are_valid_and_see_the_right_files() -> None:
    clientlib = pytest.importorskip("pre_commit.clientlib")
    loaded = clientlib.load_manifest(ROOT / ".pre-commit-hooks.yaml")
    assert [hook["id"] for hook in loaded] == ["hwn2n-budget", "hwn2n-budget-system"]
    assert [hook["language"] for hook in hooks()] == ["python", "system"]
    for hook in hooks():
        assert hook["entry"] == "hwn2n budget validate"
        pattern = re.compile(hook["files"])
        seen = [*(name(path) for path in SHIPPED), "a/b/budgets/x.yml"]
        unseen = [
            ".github/workflows/ci.yaml",
            "budgets.yaml",
            "budgets/x/y.yaml",
            "xbudgets/y.yaml",
        ]
        assert all(pattern.search(path) for path in seen)
        assert not any(pattern.search(path) for path in [*unseen, "budgets/budget.schema.json"])


def test_the_package_carries_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("setuptools.setup", lambda **arguments: given.update(arguments))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    modules = {path.parent for path in (ROOT / "hwn2n").rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in modules}
    shipped = {"hwn2n.shipped.budgets": "budgets", "hwn2n.shipped.profiles": "profiles"}
    assert set(given["packages"]) == packages | set(shipped)
    assert given["package_dir"] == shipped
    for package, folder in shipped.items():
        carried = {
            p for pattern in given["package_data"][package] for p in (ROOT / folder).glob(pattern)
        }
        assert carried == {path for path in (ROOT / folder).iterdir() if path.is_file()}
