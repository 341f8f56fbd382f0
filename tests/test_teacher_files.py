"""Teacher files: every format loads to the same network, and no file runs code."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crafted
import pytest
import safetensors.torch
import torch
from crafted import BOMBS, IMAGE, Tiny, edited, exported, old_format, rezip, saved, tiny, unzip
from torch import Tensor, nn
from torch.export import Dim

from hwn2n.errors import InputError
from hwn2n.network.files import load_teacher, save_teacher
from hwn2n.network.files.archive import MAX_EXPANSION
from hwn2n.network.files.detect import FileFormat, detect_format
from hwn2n.network.files.expressions import clean_expression
from hwn2n.network.files.guard import weights_only
from hwn2n.network.files.operators import check_operator
from hwn2n.network.teachers import build_teacher

TINY = "crafted:Tiny"
SIZES: dict[str, Any] = {"in_channels": 1, "num_classes": 10, "image_size": 8}


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, *IMAGE, generator=torch.Generator().manual_seed(1))


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def refused(path: Path, **options: object) -> str:
    """The message of the refusal: one line that begins with the file."""
    with pytest.raises(InputError) as caught:
        load_teacher(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def same_logits(model: nn.Module, other: nn.Module, images: Tensor) -> bool:
    with torch.inference_mode():
        return torch.equal(model(images), other(images))


# --- every format loads ----------------------------------------------------------------------


def test_own_file_keeps_everything(tmp_path: Path, images: Tensor) -> None:
    model = build_teacher("digits-cnn", 1, 10, 8).eval()
    path = tmp_path / "runs" / "teacher.pt"
    names = tuple("0123456789")
    metadata = {"test_accuracy": 0.975, "recipe": {"epochs": 3, "name": "fast"}}
    save_teacher(
        path, model, arch="digits-cnn", **SIZES, classes=names, mean=(0.3,), std=(0.5,),
        data="digits", metadata=metadata,
    )  # fmt: skip
    teacher = load_teacher(path)
    assert same_logits(teacher.model, model, images)
    assert not teacher.model.training
    assert teacher.arch == "digits-cnn"
    assert teacher.input_shape == (1, 8, 8)
    assert (teacher.classes, teacher.mean, teacher.std) == (names, (0.3,), (0.5,))
    assert (teacher.data, teacher.metadata, teacher.source) == ("digits", metadata, str(path))
    assert teacher.program is None
    assert names_in(path.parent) == ["teacher.pt"]  # no temporary file is left
    assert torch.load(path, weights_only=True)["format"] == "hwn2n-teacher"


def test_own_file_that_fails_to_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "teacher.pt", b"the old one")

    def torn(content: object, file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(InputError, match="No space left"):
        save_teacher(path, build_teacher("digits-cnn", 1, 10, 8), arch="digits-cnn", **SIZES)
    assert path.read_bytes() == b"the old one"
    assert names_in(tmp_path) == ["teacher.pt"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": weights},
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {name: value.half().float() for name, value in weights.items()},
    ],
    ids=["plain", "state_dict", "model", "data_parallel", "copied"],
)
def test_state_dict_of_a_builtin_architecture(tmp_path: Path, images: Tensor, wrap: object) -> None:
    model = build_teacher("digits-cnn", 1, 10, 8).eval()
    model.load_state_dict({k: v.half().to(v.dtype) for k, v in model.state_dict().items()})
    path = written(tmp_path / "w.pt", saved(wrap(model.state_dict())))  # type: ignore[operator]
    teacher = load_teacher(path, arch="digits-cnn", input_shape=(1, 8, 8))
    assert same_logits(teacher.model, model, images)
    assert teacher.input_shape == (1, 8, 8)


def test_state_dict_with_what_its_file_says_beside_it(tmp_path: Path) -> None:
    said: dict[str, object] = {"classes": ["a", "b", "c"], "mean": [0.5], "std": [0.25]}
    content = {"state_dict": tiny().state_dict(), "hwn2n": said}
    teacher = load_teacher(written(tmp_path / "w.pt", saved(content)), arch=TINY)
    assert teacher.classes == ("a", "b", "c")
    assert (teacher.mean, teacher.std) == ((0.5,), (0.25,))
    said["std"] = [0.0]
    message = refused(written(tmp_path / "w.pt", saved(content)), arch=TINY)
    assert "w.pt: hwn2n: std must be positive, found (0.0,)" in message


def test_state_dict_of_a_factory_in_the_current_directory(
    tmp_path: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_networks.py").write_text(
        "from crafted import Tiny\n"
        "def small(classes):\n"
        "    return Tiny() if classes == 3 else None\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    path = written(tmp_path / "w.pth", saved(tiny().state_dict()))
    teacher = load_teacher(path, arch="my_networks:small", arch_kwargs={"classes": 3})
    assert same_logits(teacher.model, tiny(), images)
    assert (teacher.arch, teacher.input_shape) == ("my_networks:small", None)
    assert str(tmp_path) not in sys.path


def test_state_dict_in_the_legacy_format_of_torch(tmp_path: Path, images: Tensor) -> None:
    torch.save(tiny().state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert same_logits(load_teacher(tmp_path / "w.pt", arch=TINY).model, tiny(), images)


def test_safetensors(tmp_path: Path, images: Tensor) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(tiny().state_dict(), path, metadata={"epochs": "3"})
    teacher = load_teacher(path, arch=TINY, input_shape=IMAGE)
    assert same_logits(teacher.model, tiny(), images)
    assert teacher.metadata == {"epochs": "3"}


def test_safetensors_with_headers_of_every_length(tmp_path: Path) -> None:
    """One length in 32 begins with the byte of a pickle, and few with those of a zip."""
    weights, path = tiny().state_dict(), tmp_path / "w.safetensors"

    def length(pad: int) -> int:
        path.write_bytes(safetensors.torch.save(weights, metadata={"pad": "x" * pad}))
        return int.from_bytes(path.read_bytes()[:8], "little")

    least = length(0)
    for wanted in (*range(0x1000, 0x1100, 8), 0x4B50):
        assert length(wanted - least) == wanted
        assert detect_format(path) is FileFormat.SAFETENSORS
        loaded = load_teacher(path, arch=TINY).model.state_dict()
        assert all(torch.equal(loaded[name], weight) for name, weight in weights.items())


def test_exported_program_with_sample_inputs(tmp_path: Path, images: Tensor) -> None:
    archive = exported()
    assert unzip(archive)["archive/data/sample_inputs/model.pt"]
    teacher = load_teacher(written(tmp_path / "any.name", archive))
    assert teacher.program is not None
    assert teacher.input_shape == IMAGE
    assert teacher.arch is None
    for model in (teacher.model, teacher.program.module()):
        assert same_logits(model, tiny(), images)
    assert not teacher.model.eval().training


def test_exported_program_with_what_hwn2n_adds(tmp_path: Path) -> None:
    said = {"classes": ["a", "b", "c"], "mean": [0.5], "std": [0.25], "data": "digits"}
    archive = exported(extra_files={"hwn2n.json": json.dumps(said), "notes.txt": "free text"})
    teacher = load_teacher(written(tmp_path / "t.pt2", archive))
    assert teacher.classes == ("a", "b", "c")
    assert (teacher.mean, teacher.std, teacher.data) == ((0.5,), (0.25,), "digits")
    said["classes"].append("d")  # type: ignore[attr-defined]
    archive = exported(extra_files={"hwn2n.json": json.dumps(said)})
    assert "3 outputs" in refused(written(tmp_path / "t.pt2", archive))


def test_exported_program_of_old_formats(tmp_path: Path, images: Tensor) -> None:
    members = old_format(exported())
    until_2_7 = written(tmp_path / "old.pt2", rezip(members))
    assert same_logits(load_teacher(until_2_7).model, tiny(), images)

    between = unzip(exported())
    between["archive/data/weights/model.pt"] = members["serialized_state_dict.pt"]
    del between["archive/data/weights/model_weights_config.json"]
    path = written(tmp_path / "2.8.pt2", rezip(between))
    assert same_logits(load_teacher(path).model, tiny(), images)


def test_exported_program_of_any_image_size(tmp_path: Path) -> None:
    shapes = ({0: Dim("batch"), 2: Dim("height"), 3: Dim("width")},)
    path = written(tmp_path / "t.pt2", exported(dynamic_shapes=shapes))
    assert "--input-shape" in refused(path)
    teacher = load_teacher(path, input_shape=(1, 12, 9))
    assert teacher.input_shape == (1, 12, 9)
    assert teacher.model(torch.zeros(2, 1, 12, 9)).shape == (2, 3)
    assert "(1, dynamic, dynamic)" in refused(path, input_shape=(3, 12, 9))


def test_program_exported_on_another_device_loads_on_the_cpu(
    tmp_path: Path, images: Tensor
) -> None:
    members = unzip(exported())
    for name in ("models/model.json", "data/weights/model_weights_config.json"):
        text = members[f"archive/{name}"].decode()
        on_gpu = text.replace('"type": "cpu", "index": null', '"type": "cuda", "index": 0')
        assert on_gpu != text
        members[f"archive/{name}"] = on_gpu.encode()
    teacher = load_teacher(written(tmp_path / "t.pt2", rezip(members)))
    assert same_logits(teacher.model, tiny(), images)


def test_pickled_module_needs_the_flag(tmp_path: Path, images: Tensor) -> None:
    path = written(tmp_path / "t.pt", saved(tiny().double()))
    message = refused(path)
    assert "crafted.Tiny" in message
    assert "--unsafe-pickle" in message
    teacher = load_teacher(path, unsafe_pickle=True, input_shape=IMAGE)
    assert same_logits(teacher.model, tiny(), images)
    wrapped = written(tmp_path / "p.pt", saved(nn.DataParallel(tiny())))
    assert same_logits(load_teacher(wrapped, unsafe_pickle=True).model, tiny(), images)


# --- nothing in a file runs ------------------------------------------------------------------


REASONS = {
    "pickled_module": "a pickle that calls",
    "pickled_module_old_format": "a pickle that calls crafted.LoadedModule",
    "bare_pickle": "damaged or of another kind (Unsupported operand 149)",
    "state_dict": "a pickle that calls",
    "own_file": "a pickle that calls",
    "pickled_weight": "'fc.bias' is stored as a pickle",
    "pickled_weights_record": "data/weights/model.pt must hold only tensors",
    "pickled_samples": "the sample inputs of a .pt2 must hold only tensors",
    "opaque_constant": "opaque_obj_0' is a pickled object",
    "old_format_state_dict": "serialized_state_dict.pt must hold only tensors",
    "old_format_samples": "the sample inputs of a .pt2 must hold only tensors",
    "expression": "an expression must be arithmetic",
    "old_format_expression": "an expression must be arithmetic",
    "value_name": "names must be identifiers",
    "argument_name": "names must be identifiers",
    "weight_name": "names of weights must be dotted names",
    "tree_import": "found 'collections.defaultdict'",
    "file_operator": "found 'torch.ops.aten.from_file.default'",
    "shell_operator": "found 'torch.os.system'",
    "compiled_code": "is compiled code",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_do_not_run(
    bomb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    marker = tmp_path / "marker"
    path = written(tmp_path / "bomb.pt2", BOMBS[bomb](marker))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    assert REASONS[bomb] in refused(path)
    assert not marker.exists()
    # Neither does a hostile or careless environment let it run.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    refused(path)
    assert not marker.exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_guards_are_dropped(tmp_path: Path, images: Tensor) -> None:
    marker = tmp_path / "marker"
    teacher = load_teacher(written(tmp_path / "t.pt2", crafted.guard(marker)))
    assert teacher.program is not None
    for model in (teacher.model, teacher.program.module()):
        assert same_logits(model, tiny(), images)
    assert not marker.exists()


@pytest.mark.parametrize(
    "bomb",
    [
        crafted.pickled_module,
        crafted.bare_pickle,
        crafted.state_dict,
        crafted.pickled_weight,
        crafted.pickled_samples,
        crafted.opaque_constant,
        crafted.old_format_state_dict,
        crafted.expression,
        crafted.guard,
        crafted.value_name,
        crafted.tree_import,
        crafted.file_operator,
    ],
)
def test_bombs_are_live(
    bomb: Callable[[Path], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hwn2n's checks torch does run them: the tests above refuse something real."""
    marker = tmp_path / "marker"
    data = bomb(marker)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    with contextlib.suppress(Exception):
        torch.load(io.BytesIO(data), weights_only=False)
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.suppress(Exception):
            torch.export.load(io.BytesIO(data)).module()(torch.zeros(2, *IMAGE))
    finally:
        logging.disable(logging.NOTSET)
    if not marker.exists():
        pytest.skip(f"torch {torch.__version__} no longer runs this one")


