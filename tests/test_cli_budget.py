"""`hwn2n budget` as a person or a hook types it."""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from budget_texts import BUDGETS, PROFILES, ROOT, SHIPPED, mutated
from cli_tools import Outcome, environment, hwn2n, process

from hwn2n.cli import app
from hwn2n.cli.budget import budget
from hwn2n.cli.failure import Invocation

HEAD = "apiVersion: hwn2n/v1\nname: x\n"

TEACHER = {
    "format": "hwn2n-profile",
    "version": 1,
    "model": "teacher.pt",
    "cost": {
        "params": {"value": 103466, "how": "exact"},
        "energy": {"value": 0.08, "how": "measured", "low": 0.07, "high": 0.09},
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two budgets, a teacher's cost and a target."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(
        HEAD + "target: bench\ninput: [2, 3, 8, 8]\ndescription: for a test\nconstraints:\n"
        "  - {metric: params, max: 10%, tolerance: 1.5%}\n"
        "  - {metric: accuracy, min: -1pt}\n"
        "  - {metric: energy, max: 50mJ, severity: warn, confidence: 0.9}\n"
        "  - {id: mix, sum: [{metric: params, scale: 1k}, {metric: energy, coef: -2, scale: 50%}],"
        " max: 3}\n"
    )
    (tmp_path / "bad.yaml").write_text(HEAD + "constraints:\n  - {metric: params, max: 5ms}\n")
    (tmp_path / "teacher.json").write_text(json.dumps(TEACHER))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "bench.yaml").write_text(
        "apiVersion: hwn2n/v1\nkind: target\nname: bench\ndevice: cuda\nbatch: 2\n"
    )
    return tmp_path


def test_validate_says_of_each_file_what_it_is(folder: Path) -> None:
    code, out, err = hwn2n(
        "budget", "validate", "good.yaml", "bad.yaml", "profiles/bench.yaml", "none.yaml"
    )
    assert code == 2
    assert out.splitlines() == [
        "good.yaml: ok, 4 constraints (1 only warns) over params, energy, accuracy",
        "profiles/bench.yaml: ok, target cuda eager fp32, batch 2",
    ]
    first, second = err.splitlines()
    assert first.startswith("error: bad.yaml:4: the unit of params must be one of none, k, M, G, T")
    assert second.startswith("error: 'none.yaml' must be a readable YAML file; found: No such file")


def test_validate_of_valid_files_is_quiet_on_stderr(folder: Path) -> None:
    code, out, err = hwn2n("budget", "validate", "good.yaml", "profiles/bench.yaml")
    assert (code, out.count("\n"), err) == (0, 2, "")


def test_validate_finds_what_only_two_places_together_show(folder: Path) -> None:
    (folder / "good.yaml").write_text(
        HEAD + "constraints:\n  - {metric: params, max: 1k}\n  - {metric: params, min: 2k}\n"
    )
    (folder / "batch.yaml").write_text(
        HEAD + "target: bench\ninput: [1, 3, 8, 8]\nconstraints: [{metric: params, max: 1}]\n"
    )
    (folder / "lost.yaml").write_text(
        HEAD + "target: benhc\nconstraints: [{metric: params, max: 1}]\n"
    )
    code, out, err = hwn2n("budget", "validate", "good.yaml", "batch.yaml", "lost.yaml")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "error: good.yaml:4 and good.yaml:5 contradict each other: params <= 1k and params >= 2k",
        "error: batch.yaml:4: the batch of the input must be that of the target, 2; found 1",
        "error: lost.yaml:3: a target must be cpu, cuda, cuda:N, the name of a file in profiles/ "
        "or a path to one; found 'benhc'; did you mean 'bench'?",
    ]


def test_names_of_files_cannot_break_the_line(folder: Path) -> None:
    (folder / "a\nb\x1b[31m.yaml").write_text(HEAD + "constraints: [{metric: params, max: 1}]\n")
    code, out, _ = hwn2n("budget", "validate", "a\nb\x1b[31m.yaml")
    assert code == 0
    assert out == "a b [31m.yaml: ok, 1 constraint over params\n"


