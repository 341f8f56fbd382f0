"""The paper's rows: none is missing, and each says what was run, at what size, and why not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.paper import __main__ as command
from benchmarks.paper.appendix import _evenly
from benchmarks.paper.figures import CIFAR10_1M, MNIST_20K, TABLE_1
from benchmarks.paper.images import FILES, find_images
from benchmarks.paper.lab import Lab, teacher_recipe
from benchmarks.paper.listing import listing, state
from benchmarks.paper.registry import ROWS, chosen
from benchmarks.paper.results import body, entries_of, is_finished, keep, page, shown
from benchmarks.paper.search import SAME
from benchmarks.paper.sizes import FULL, NARROW, SIZES, SMALL, TINY
from benchmarks.paper.students import STUDENTS, build_student
from benchmarks.paper.table4 import WITHIN
from benchmarks.runs import RESULTS
from hwn2n.distil.datasets import SOURCES
from hwn2n.errors import InputError
from hwn2n.network.teachers import TEACHERS, build_teacher
from hwn2n.search.recipes import RECIPES, build_settings
from hwn2n.search.settings import settings_to_json

TABLE_1_CASES = {
    "mnist-vgg13", "mnist-conv4", "cifar10-vgg19", "cifar10-resnet18", "cifar10-resnet34",
    "svhn-resnet18", "cifar100-resnet18", "cifar100-resnet34", "caltech256-resnet18",
    "imagenet32-resnet34",
}  # fmt: skip


def names(prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in ROWS if name.startswith(prefix)}


def entry(**changes: Any) -> dict[str, Any]:
    run = {
        "seed": 0, "params": 50_000, "test_accuracy": 0.98, "validation_accuracy": 0.97,
        "seconds": {"search": 90.0, "final_training": 10.0}, "inside": True,
    }  # fmt: skip
    values: dict[str, Any] = {
        "recipe": "fast",
        "size": "full",
        "said": "in full",
        "data": "CIFAR-10 (JPEG)",
        "seeds": [0],
        "device": "cpu",
        "teacher": {"arch": "resnet18", "params": 1_000_000, "test_accuracy": 0.92},
        "arms": {"student": [run], "uniform width, same size": [{"seed": 0, "reason": "none"}]},
        "machine": {"cpu": "a CPU"},
        "versions": {"torch": "2"},
        "date": "2026-01-01",
    }
    return {**values, **changes}


def test_every_experiment_of_the_paper_is_a_row() -> None:
    both = {f"{case}{stage}" for case in TABLE_1_CASES for stage in ("", "-stage1")}
    assert names("table1-") == both
    assert names("table2-") >= {"mnist-vgg13", "cifar10-vgg19", "cifar10-resnet18"}
    for student in ("fitnet4", "squeezenet", "vgg-small"):
        assert f"cifar10-resnet18-{student}" in names("table3-")
    assert names("table4-") == {
        "mnist-vgg13-20k", "cifar10-vgg19-1m", "cifar10-resnet18-latency",
        "cifar10-resnet18-power", "cifar10-resnet18-several", "mnist-vgg13-worst-class",
    }  # fmt: skip
    assert names("table5-") == {"resnet18-resnet34", "resnet34-resnet18", "vgg11-vgg19"}
    assert "cifar10-resnet18" in names("table6-")
    assert names("appendix-") == {"learner", "learning-rates", "batch-sizes", "reward"}


def test_rows_name_teachers_and_data_that_there_are() -> None:
    for row in ROWS.values():
        assert row.arch in TEACHERS and row.data in SOURCES and row.data in FILES
        for recipe in RECIPES:
            assert teacher_recipe(recipe, row.data, row.arch).epochs >= 5
    assert all(len(ROWS[name].seeds) == 5 for name in ROWS if name.startswith("table2-"))


def test_the_papers_figures_agree_with_themselves() -> None:
    for block in TABLE_1.values():
        for student in (block.stage1, block.both):
            if student is not None:
                assert block.teacher.params and student.params and student.compression
                times = block.teacher.params / student.params
                assert times == pytest.approx(student.compression, rel=0.02)
                assert student.accuracy_text.endswith("?")  # nobody has compared them yet
    assert (MNIST_20K.accuracy_text, MNIST_20K.compression_text) == ("98.91 %", "553x")
    assert CIFAR10_1M.compression_text == "35x"


def test_sizes_cut_both_recipes_to_valid_settings() -> None:
    for name, recipe in RECIPES.items():
        before = settings_to_json(recipe)
        assert FULL.overrides(before) == {}
        for size in (SMALL, NARROW, TINY):
            after = build_settings(name, size.overrides(before))
            assert after.final.max_images == size.images
            assert after.removal.updates == min(recipe.removal.updates, size.updates or 0)
            assert after.final.epochs == size.epochs and after.final.milestones == ()
            assert after.final_augment  # the data's own augmentation is not refused by a cut
    cut = TINY.training(teacher_recipe("paper", "cifar10", "resnet18"))
    assert (cut.epochs, cut.schedule, cut.augment) == (2, "cosine", "crop-flip")
    assert "300 train images" in TINY.describe() and SIZES["full"].describe() == "in full"


def test_a_narrow_lab_has_narrow_teachers_and_limits(tmp_path: Path) -> None:
    def limits(name: str, params: int, lab: Lab) -> tuple[Any, ...]:
        row = ROWS[name]
        of = SimpleNamespace(params=params, input_shape=(3, 32, 32), classes=10)
        return row.limits_of(lab, of)  # type: ignore[attr-defined, no-any-return]

    arch = NARROW.arch("vgg19")
    assert (arch, NARROW.arch("conv4"), SMALL.arch("vgg19")) == ("vgg19-w16", "conv4", "vgg19")
    assert "4 times fewer channels" in NARROW.describe() and "fewer" not in SMALL.describe()
    narrow = Lab(data_root=tmp_path, size=NARROW)
    params = sum(p.numel() for p in build_teacher(arch, 3, 10, 32).parameters())
    (limit,) = limits("table4-cifar10-vgg19-1m", params, narrow)
    assert limit["max"] == round(1e6 * params / 20_035_018)
    (limit,) = limits("table4-cifar10-vgg19-1m", 20_035_018, Lab(data_root=tmp_path))
    assert limit["max"] == 1_000_000
    several = limits("table4-cifar10-resnet18-several", params, narrow)
    assert [limit["max"] for limit in several[1:]] == ["25%", "50%"]


def test_the_narrowed_network_of_a_limited_row_is_inside_what_is_limited() -> None:
    baselines = {
        name.removeprefix("table4-"): row.baseline  # type: ignore[attr-defined]
        for name, row in ROWS.items()
        if name.startswith("table4-")
    }
    size = {name for name, baseline in baselines.items() if baseline == SAME}
    assert size == {"mnist-vgg13-20k", "cifar10-vgg19-1m", "mnist-vgg13-worst-class"}
    assert set(baselines.values()) == {SAME, WITHIN}


@pytest.mark.parametrize("name", STUDENTS)
def test_designed_students_can_be_narrower(name: str) -> None:
    full, narrow = (build_student(name, 3, 10, seed=0, narrower=n).eval() for n in (1, 4))
    widths = [
        [p.shape[0] for p in model.parameters() if p.dim() > 1][:-1] for model in (full, narrow)
    ]
    assert widths[0] == [4 * width for width in widths[1]]
    with torch.inference_mode():
        assert narrow(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_arms_of_the_appendix_have_equally_many_candidates() -> None:
    settings = RECIPES["fast"]
    for changes in ROWS["appendix-batch-sizes"].changes.values():  # type: ignore[attr-defined]
        even = build_settings("fast", _evenly(settings, changes))
        assert even.removal.updates * even.removal.rollouts == 50
    naive = ROWS["appendix-reward"].changes["A C"]  # type: ignore[attr-defined]
    assert build_settings("paper", naive).formula == "naive"


def test_the_list_says_what_was_run_and_why_not(tmp_path: Path) -> None:
    lab = Lab(data_root=tmp_path / "data", runs=tmp_path / "runs")
    (tmp_path / "data" / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "cifar10-jpeg.zip").touch()
    text = listing(ROWS.values(), lab, RESULTS)
    lines = text.splitlines()
    for name in ROWS:
        assert sum(line.startswith(f"  {name}: ") for line in lines) == 1
    assert "not run (data set SVHN is not at" in text
    assert "CIFAR-10 (JPEG), ResNet-18, stage 1" in text
    earlier = next(i for i, line in enumerate(lines) if "table4-mnist-vgg13-20k" in line)
    assert "recipe fast: run in full, on MNIST, seeds 0, 1, 2" in lines[earlier + 1]
    assert "recipe paper: not run (not yet run)" in lines[earlier + 1]
    assert lines[earlier + 2] == "      paper: student 98.91 %, 553x"
    assert "student 99.42%" in lines[earlier + 3] and "teacher 99.56%" in lines[earlier + 3]
    power = state(ROWS["table4-cifar10-resnet18-power"], {}, lab)
    assert "power_avg cannot be measured: no power source" in power
    cut = entry(size="small", said=SMALL.describe())
    said = state(ROWS["table1-cifar10-resnet18"], {"fast": cut}, lab)
    assert "run at reduced size (small: at most 4,000 train images" in said


def test_cifar10_is_the_real_one_where_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    found = find_images("cifar10", tmp_path, tmp_path / "images")
    assert found.title == "CIFAR-10 (JPEG)" and found.argument.startswith("imagefolder:")
    (tmp_path / "cifar10" / "cifar-10-batches-py").mkdir(parents=True)
    found = find_images("cifar10", tmp_path, tmp_path / "images")
    assert (found.title, found.argument, found.root) == ("CIFAR-10", "cifar10", tmp_path)
    with pytest.raises(InputError, match=r"CIFAR-100 is not at .*cifar-100-python"):
        find_images("cifar100", tmp_path)


def test_a_finished_row_is_kept_with_its_table(tmp_path: Path) -> None:
    row = ROWS["table1-cifar10-resnet18"]
    entries = keep(row, entry(), tmp_path)
    assert entries_of(row, tmp_path) == entries
    content = command.entries_of(row, tmp_path)["fast"]
    assert content["arms"]["student"][0]["params"] == 50_000
    lines = body(row, entries).splitlines()
    assert len(lines) == 3 and all(line.count("|") == len(row.columns) + 1 for line in lines)
    assert "CIFAR-10 (JPEG), ResNet-18" in lines[0] and "92.00% | 92.01 %?" in lines[0]
    assert "98.00 % | 91.81 %? | 50,000 | 20x | 11.1x? | 100" in lines[1]
    assert "| none |" in lines[2]
    assert shown(row, entries).endswith("not yet compared with the paper's text")
    assert shown(row, entries) in page([row], tmp_path).removeprefix("### ")
    keep(row, entry(size="small", said="small"), tmp_path)
    assert entries_of(row, tmp_path)["fast"]["size"] == "full"
    keep(row, entry(recipe="paper", size="small", said="small: less"), tmp_path)
    assert "paper, small |" in body(row, entries_of(row, tmp_path))


def test_finished_means_these_seeds_at_this_size() -> None:
    assert is_finished(entry(seeds=[0, 1]), "full", (0,))
    assert is_finished(entry(), "small", (0,))
    assert not is_finished(entry(), "full", (0, 1))
    assert not is_finished(entry(size="small"), "full", (0,))
    assert not is_finished(None, "full", (0,))


def test_patterns_choose_rows_and_unknown_names_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [row.name for row in chosen(["table4-mnist*", "table4-mnist-vgg13-20k"])] == [
        "table4-mnist-vgg13-20k", "table4-mnist-vgg13-worst-class",
    ]  # fmt: skip
    assert command.main(["table9"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_row_whose_data_is_missing_does_not_stop_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command.main(
        ["table1-svhn*", "--data-root", str(tmp_path), "--results", str(tmp_path / "results")]
    )
    assert code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "not run (data set" in line]
    assert len(said) == 2 and not (tmp_path / "results").exists()


def test_the_page_of_the_docs_shows_what_is_finished() -> None:
    text = (RESULTS.parents[1] / "docs" / "paper.md").read_text()
    assert page(ROWS.values(), RESULTS) in text, "python -m benchmarks.paper --page"