def test_own_file_does_not_choose_what_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Tensor
) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "outside.py").write_text(
        f"open({str(marker)!r}, 'w').close()\nfrom crafted import Tiny\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "teacher.pt"
    sizes = {**SIZES, "num_classes": 3}
    save_teacher(path, tiny(), arch="outside:Tiny", **sizes)
    assert "--arch outside:Tiny" in refused(path)
    assert not marker.exists()
    teacher = load_teacher(path, arch="outside:Tiny")
    assert same_logits(teacher.model, tiny(), images)
    assert teacher.input_shape == (1, 8, 8)


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(-1))",
        "FloorDiv(Symbol('s1'), Integer(4)) >= 2",
        "2*s0 // 3 + s1 % 2",
        "Pow(Symbol('s0'), Integer(2))",
        "Max(1, u0)",
        "Float('0.5', precision=53)",
        "-oo",
    ],
)
def test_shape_expressions_pass(text: str) -> None:
    assert clean_expression(text).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "Symbol('s0').__class__",
        "Symbol(__import__('os').name)",
        "Symbol('s0', integer=print())",
        "Symbol('s0 + exit()')",
        "exit()",
        "(lambda: 1)()",
        "[1 for _ in range(9)]",
        "Integer('1+1')",
        "Float('exit()')",
        "Pow(9, Pow(9, 9))",
        "9**9**9",
        "1 #\n+ exit()",
        "s0 if s0 else exit()",
        "sqrt(s0)",
        "e\u0301",
        "(" * 500 + "1" + ")" * 500,
        "1+" * 1500 + "1",
        "",
    ],
)
def test_other_expressions_do_not(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        clean_expression(text)


@pytest.mark.parametrize(
    ("target", "passes"),
    [
        ("torch.ops.aten.conv2d.default", True),
        ("torch.ops.aten.add_.Tensor", True),
        ("torch.ops.aten._softmax.default", True),
        ("_operator.floordiv", True),
        ("torch.os.system", False),
        ("torch.hub.load", False),
        ("_operator.attrgetter", False),
        ("_operator.pow", False),
        ("torch.ops.aten.from_file.default", False),
        ("torch.ops.aten.__init__.__globals__", False),
        ("torch.ops.aten.__class__.mro", False),
        ("torch.ops.aten.conv2d.__class__", False),
        ("torch.ops.aten.no_such_operator.default", False),
        ("torch.ops.higher_order.cond", False),
        ("torch.ops.mine.operator.default", False),
        ("#extension:operator", False),
    ],
)
def test_operators(target: str, passes: bool) -> None:
    if passes:
        check_operator(target)
    else:
        with pytest.raises(ValueError, match="operators must"):
            check_operator(target)


def test_text_in_an_unknown_field_is_refused(tmp_path: Path) -> None:
    def edit(program: dict[str, object]) -> None:
        program["code_of_torch_3"] = "exit()"

    message = refused(written(tmp_path / "t.pt2", edited(exported(), "models/model.json", edit)))
    assert "code_of_torch_3" in message


def test_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    with pytest.raises(KeyError), weights_only():
        assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
        raise KeyError
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    with weights_only(), weights_only():
        pass
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "0"


# --- archives --------------------------------------------------------------------------------


def test_zip_bomb(tmp_path: Path) -> None:
    zeros = b"\0" * 4_000_000
    for members in ({"archive/data.pkl": zeros}, {**unzip(exported()), "archive/extra/z": zeros}):
        path = written(tmp_path / "bomb.pt2", rezip(members, zipfile.ZIP_DEFLATED))
        assert path.stat().st_size * MAX_EXPANSION < len(zeros)
        assert "must not expand" in refused(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../outside", "plain relative names"),
        ("archive/../../outside", "plain relative names"),
        ("/etc/outside", "plain relative names"),
        ("archive/extra/a\\b", "plain relative names"),
        ("archive/models/MODEL.json", "unique"),
        ("archive/models/second.json", "one program"),
        ("archive/data/executorch/model.pte", "only what torch.export.save writes"),
        ("archive/data/constants/custom_obj_0", "pickled object"),
        ("archive/data/weights/kernel.cubin", "compiled code"),
        ("archive/model.py", "compiled code"),
        ("elsewhere/models/model.json", "one folder"),
    ],
)
def test_members_that_do_not_belong(tmp_path: Path, name: str, reason: str) -> None:
    members = {**unzip(exported()), name: b"x"}
    path = written(tmp_path / "t.pt2", rezip(members))
    assert reason in refused(path)
    assert names_in(tmp_path) == ["t.pt2"]


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["pt", "legacy", "pt2", "safetensors"])
def test_truncated_files(tmp_path: Path, kind: str, cut: float) -> None:
    weights = tiny().state_dict()
    legacy = io.BytesIO()
    torch.save(weights, legacy, _use_new_zipfile_serialization=False)
    data = {
        "pt": saved(weights),
        "legacy": legacy.getvalue(),
        "pt2": exported(),
        "safetensors": safetensors.torch.save(weights),
    }[kind]
    path = written(tmp_path / "t.pt", data[: int(len(data) * cut)])
    assert "--unsafe-pickle" not in refused(path, arch=None if kind == "pt2" else TINY)