def test_explain_in_columns_and_numbers(folder: Path) -> None:
    code, out, err = hwn2n("budget", "explain", "good.yaml")
    assert (code, err) == (0, "")
    mix = "1 params/(1k) - 2 energy/(50% of the teacher) <= 3"
    assert out.splitlines() == [
        "good.yaml: budget x, 4 rows",
        "for a test",
        "target bench (profiles/bench.yaml): cuda eager fp32, batch 2",
        "input: batch of 2, images of 3x8x8",
        "",
        "x   column    unit      known     meaning",
        "x1  params    -         counted   unique parameters, without buffers",
        "x2  energy    J         measured  energy of the inference of one image",
        "x3  accuracy  fraction  learned   top-1 on the validation images",
        "",
        "A x <= b, in these units (a lower limit is a negated row):",
        "row          x1                       x2  x3      b",
        "params        1                        0   0  <=  10% of the teacher",
        "accuracy      0                        0  -1  <=  -(teacher -1pt)",
        "energy        0                        1   0  <=  0.05 J",
        "mix       0.001  -2/(50% of the teacher)   0  <=  3",
        "",
        f"row       {'as written':<52}sense  tolerance  confidence  severity  line",
        f"params    {'params <= 10% of the teacher':<52}max    1.5%       exact       error     7",
        f"accuracy  {'accuracy >= teacher -1pt':<52}min    0%         95%         error     8",
        f"energy    {'energy <= 50mJ':<52}max    0%         90%         warn      9",
        f"mix       {mix:<52}max    0%         95%         error     10",
        "",
        "known before any training, exactly: params",
        "known before any training, by measuring on the target: energy",
        "known only by training: accuracy",
        "relative to the teacher (give --teacher-cost to see numbers): params, energy, accuracy",
        "no contradiction found: some cost is inside all rows that are numbers",
    ]


def test_explain_with_a_teacher(folder: Path) -> None:
    code, out, _ = hwn2n("budget", "explain", "good.yaml", "--teacher-cost", "teacher.json")
    assert code == 0
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()[12:17] if line}
    assert lines["params"] == ["1", "0", "0", "<=", "10346.6"]
    assert lines["mix"] == ["0.001", "-50", "0", "<=", "3"]  # -2 / (0.5 * 0.08)
    assert lines["accuracy"][-3:] == ["<=", "-(teacher", "-1pt)"]
    assert "teacher's cost: teacher.json" in out
    assert "relative to the teacher (not in it): accuracy" in out


def test_explain_as_json_is_the_matrix(folder: Path) -> None:
    arguments = ("budget", "explain", "good.yaml", "--json")
    found = hwn2n(*arguments, "--teacher-cost", "teacher.json").json
    assert (found["format"], found["version"]) == ("hwn2n-budget", 1)
    assert [column["name"] for column in found["columns"]] == ["params", "energy", "accuracy"]
    assert found["A"] == [[1, 0, 0], [0, 0, -1], [0, 1, 0], [0.001, -50, 0]]
    assert found["b"] == [10346.6, None, 0.05, 3]
    assert found["missing"] == ["accuracy"]
    assert found["settings"]["batch"] == 2 and found["target_file"] == "profiles/bench.yaml"
    assert [row["line"] for row in found["rows"]] == [7, 8, 9, 10]
    assert found["rows"][0]["unit"] == "" and found["rows"][2]["unit"] == "J"
    alone = hwn2n(*arguments).json
    assert alone["b"] == [None, None, 0.05, 3]
    assert alone["A"][3] == [0.001, None, 0]


def test_explain_shows_problems_and_goes_on(folder: Path) -> None:
    (folder / "b.yaml").write_text(
        HEAD + "target: nothing\nconstraints:\n  - {metric: params, max: 10%}\n"
        "  - {metric: params, min: 20k}\n"
    )
    code, out, _ = hwn2n("budget", "explain", "b.yaml", "--teacher-cost", "teacher.json")
    assert code == 0
    assert "target nothing: NOT FOUND" in out
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert problems[0].startswith("problem: b.yaml:3: a target must be cpu")
    assert problems[1] == (
        "problem: b.yaml:5 and b.yaml:6 contradict each other: params <= 10% of the teacher and "
        "params >= 20k"
    )
    assert len(hwn2n("budget", "explain", "b.yaml", "--json").json["problems"]) == 1


def test_explain_of_a_device_and_of_an_inline_target(folder: Path) -> None:
    rows = "constraints: [{metric: params, max: 1}]\n"
    for target, shown in (
        ("cuda:1", "target cuda:1: cuda:1 eager fp32"),
        ("{threads: 2}", "target inline: cpu eager fp32, threads 2"),
        ("~", "target: none named"),
    ):
        (folder / "b.yaml").write_text(f"{HEAD}target: {target}\n{rows}")
        assert shown in hwn2n("budget", "explain", "b.yaml").out.splitlines()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it cannot be read: No such file or directory"),
        ("{", "found: Expecting property name"),
        ("[" * 100_000, "found: "),
        ("\xff", "found: "),
        ('{"format": "other"}', "found format 'other'"),
        ('{"format": "hwn2n-profile"}', "found format 'hwn2n-profile'"),
        ("[]", "a cost must be an object of columns; found list"),
        ('{"speed": {"value": 1, "how": "exact"}}', "a column must be one of"),
        ('{"params": {"value": NaN, "how": "exact"}}', "must be finite"),
        ('{"params": 5}', "column params of a cost must have value and how"),
    ],
)
def test_a_teachers_cost_that_is_none(folder: Path, content: str | None, message: str) -> None:
    if content is not None:
        (folder / "cost.json").write_bytes(content.encode("latin-1"))
    outcome = hwn2n("budget", "explain", "good.yaml", "--teacher-cost", "cost.json")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(
        "error: cost.json: a teacher's cost must be JSON as hwn2n profile"
    )
    assert message in outcome.err


