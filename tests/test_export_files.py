"""Written files: what is in them, what they are compared with, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from cli_tools import hwn2n, tree
from networks import Mixed, Wrap, images, seeded
from safetensors import safe_open
from torch import nn

import hwn2n as package
from hwn2n.errors import Hwn2nError, InputError
from hwn2n.exporting import formats
from hwn2n.exporting.formats import FORMATS
from hwn2n.network.files import Teacher, load_teacher

SHAPE = (3, 8, 8)
SAID = {"classes": tuple("abcde"), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "data": "toys"}


def mixed_teacher():
    return Teacher(model=seeded(Mixed), input_shape=SHAPE, source="mixed", **SAID)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_safetensors_hold_plain_weights_and_rebuild_the_network(precision, tmp_path):
    out = tmp_path / "student.safetensors"
    package.export(mixed_teacher(), to="safetensors", out=out, precision=precision)
    with safe_open(out, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state = seeded(Mixed).state_dict()
    assert weights.keys() == state.keys()
    dtype = torch.float32 if precision == "fp32" else torch.float16
    assert all(torch.equal(weights[name], state[name].to(weights[name].dtype)) for name in state)
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {dtype}
    rebuilt = load_teacher(out)
    assert (rebuilt.classes, rebuilt.mean, rebuilt.data) == (SAID["classes"], SAID["mean"], "toys")
    given = images(SHAPE, 3)
    with torch.no_grad():
        difference = (rebuilt.model(given) - seeded(Mixed)(given)).abs().max()
    assert difference <= (0 if precision == "fp32" else 5e-3)
    beside = json.loads((tmp_path / "student.architecture.json").read_text())
    assert beside["format"] == "hwn2n-architecture" and beside["input_shape"] == [3, 8, 8]
    with pytest.raises(InputError, match="input shape must be that of the network"):
        load_teacher(out, input_shape=(3, 9, 9))


def test_onnx_files_name_their_parts_and_carry_no_traces_of_the_machine(tmp_path):
    onnx = pytest.importorskip("onnx")
    out = tmp_path / "student.onnx"
    package.export(mixed_teacher(), to="onnx", out=out)
    model = onnx.load(out)
    (given,), (logits,) = model.graph.input, model.graph.output
    assert (given.name, logits.name) == ("images", "logits")
    sizes = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert sizes == ["batch", 3, 8, 8]
    assert logits.type.tensor_type.shape.dim[0].dim_param == "batch"
    said = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert said["classes"] == list("abcde") and said["mean"] == [0.4, 0.5, 0.6]
    content = out.read_bytes()
    assert b"site-packages" not in content and str(Path.cwd()).encode() not in content


@pytest.fixture
def run(digits_run):
    return digits_run[0]


@pytest.mark.parametrize("to", list(FORMATS))
def test_the_student_of_a_run_is_compared_on_its_own_data(to, run, tmp_path):
    out = tmp_path / f"x{FORMATS[to].suffix}"
    done = hwn2n("export", run, "--to", to, "-o", out, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert found["format"] == "hwn2n-export" and found["to"] == to and found["note"] is None
    assert found["real"]["data"] == "digits" and found["real"]["images"] == 32
    assert found["real"]["agreement"] == 1.0
    assert found["real"]["largest"] < 1e-4 * max(1.0, found["real"]["scale"])


def test_a_student_that_nobody_has_proven_yet_is_not_exported(run, tmp_path):
    part = shutil.copytree(run, tmp_path / "part")
    (part / "result.json").unlink()
    done = hwn2n("export", part, "--to", "onnx", "-o", tmp_path / "x.onnx")
    assert done.code == 2 and "the run must have a student, but it has none yet" in done.err
    assert not (tmp_path / "x.onnx").exists()


def test_a_run_whose_data_is_gone_is_exported_with_a_note(run, tmp_path, monkeypatch):
    def gone(*_, **__):
        raise InputError("digits: not there")

    monkeypatch.setattr("hwn2n.commands.request.load_data", gone)
    done = hwn2n("export", run, "--to", "safetensors", "-o", tmp_path / "x.safetensors")
    assert done.code == 0, done.err
    assert "not compared on real images: digits: not there" in done.out
    done = hwn2n(
        "export", run, "--to", "python", "-o", tmp_path / "x.py", "--data", "none", "--precision",
        "fp16",
    )  # fmt: skip
    assert done.code == 0 and "as asked" in done.out and "fp16" in done.out


def test_text_names_files_and_differences(run, tmp_path):
    done = hwn2n("export", run, "--to", "python", "-o", tmp_path / "deep" / "x.py")
    assert done.code == 0, done.err
    first, random, real = done.out.splitlines()
    assert str(tmp_path / "deep" / "x_weights.safetensors") in first and "KiB" in first
    assert "8 random images" in random and "32 images of digits" in real


def test_data_that_was_asked_for_must_fit(run, tmp_path):
    out = tmp_path / "x.pt2"
    done = hwn2n(
        "export", run, "--to", "torch-export", "-o", out, "--data", "digits", "--image-size", 9
    )
    assert done.code == 2 and "takes images of shape (1, 8, 8)" in done.err
    done = hwn2n("export", run, "--to", "torch-export", "-o", out, "--data", "imagefolder:nowhere")
    assert done.code == 2 and "nowhere" in done.err
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--to", "tflite", "-o", "x.tflite"], "must be one of torch-export, onnx, safetensors"),
        (["--to", "onnx", "-o", "x.pt2"], "must end in .onnx"),
        (["--to", "python", "-o", "x.py", "--precision", "int8"], "must be one of fp32, fp16"),
        (["--to", "python", "-o", "teacher.pt/x.py"], "must be writable"),
        (["--to", "python", "-o", "x.py", "--arch", "resnet18"], "a run knows its student"),
        (["--to", "python", "-o", "x.py", "--image-size", "9"], "are for --data, which is missing"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(arguments, error, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("teacher.pt").write_text("a file, no folder")
    done = hwn2n("export", run, *arguments)
    assert done.code == 2 and error in done.err and done.err.count("\n") == 1
    assert tree(tmp_path) == {tmp_path / "teacher.pt"}


def test_a_link_stays_one_and_a_pipe_too(run, tmp_path):
    link, pipe = tmp_path / "link.pt2", tmp_path / "pipe.pt2"
    link.symlink_to("real.pt2")
    os.mkfifo(pipe)
    assert hwn2n("export", run, "--to", "torch-export", "-o", link).code == 0
    assert link.is_symlink() and torch.export.load(tmp_path / "real.pt2")
    done = hwn2n("export", run, "--to", "torch-export", "-o", pipe)
    assert done.code == 2 and "it is a device or a pipe, not a file" in done.err
    assert tree(tmp_path) == {link, pipe, tmp_path / "real.pt2"} and pipe.is_fifo()


def test_a_run_without_a_student_says_how_to_go_on(run, tmp_path):
    begun = tmp_path / "with a space"
    begun.mkdir()
    (begun / "config.json").write_bytes((run / "config.json").read_bytes())
    done = hwn2n("export", begun, "--to", "python", "-o", tmp_path / "x.py")
    assert done.code == 2 and done.err.endswith(f"hwn2n compress --resume '{begun}'\n")


def test_the_extra_is_named_where_onnx_is_missing(tmp_path, monkeypatch):
    def without(name):
        return None if name in ("onnx", "onnxruntime") else object()

    monkeypatch.setattr("hwn2n.network.onnx_model.importlib.util.find_spec", without)
    with pytest.raises(InputError, match=r"hwn2n\[onnx\].*missing: onnx, onnxruntime"):
        package.export(mixed_teacher(), to="onnx", out=tmp_path / "x.onnx")


def loud(m, x):
    return m.head((m.conv(x) * 3e6).mean((2, 3)))


def test_a_network_that_overflows_in_fp16_is_refused(tmp_path):
    teacher = Teacher(model=seeded(lambda: Wrap(loud)), input_shape=SHAPE, source="loud")
    with pytest.raises(InputError, match=r"loud: .*finite logits in fp16.*fp32"):
        package.export(teacher, to="python", out=tmp_path / "x.py", precision="fp16")
    assert not tree(tmp_path)


class Wrong(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) + 0.01


def test_a_file_that_computes_something_else_is_not_delivered(tmp_path, monkeypatch):
    kept = tmp_path / "x.pt2"
    kept.write_text("what was there")
    exported = formats.export
    monkeypatch.setattr(formats, "export", lambda model, *a, **k: exported(Wrong(model), *a, **k))
    with pytest.raises(Hwn2nError, match=r"logits differ by 0\.01"):
        package.export(mixed_teacher(), to="torch-export", out=kept)
    assert tree(tmp_path) == {kept} and kept.read_text() == "what was there"


def test_a_damaged_architecture_in_the_weights_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    for text, error in (
        ("{", "must be JSON"),
        ('{"format": "other"}', "must be an hwn2n architecture"),
    ):
        save_file({"a": torch.zeros(1)}, path, metadata={"architecture": text})
        with pytest.raises(InputError, match=error):
            load_teacher(path)
    package.export(mixed_teacher(), to="safetensors", out=path)
    with safe_open(path, framework="pt") as file:
        texts = file.metadata()
    save_file({"stem.weight": torch.zeros(1)}, path, metadata=texts)
    with pytest.raises(InputError, match="weights must be those of the architecture"):
        load_teacher(path)