def test_damaged_byte_is_found(tmp_path: Path) -> None:
    data = bytearray(exported())
    data[data.index(b'"nodes"') + 3] ^= 1
    assert "damaged" in refused(written(tmp_path / "t.pt2", bytes(data)))


@pytest.mark.parametrize(
    "header",
    [b"not json", b'{"a": 1}', b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}'],
)
def test_bad_safetensors_header(tmp_path: Path, header: bytes) -> None:
    data = len(header).to_bytes(8, "little") + header + bytes(4)
    refused(written(tmp_path / "t.safetensors", data), arch=TINY)
    huge = (2**40).to_bytes(8, "little") + b"{}"
    refused(written(tmp_path / "t.safetensors", huge), arch=TINY)


def test_files_that_are_no_teachers(tmp_path: Path) -> None:
    assert "nothing there" in refused(tmp_path / "missing.pt")
    assert "0 bytes" in refused(written(tmp_path / "empty.pt", b""))
    assert "directory" in refused(tmp_path)
    assert "b'Dear all" in refused(written(tmp_path / "text.pt", b"Dear all,\nhello\n"))
    assert "holds list" in refused(written(tmp_path / "list.pt", saved([1, 2])), arch=TINY)
    assert "empty" in refused(written(tmp_path / "none.pt", saved({})), arch=TINY)
    message = refused(written(tmp_path / "number.pt", saved({"lr": 0.1})), arch=TINY)
    assert "'lr' is of type float" in message