def test_a_profile_of_another_version_is_no_teachers_cost(folder: Path) -> None:
    (folder / "cost.json").write_text(json.dumps({**TEACHER, "version": 2}))
    outcome = hwn2n("budget", "explain", "good.yaml", "--teacher-cost", "cost.json")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "error: cost.json: the version of a profile must be 1; found 2\n"


def test_the_teacher_json_of_a_run_will_do(folder: Path) -> None:
    (folder / "teacher.json").write_text(json.dumps(TEACHER["cost"]))
    found = hwn2n("budget", "explain", "good.yaml", "--teacher-cost", "teacher.json", "--json").json
    assert found["b"][0] == 10346.6


def test_explain_wants_a_budget(folder: Path) -> None:
    code, out, err = hwn2n("budget", "explain", "profiles/bench.yaml", "--json")
    assert code == 2
    assert json.loads(out)["kind"] == "InputError"
    assert err == "error: profiles/bench.yaml:1: a budget must be given; found a target\n"


@pytest.mark.parametrize(
    ("arguments", "published"),
    [([], BUDGETS / "budget.schema.json"), (["--target"], PROFILES / "target.schema.json")],
)
def test_schema_prints_what_is_published(arguments: list[str], published: Path) -> None:
    assert hwn2n("budget", "schema", *arguments) == Outcome(0, published.read_text("utf-8"), "")


def test_without_a_command_there_is_help() -> None:
    outcome = hwn2n("budget")
    assert outcome.code == 0 and outcome == hwn2n("budget", "--help")
    assert all(word in outcome.out for word in ("validate", "explain", "schema", "Example:"))


@pytest.mark.parametrize("arguments", [["validate"], ["explain"], ["bogus"], ["schema", "x"]])
def test_usage_errors_are_one_line(arguments: list[str]) -> None:
    code, out, err = hwn2n("budget", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ") and "hwn2n budget" in err


def test_examples_in_the_help_can_be_typed() -> None:
    commands = typer.main.get_command(budget).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        _, _, block = (command.help or "").partition("Example:")
        lines = [shlex.split(line)[2:] for line in block.strip().splitlines()]
        assert lines
        for found, *arguments in lines:
            assert found == name
            arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
            command.make_context(name, arguments, obj=Invocation())
            files = [one for one in arguments if re.match(r"(budgets|profiles)/", one)]
            assert all((ROOT / file).is_file() for file in files)
        for parameter in command.params:
            assert getattr(parameter, "help", None), parameter.name
    assert "budget" in typer.main.get_command(app).commands  # type: ignore[attr-defined]


IMPORTS = """
import sys
from hwn2n.cli import main
code = main(sys.argv[1:])
heavy = ("torch", "torchvision", "numpy", "scipy", "onnxruntime", "pynvml")
print(code, [name for name in heavy if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", *map(str, SHIPPED)],
        ["explain", str(BUDGETS / "jetson-orin-nano.yaml")],
        ["schema"],
    ],
    ids=["validate", "explain", "schema"],
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, "budget", *arguments],
        capture_output=True, text=True, env=environment(), timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr.splitlines() == ["0 []"]


def test_broken_files_through_the_command_line(tmp_path: Path) -> None:
    rng = random.Random(11)
    expected, files = [], []
    for seed in rng.sample(range(10_000), 60):
        path = tmp_path / f"{seed}.yaml"
        path.write_text(mutated(seed), encoding="utf-8", errors="surrogatepass", newline="")
        files.append(path)
    for path in files:
        code, out, err = hwn2n("budget", "validate", path)
        assert "Traceback" not in err
        assert (code, out.count("\n"), err.count("\n")) in ((0, 1, 0), (2, 0, 1)), err
        if code == 2:
            assert re.match(rf"error: ({re.escape(str(path))}|\S+/profiles/\S+\.yaml):\d+", err)
        expected.append(code)
    assert set(expected) == {0, 2}
    together = hwn2n("budget", "validate", *files)
    assert together.code == 2
    assert together.err.count("\n") == expected.count(2)


def test_a_process_ends_with_two_and_one_line(folder: Path) -> None:
    (folder / "raw.yaml").write_bytes(b"\xff\xfe\x00")
    outcome = process("budget", "validate", "raw.yaml", "bad.yaml", "good.yaml", cwd=folder)
    assert outcome.code == 2
    assert outcome.out.startswith("good.yaml: ok")
    assert [line.split(":")[1].strip() for line in outcome.err.splitlines()] == [
        "raw.yaml",
        "bad.yaml",
    ]
