"""Target files: what they may hold, and where they are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from budget_texts import BUDGETS, PROFILES, ROOT, WHOLE_TARGET

from hwn2n.budget import target_file
from hwn2n.budget.strict_yaml import parse_yaml
from hwn2n.budget.target_file import (
    find_target_file,
    is_device,
    known_targets,
    load_target_file,
    shipped_folders,
    target_of,
    target_settings,
)
from hwn2n.budget.target_schema import PowerModel, TargetModel
from hwn2n.budget.validate import validated, validated_file
from hwn2n.errors import InputError

HEAD = "apiVersion: hwn2n/v1\nkind: target\nname: x\n"
BUDGET = "apiVersion: hwn2n/v1\nname: b\nconstraints: [{metric: params, max: 1M}]\n"


def measured(text: str) -> str:
    """A target with one figure, which stands on line 5."""
    return (
        f"{HEAD}measured:\n  - {{model: m, input: [1, 3, 8, 8], date: d, versions: {{}},\n"
        f"     cost: {{{text}}}}}\n"
    )


def test_a_target_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "whole.yaml").write_text(WHOLE_TARGET)
    model = load_target_file(tmp_path / "whole.yaml")
    assert (model.name, model.device, model.batch) == ("whole", "cuda", 64)
    assert model.power == PowerModel(source="auto", rail="VIN")
    [figure] = model.measured
    assert figure.cost["latency_p50"].low == 0.0011
    assert figure.machine["deep"] == {"er": None}
    settings = target_settings(model)
    assert type(settings) is TargetModel
    assert settings == TargetModel(
        device="cuda", runtime="tensorrt", precision="fp16", batch=64, threads=4,
        power_mode="MAXN", power=model.power, match=model.match,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("5\n", 1, "a target must be a mapping; found 5"),
        (HEAD + "devise: cpu\n", 4, "found 'devise'; did you mean 'device'?"),
        (HEAD + "device: tpu\n", 4, "a device must be cpu, cuda or cuda:N; found 'tpu'"),
        (HEAD + "runtime: trtexec\n", 4, "'eager', 'compile', 'cuda-graph', 'onnxruntime'"),
        (HEAD + "runtime: tensorrt\n", 4, "must have device cuda or cuda:N; found cpu"),
        (HEAD + "device: cpu\nruntime: cuda-graph\n", 5, "must have device cuda or cuda:N"),
        (HEAD + "power:\n  rail: VIN\n  source: rapl\n  rails: 1\n", 7, "did you mean 'rail'?"),
        (HEAD + "power: {source: none, rail: VIN}\n", 4, "only the sources ina and rapl"),
        (HEAD + "match: {board: }\nbatch: 0\n", 5, "greater than or equal to 1; found 0"),
        (HEAD + "batch: 1.0\n", 4, "a whole number must stand here; found 1.0"),
        (HEAD.replace("x", "cpu"), 3, "must not have the name of a device; found 'cpu'"),
        (HEAD.replace("x", "a b"), 3, "a name must begin with a letter or digit"),
        (HEAD.replace("v1", "v2"), 1, "should be 'hwn2n/v1'; found 'hwn2n/v2'"),
        (HEAD.replace("target", "budget"), 2, "input should be 'target'; found 'budget'"),
        ("kind: target\nname: x\n", 1, "the key 'apiVersion' must be given"),
        (measured("speed: {value: 1}"), 6, "a column must be one of params, flops"),
        (measured("energy: 5"), 6, "a mapping must stand here; found 5"),
        (measured("energy: {value: 5J}"), 6, "a number must stand here; found '5J'"),
        (measured("energy: {value: .nan}"), 6, "finite number"),
        (measured("energy: {value: 2, low: 3}"), 6, "a reading must lie in its interval"),
        (measured("energy: {value: 2, how: cached}"), 6, "'exact' or 'measured'"),
        (HEAD + "measured: [{model: m}]\n", 4, "the key 'input' must be given"),
        (HEAD + "measured: [{model: m, machine: 3}]\n", 4, "must be given"),
    ],
)
def test_bad_target_files_are_refused_with_their_line(text: str, line: int, message: str) -> None:
    with pytest.raises(InputError) as caught:
        target_of(parse_yaml(text, name="t.yaml"))
    assert str(caught.value).startswith(f"t.yaml:{line}: ")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_devices_are_no_files() -> None:
    assert all(is_device(name) for name in ("cpu", "cuda", "cuda:0", "cuda:12"))
    names = ("", "cpu:0", "cuda:", "cuda:x", "cuda:1234", "CPU", "cpu\n", "cpu-1-thread")
    assert not any(is_device(name) for name in names)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with budgets/ and profiles/, a working directory of its own, and no checkout."""
    for folder in ("project/budgets/profiles", "project/profiles", "cwd/profiles", "hwn2n/shipped"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(target_file, "PACKAGE", tmp_path / "hwn2n")
    return tmp_path


def write(path: Path, name: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD.replace("name: x", f"name: {name or path.stem}"))
    return path


def test_a_name_is_looked_for_from_near_to_far(places: Path) -> None:
    project = places / "project"
    budgets = project / "budgets"
    (budgets / "x.yaml").write_text(BUDGET)
    order = [
        project / "profiles" / "x.yaml",
        project / "profiles" / "x.yml",
        budgets / "profiles" / "x.yaml",
        budgets / "x.yml",
        Path("profiles") / "x.yaml",
        places / "hwn2n" / "shipped" / "profiles" / "x.yaml",
    ]
    for path in order:
        write(path)
    for path in order:
        for beside in (budgets, budgets / "x.yaml", str(budgets)):
            found = find_target_file("x", beside)
            assert found == path
        path.unlink()
    # What is left is the budget of the same name, which is no target.
    assert find_target_file("x", budgets) is None


def test_a_name_without_a_budget(places: Path) -> None:
    write(places / "project/profiles/x.yaml")
    assert find_target_file("x") is None
    here = write(places / "cwd/profiles/x.yaml")
    assert find_target_file("x") == Path("profiles/x.yaml")
    assert find_target_file("x").resolve() == here  # type: ignore[union-attr]
    assert known_targets(places / "project/budgets") == ["x"]


def test_a_budget_in_the_working_directory_finds_its_neighbours(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(places / "project/profiles/x.yaml")
    monkeypatch.chdir(places / "project/budgets")
    Path("b.yaml").write_text(BUDGET)
    for beside in (Path(), Path("b.yaml"), Path("../budgets")):
        assert find_target_file("x", beside) == Path("../profiles/x.yaml")


def test_a_path_is_a_path(places: Path) -> None:
    budgets = places / "project/budgets"
    near, far = write(budgets / "own/t.yaml"), write(places / "cwd/own/t.yaml")
    assert find_target_file("own/t.yaml", budgets) == near
    assert find_target_file("own/t.yaml") == Path("own/t.yaml")
    assert find_target_file(str(far), budgets) == far
    write(budgets / "t.yaml")
    assert find_target_file("t.yaml", budgets) == budgets / "t.yaml"
    assert find_target_file("../profiles/none.yaml", budgets) is None
    assert find_target_file("own/", budgets) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a\0b", "a b", "é", "x" * 5000, "-", "a\n"])
def test_names_that_no_file_can_have(name: str, places: Path) -> None:
    assert find_target_file(name, places) is None
    assert find_target_file(f"{name}/x.yaml", places) is None


def test_shipped_targets_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in PROFILES.glob("*.yaml"):
        assert find_target_file(path.stem, tmp_path) == path
    assert ROOT / "budgets" in shipped_folders("budgets")


def test_somebody_elses_profiles_are_not_ours(places: Path) -> None:
    # An installed hwn2n lies in site-packages, where a folder "profiles" is another package.
    write(places / "profiles/x.yaml")
    assert find_target_file("x") is None
    (places / "pyproject.toml").touch()
    assert find_target_file("x") == places / "profiles/x.yaml"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("target: jetson-thro\n", 4, "found 'jetson-thro'; did you mean 'jetson-thor'?"),
        ("target: cuda:x\n", 4, "a target must be cpu, cuda, cuda:N, the name of a file"),
        ("target: ''\n", 4, "found ''"),
        ("target: ../profiles/none.yaml\n", 4, "a path to one; found '../profiles/none.yaml'"),
        ("target: cpu-1-thread\ninput: [8, 3, 9, 9]\n", 5, "that of the target, 1; found 8"),
        ("target: {batch: 4}\ninput: [8, 3, 9, 9]\n", 5, "that of the target, 4; found 8"),
    ],
)
def test_budgets_must_fit_their_target(text: str, line: int, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validated(parse_yaml(BUDGET + text, name="b.yaml"), BUDGETS)
    assert str(caught.value).startswith(f"b.yaml:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "target: cuda:7\ninput: [8, 3, 9, 9]\n",
        "target: datacenter-gpu\ninput: [64, 3, 9, 9]\n",
        "target: datacenter-gpu\n",
        "target: {device: cuda}\ninput: [8, 3, 9, 9]\n",
        "target: ../profiles/cpu-1-thread.yaml\n",
    ],
)
def test_budgets_that_fit_their_target(text: str) -> None:
    assert validated(parse_yaml(BUDGET + text), BUDGETS).name == "b"