def test_torchscript_is_refused_with_advice(tmp_path: Path) -> None:
    members = {f"t/{name}": b"x" for name in ("data.pkl", "constants.pkl", "code/t.py", "version")}
    path = written(tmp_path / "t.pt", rezip(members))
    assert detect_format(path) is FileFormat.TORCHSCRIPT
    assert "torch.export" in refused(path, unsafe_pickle=True)


# --- architectures and weights ---------------------------------------------------------------


def test_keys_of_another_architecture(tmp_path: Path) -> None:
    weights = tiny().state_dict()
    renamed = {name.replace("conv", "convolution"): value for name, value in weights.items()}
    message = refused(written(tmp_path / "w.pt", saved(renamed)), arch=TINY)
    assert "2 missing keys (conv.weight, conv.bias)" in message
    assert "2 unexpected keys (convolution.weight, convolution.bias)" in message
    message = refused(written(tmp_path / "w.pt", saved({"x": torch.ones(1)})), arch=TINY)
    assert "9 missing keys (conv.weight, conv.bias, norm.weight, ...)" in message
    message = refused(written(tmp_path / "w.pt", saved({"a\n\x1b[1m": torch.ones(1)})), arch=TINY)
    assert "\x1b" not in message
    weights["fc.bias"] = torch.zeros(7)
    message = refused(written(tmp_path / "w.pt", saved(weights)), arch=TINY)
    assert "fc.bias has shape (7,) in the file and (3,) there" in message


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        (None, "must come with its architecture"),
        ("vgg99", "--arch must be one of"),
        ("no_such_module:f", "must be importable"),
        ("crafted:no_such_factory", "must have a factory"),
        ("crafted:IMAGE", "must name a callable"),
        ("crafted:unzip", "raises TypeError"),
        ("builtins:dict", "must return a torch.nn.Module"),
        ("crafted:", "must have the form"),
        ("digits-cnn", "--input-shape"),
    ],
)
def test_wrong_architecture(tmp_path: Path, arch: str | None, reason: str) -> None:
    weights = build_teacher("digits-cnn", 1, 10, 8).state_dict()
    assert reason in refused(written(tmp_path / "w.pt", saved(weights)), arch=arch)


