"""Every command that stands in an example's docstring is run, in its order, on tiny settings."""

import ast
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from cli_tools import ROOT, SHORT, hwn2n

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
STUDENTS = {
    "torchvision_model": "runs/torchvision",
    "timm_model": "runs/timm",
    "own_class": "runs/own",
    "exported_program": "runs/program",
    "image_folder": "runs/folder",
}
QUICKER = {
    "compress": (*SHORT, "--set=train.max_images=60", "--set=train.batch_size=16", "--quiet"),
    "teach": ("--epochs=2", "--quiet"),
}


def commands(name):
    """The indented `python ...` and `hwn2n ...` lines of the docstring, continued ones joined."""
    text = ast.get_docstring(ast.parse((ROOT / "examples" / f"{name}.py").read_text()))
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    found = [line.strip() for line in joined.splitlines() if line.startswith("    ")]
    # the backslash is a continuation for Python, too: only the spaces behind it are left
    return [re.sub(r"\s+", " ", line) for line in found]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the examples and the photographs that they speak of."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "examples"))  # where Python finds a script's neighbours
    return tmp_path


def run(line, monkeypatch):
    program, *arguments = shlex.split(line)
    if program == "python":
        script, *rest = arguments
        if script.endswith("torchvision_model.py"):
            rest += ["--image-size=32", *SHORT, "--set=train.max_images=60"]
        monkeypatch.setattr(sys, "argv", [script, *rest])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            runpy.run_path(str(ROOT / script), run_name="__main__")
        return
    assert program == "hwn2n"
    done = hwn2n(*arguments, *QUICKER.get(arguments[0], ()))
    # a network with random weights, trained for an epoch, may end outside the budget by nothing
    assert done.code == 0, f"{line}: {done.err}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs(name, workplace, monkeypatch):
    if name == "timm_model":
        pytest.importorskip("timm")
    if name == "torchvision_model":
        pytest.importorskip("onnxruntime")
    lines = commands(name)
    assert lines and all(line.startswith(("python ", "hwn2n ")) for line in lines)
    if name != "image_folder":
        run("python examples/image_folder.py photos", monkeypatch)
    for line in lines:
        run(line, monkeypatch)
    result = json.loads((workplace / STUDENTS[name] / "result.json").read_text())
    teacher, student = (result[who]["cost"]["params"]["value"] for who in ("teacher", "student"))
    assert student <= 0.4 * teacher
    assert (workplace / STUDENTS[name] / "student.pt2").is_file()


def test_every_example_is_named_in_the_documentation():
    text = Path(ROOT / "docs" / "using.md").read_text()
    assert set(STUDENTS) == set(EXAMPLES)
    assert all(f"examples/{name}.py" in text for name in EXAMPLES)
