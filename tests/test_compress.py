"""`hwn2n.compress` from end to end on a small problem, and what lies in its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from safetensors.torch import load_file

import hwn2n
from hwn2n.commands.compress import Result
from hwn2n.errors import InputError
from hwn2n.hardware.counts import count
from hwn2n.network.architecture import Architecture
from hwn2n.network.files import load_teacher, save_teacher
from hwn2n.network.module import instantiate_with
from hwn2n.network.teachers import build_teacher
from hwn2n.run.ledger import Ledger
from hwn2n.search.policies import (
    RemovalPolicy,
    ShrinkagePolicy,
    load_policy,
)
from hwn2n.search.school import School
from hwn2n.search.settings import settings_from_json


class Spied:
    """Data whose test split tells when it was read."""

    def __init__(self, out: Path) -> None:
        self.reads: list[set[str]] = []
        self.out = out
        self.data = small.small_data(load_test=self._load)

    def _load(self) -> Any:
        self.reads.append(small.files(self.out))
        return small.images(90, seed=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, Spied]:
    out = tmp_path_factory.mktemp("runs") / "run"
    spied = Spied(out)
    return out, small.compress(out, data=spied.data), spied


def test_the_student_is_inside_and_the_result_says_so(run: tuple[Path, Result, Spied]) -> None:
    out, result, _ = run
    assert result.satisfied
    assert json.loads((out / "result.json").read_text()) == vars(result)
    assert result.student["cost"]["params"]["value"] <= 0.4 * 1131
    rows = {row["column"]: row for row in result.rows}
    assert rows["params"]["limit"] == pytest.approx(0.4 * 1131)
    assert all(row["satisfied"] for row in result.rows)
    assert result.candidates["all"] == sum(n for s, n in result.candidates.items() if s != "all")
    assert result.candidates["all"] == 9
    assert result.teacher["cost"]["params"]["value"] == 1131
    assert result.student["test_images"] == result.teacher["test_images"] == 90
    assert result.machine == {"device": "calm"}
    assert result.student["validation_accuracy"] > 0.5


def test_the_test_split_is_read_to_see_that_it_can_be_and_at_the_end(
    run: tuple[Path, Result, Spied],
) -> None:
    _, _, spied = run
    first, last = spied.reads
    assert first == set(), "before there is a run"
    assert {"student.pt2", "student.safetensors", "architecture.json"} <= last
    assert "result.json" not in last


def test_the_files_are_the_student(run: tuple[Path, Result, Spied]) -> None:
    out, result, _ = run
    images = torch.rand(5, *small.SHAPE, generator=torch.Generator().manual_seed(1))
    loaded = load_teacher(out / "student.pt2")
    plain = torch.export.load(out / "student.pt2").module()
    architecture = Architecture.from_json(json.loads((out / "architecture.json").read_text()))
    rebuilt = instantiate_with(architecture, load_file(out / "student.safetensors"))
    with torch.no_grad():
        logits = [model(images) for model in (loaded.model, plain, rebuilt)]
    assert torch.equal(logits[0], logits[1])
    torch.testing.assert_close(logits[0], logits[2], rtol=0, atol=1e-5)
    assert loaded.classes == small.CLASSES and loaded.input_shape == small.SHAPE
    data = small.small_data()
    assert (loaded.mean, loaded.std) == (data.mean, data.std)
    counts = count(rebuilt, images)
    for name in ("params", "flops", "weight_bytes"):
        assert result.student["cost"][name]["value"] == getattr(counts, name)
    assert result.student["export_difference"] < 1e-5
    assert all(not p.requires_grad or p.is_leaf for p in rebuilt.parameters())


def test_the_folder_can_be_read_on_its_own(run: tuple[Path, Result, Spied]) -> None:
    out, _, _ = run
    config = json.loads((out / "config.json").read_text())
    settings = settings_from_json(config["settings"])
    assert settings.final.augment == "crop", "resolved: as suits the data"
    assert settings.removal == small.settings().removal
    assert (out / "budget.yaml").read_text() == small.BUDGET
    for stage, kind in (("removal", RemovalPolicy), ("shrinkage", ShrinkagePolicy)):
        assert isinstance(load_policy(out / "policies" / f"{stage}.safetensors")[0], kind)
    ledger = Ledger(out / "ledger.sqlite")
    assert [c.stage for c in ledger.candidates()] == [
        "anchor",
        *["removal"] * 4,
        *["shrinkage"] * 4,
    ]
    ledger.close()


def test_the_paper_recipe_from_end_to_end(tmp_path: Path) -> None:
    settings = small.settings("paper", annealing=1)
    assert settings.weights == "fresh" and not settings.project and not settings.anchor
    result = small.compress(tmp_path / "run", recipe=settings, budget=None)
    assert result.satisfied and result.rows == [] and result.candidates["all"] == 8
    assert not (tmp_path / "run" / "budget.yaml").exists()


def test_the_callers_things_are_left_alone(tmp_path: Path) -> None:
    model = small.SmallNet()
    model.load_state_dict(small.small_teacher().model.state_dict())
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    small.compress(tmp_path / "run", model=model, recipe=small.settings(removal__updates=0))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training and all(module.training for module in model.modules())
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_policies_to_start_from(run: tuple[Path, Result, Spied], tmp_path: Path) -> None:
    learned = [run[0] / "policies" / f"{stage}.safetensors" for stage in ("removal", "shrinkage")]
    small.compress(tmp_path / "run", policies=learned, recipe=small.settings(final__epochs=1))
    given = {k: v for k, v in small.SHORT.items() if k != "strategy"}
    small.compress(tmp_path / "by-name", policies=learned, recipe="fast", overrides=given)
    config = json.loads((tmp_path / "by-name" / "config.json").read_text())
    assert config["settings"]["strategy"] == "policies", "policies are there to be used"
    shutil.rmtree(tmp_path / "by-name")
    copies = small.files(tmp_path / "run" / "policies")
    assert {"start-removal.safetensors", "start-shrinkage.safetensors"} <= copies
    with pytest.raises(InputError, match="must read the feature set 'paper', but reads 'normalis"):
        small.compress(tmp_path / "other", policies=learned, recipe=small.settings("paper"))
    assert small.files(tmp_path) == {f"run/{n}" for n in small.files(tmp_path / "run")} | {"run"}


def test_a_teachers_own_split_and_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "teacher.pt"
    save_teacher(
        path,
        build_teacher("digits-cnn", 1, 10, 8, seed=1),
        arch="digits-cnn",
        in_channels=1,
        num_classes=10,
        image_size=8,
        mean=(0.25,),
        std=(0.5,),
        data="digits",
        metadata={"split_seed": 11},
    )
    seen: list[Any] = []

    class EnoughError(Exception):
        pass

    def look(self: School, **options: Any) -> None:
        seen.append(options["data"])
        raise EnoughError

    monkeypatch.setattr(School, "__init__", look)
    for given in (None, 11, 4):
        with pytest.raises(EnoughError):
            hwn2n.compress(path, budget=None, data="digits", out=tmp_path / "r", split_seed=given)
    taught, same, other = (data.validation.images for data in seen)
    assert torch.equal(taught, same) and not torch.equal(taught, other)
    assert (seen[0].mean, seen[0].std) == ((0.25,), (0.5,))
    assert small.files(tmp_path) == {"teacher.pt"}


def test_a_damaged_run_is_one_line(run: tuple[Path, Result, Spied], tmp_path: Path) -> None:
    for name, content, message in (
        ("config.json", "[]", "must be the configuration of an hwn2n run"),
        ("config.json", '{"format": "hwn2n-run", "version": 99}', "version must be 1, but got 99"),
        ("config.json", '{"format": "hwn2n-run", "version": 1}', "damaged configuration"),
        ("result.json", '{"satisfied": true}', "must be the result of a run"),
    ):
        copy = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        copy.mkdir()
        for file in ("config.json", "budget.yaml"):
            (copy / file).write_bytes((run[0] / file).read_bytes())
        (copy / name).write_text(content)
        with pytest.raises(InputError, match=message) as caught:
            hwn2n.resume(copy)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="must be the folder of a run"):
        hwn2n.resume(tmp_path)


def test_a_damaged_result_is_one_line(run: tuple[Path, Result, Spied], tmp_path: Path) -> None:
    shutil.copytree(run[0], tmp_path / "run")
    path = tmp_path / "run" / "result.json"
    whole = json.loads(path.read_text())
    student = whole["student"]
    for change in (
        {"student": {}},
        {"rows": [{}]},
        {"teacher": [1]},
        {"student": {**student, "cost": {"params": 3}}},
        {"student": {**student, "test_accuracy": "0.9"}},
    ):
        path.write_text(json.dumps({**whole, **change}))
        for command in (hwn2n.resume, hwn2n.report):
            with pytest.raises(InputError, match=r"result\.json: must be the result") as caught:
                command(path.parent)
            assert "\n" not in str(caught.value)


def test_a_target_says_which_widths_it_likes(tmp_path: Path) -> None:
    budget = small.budget_text("{metric: params, max: 60%}").replace(
        "constraints:", "target: {device: cpu, round_to: 4, min_width: 4}\nconstraints:"
    )
    overrides = {**small.SHORT, "removal": {"updates": 0}, "shrinkage": {"updates": 0}}
    teacher = small.small_teacher()

    def widths(**more: Any) -> tuple[dict[str, Any], set[int]]:
        out = tmp_path / f"run{len(more)}"
        hwn2n.compress(
            teacher,
            data=small.small_data(),
            budget=budget,
            out=out,
            overrides={**overrides, **more},
        )
        plan = Architecture.from_json(json.loads((out / "architecture.json").read_text()))
        made = {op.config["out_channels"] for op in plan if op.kind == "conv2d"}
        return json.loads((out / "config.json").read_text())["settings"], made

    settings, made = widths()
    assert (settings["round_to"], settings["min_width"]) == (4, 4)
    assert all(width % 4 == 0 or width == small.WIDTHS["conv3"] for width in made)
    settings, made = widths(round_to=1)  # the search's own word counts more
    assert (settings["round_to"], settings["min_width"]) == (1, 4)
    assert any(width % 4 for width in made)