def test_own_file_with_sizes_that_are_not_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    save_teacher(path, build_teacher("digits-cnn", 1, 10, 8), arch="digits-cnn", **SIZES)
    assert "(1, 8, 8)" in refused(path, input_shape=(3, 8, 8))
    content = torch.load(path, weights_only=True)
    for name, size in (("num_classes", 999_999), ("num_classes", 2.5), ("image_size", 10**9)):
        changed = {**content, "arch_kwargs": {**content["arch_kwargs"], name: size}}
        refused(written(path, saved(changed)))
    assert "version" in refused(written(path, saved({**content, "version": 2})))
    assert "std" in refused(written(path, saved({**content, "std": [0.0]})))
    assert "9 classes" in refused(written(path, saved({**content, "classes": ["x"] * 9})))


@pytest.mark.parametrize("kind", ["pt", "safetensors", "pt2", "pickle"])
def test_weights_that_are_not_finite(tmp_path: Path, kind: str) -> None:
    model = tiny()
    with torch.no_grad():
        model.fc.weight[0, :2] = torch.tensor([float("nan"), float("inf")])
    data = {
        "pt": lambda: saved(model.state_dict()),
        "safetensors": lambda: safetensors.torch.save(model.state_dict()),
        "pt2": lambda: exported(model),
        "pickle": lambda: saved(model),
    }[kind]()
    arch = TINY if kind in ("pt", "safetensors") else None
    message = refused(written(tmp_path / "t", data), arch=arch, unsafe_pickle=kind == "pickle")
    assert "teacher weights must be finite: 2 non-finite values in layer fc" in message
    with pytest.raises(InputError, match="finite"):
        save_teacher(tmp_path / "own.pt", model, arch="x", **SIZES)
    assert not (tmp_path / "own.pt").exists()