def test_a_budget_of_a_broken_target_names_the_line_of_the_target(places: Path) -> None:
    target = write(places / "project/profiles/t.yaml", name="another")
    budget = places / "project/budgets/b.yaml"
    budget.write_text(BUDGET + "target: t\n")
    error = f"^{target}:3: a target must have the name of its file, 't'; found 'another'$"
    for path in (budget, target):
        with pytest.raises(InputError, match=error):
            validated_file(path)
    target.write_text(HEAD.replace("x", "t") + "batch: 0\n")
    with pytest.raises(InputError, match=rf"^{target}:4: .*greater than or equal to 1"):
        validated_file(budget)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: budget\nname: x\n", "b.yaml:1: kind must be target, or be left out of a budget"),
        ("name: x\ndevice: cpu\n", "b.yaml:1: the key 'apiVersion' must be given"),
        ("apiVersion: hwn2n/v1\nname: x\ndevice: cpu\n", "b.yaml:1: the key 'kind' must be given"),
        ("name: x\ndevice: cpu\nconstraints: []\n", "b.yaml:1: the key 'apiVersion' must be given"),
        (BUDGET + "device: cpu\n", "b.yaml:4: only known keys may stand here; found 'device'"),
        ("[]\n", "b.yaml:1: a budget must be a mapping; found []"),
    ],
)
def test_which_kind_of_file_it_is(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validated(parse_yaml(text, name="b.yaml"))
    assert str(caught.value).startswith(message)


def test_a_contradiction_is_refused() -> None:
    text = BUDGET + "columns: [params]\nA: [[-1]]\nb: [-2e6]\n"
    error = "^b.yaml:3 and b.yaml:5 contradict each other: params <= 1M and 1 params >= 2e"
    with pytest.raises(InputError, match=error):
        validated(parse_yaml(text, name="b.yaml"))