# --- exported programs that are no teachers --------------------------------------------------


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x * y).mean((2, 3))


class TwoOutputs(Tiny):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return x, super().forward(x)


BATCH = {0: Dim("batch")}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: exported(dynamic_shapes=None), "batch dimension must be dynamic"),
        (
            lambda: exported(
                TwoInputs(), images=(torch.ones(2, 3, 4, 4),) * 2, dynamic_shapes=(BATCH, BATCH)
            ),
            "it has 2 inputs (tensor, tensor)",
        ),
        (lambda: exported(TwoOutputs().eval()), "it has 2 outputs (tensor, tensor)"),
        (
            lambda: exported(nn.Linear(4, 3), images=(torch.ones(2, 4),)),
            "rank 4 (batch, C, H, W), but it has shape (dynamic, 4)",
        ),
        (lambda: exported(nn.ReLU()), "rank 2 (batch, classes), but it has shape (dynamic, 1,"),
        (lambda: exported(Tiny().train()), "exported for evaluation"),
        (lambda: exported(tiny().double(), images=(torch.ones(2, *IMAGE).double(),)), "float32"),
    ],
    ids=["fixed-batch", "inputs", "outputs", "input-rank", "output-rank", "training", "double"],
)
def test_programs_that_are_not_classifiers(tmp_path: Path, make: object, reason: str) -> None:
    path = written(tmp_path / "t.pt2", make())  # type: ignore[operator]
    assert reason in refused(path)


def test_program_and_options_must_agree(tmp_path: Path) -> None:
    path = written(tmp_path / "t.pt2", exported())
    assert "--arch must not be given" in refused(path, arch=TINY)
    assert "(1, 8, 8)" in refused(path, input_shape=(3, 8, 8))
    with pytest.raises(InputError, match="3 positive numbers"):
        load_teacher(path, input_shape=(1, 8))  # type: ignore[arg-type]
    broken = edited(
        exported(), "models/model.json", lambda program: program["graph_module"].clear()
    )
    assert "graph" in refused(written(path, broken))


def test_weights_that_are_larger_than_their_bytes(tmp_path: Path) -> None:
    def edit(config: dict[str, dict[str, dict[str, dict[str, object]]]]) -> None:
        meta = config["config"]["fc.bias"]["tensor_meta"]
        meta |= {"sizes": [{"as_int": 2**40}], "strides": [{"as_int": 0}]}

    archive = edited(exported(), "data/weights/model_weights_config.json", edit)
    assert "one byte per element" in refused(written(tmp_path / "t.pt2", archive))
