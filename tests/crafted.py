"""Teacher files made by hand, most of them hostile: each tries to create a marker file."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

IMAGE = (1, 8, 8)
CLASSES = 3
DYNAMIC_BATCH = ({0: torch.export.Dim("batch")},)


class Tiny(nn.Module):
    """1x8x8 images to 3 logits, with batch norm and dropout, 67 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.fc(self.drop(x.mean((2, 3))))


def tiny() -> Tiny:
    """A `Tiny` in eval mode whose statistics are not the initial ones."""
    torch.manual_seed(0)
    model = Tiny()
    model(torch.randn(16, *IMAGE))
    return model.eval()


def exported(
    model: nn.Module | None = None,
    *,
    images: tuple[Any, ...] | None = None,
    dynamic_shapes: Any = DYNAMIC_BATCH,
    extra_files: dict[str, str] | None = None,
) -> bytes:
    """A `.pt2` of torch.export.save, sample inputs included, as bytes."""
    if model is None and images is None and dynamic_shapes is DYNAMIC_BATCH and not extra_files:
        return _exported_tiny()
    images = (torch.randn(2, *IMAGE),) if images is None else images
    model = tiny() if model is None else model
    program = torch.export.export(model, images, dynamic_shapes=dynamic_shapes, strict=False)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=extra_files)
    return buffer.getvalue()


@cache
def _exported_tiny() -> bytes:
    return exported(tiny())


def old_format(archive: bytes) -> dict[str, bytes]:
    """The members that torch.export.save wrote until torch 2.7, from a present archive."""
    return dict(_old_format(archive))


@cache
def _old_format(archive: bytes) -> dict[str, bytes]:
    members = unzip(archive)
    program = torch.export.load(io.BytesIO(archive))
    return {
        "version": b"8.2",
        "serialized_exported_program.json": members["archive/models/model.json"],
        "serialized_state_dict.pt": saved(dict(program.state_dict)),
        "serialized_constants.pt": saved(dict(program.constants)),
        "serialized_example_inputs.pt": members["archive/data/sample_inputs/model.pt"],
    }


def saved(content: Any) -> bytes:
    """What torch.save writes for `content`."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def unzip(archive: bytes) -> dict[str, bytes]:
    """Members by name; their folder is called "archive", as torch does for a buffer."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def rezip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The inverse of `unzip`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def edited(archive: bytes, member: str, edit: Callable[[Any], None]) -> bytes:
    """`archive` with one JSON member changed in place by `edit`."""
    members = unzip(archive)
    document = json.loads(members[f"archive/{member}"])
    edit(document)
    members[f"archive/{member}"] = json.dumps(document).encode()
    return rezip(members)


class Bomb:
    """Unpickling it creates the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.marker, "w")


class LoadedModule(Tiny):
    """A whole module whose unpickling creates the file `marker`."""

    def __init__(self, marker: Path) -> None:
        super().__init__()
        self.bomb = Bomb(marker)


def shell(marker: Path) -> str:
    """An expression that creates the marker when it is evaluated."""
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


# --- bombs: (marker) -> bytes of a file ------------------------------------------------------


def pickled_module(marker: Path) -> bytes:
    return saved(LoadedModule(marker))


def pickled_module_old_format(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(LoadedModule(marker), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def bare_pickle(marker: Path) -> bytes:
    return pickle.dumps(Bomb(marker))


def state_dict(marker: Path) -> bytes:
    return saved({**tiny().state_dict(), "fc.extra": Bomb(marker)})


def own_file(marker: Path) -> bytes:
    return saved({"format": "hwn2n-teacher", "version": 1, "metadata": {"bomb": Bomb(marker)}})


def pickled_weight(marker: Path) -> bytes:
    members = unzip(exported())
    config = "archive/data/weights/model_weights_config.json"
    document = json.loads(members[config])
    entry = document["config"]["fc.bias"]
    entry["use_pickle"] = True
    members[config] = json.dumps(document).encode()
    members[f"archive/data/weights/{entry['path_name']}"] = saved(Bomb(marker))
    return rezip(members)


def pickled_weights_record(marker: Path) -> bytes:
    members = unzip(exported())
    members["archive/data/weights/model.pt"] = saved({"fc.bias": Bomb(marker)})
    return rezip(members)


def pickled_samples(marker: Path) -> bytes:
    members = unzip(exported())
    members["archive/data/sample_inputs/model.pt"] = saved(((Bomb(marker),), {}))
    return rezip(members)


def opaque_constant(marker: Path) -> bytes:
    members = unzip(exported())
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
    members["archive/data/constants/model_constants_config.json"] = json.dumps(
        {"config": {"c": {**entry, "tensor_meta": None}}}
    ).encode()
    members["archive/data/constants/opaque_obj_0"] = pickle.dumps(Bomb(marker))
    return rezip(members)


def old_format_state_dict(marker: Path) -> bytes:
    return rezip(
        {**old_format(exported()), "serialized_state_dict.pt": saved({"fc.bias": Bomb(marker)})}
    )


def old_format_samples(marker: Path) -> bytes:
    return rezip(
        {**old_format(exported()), "serialized_example_inputs.pt": saved(((Bomb(marker),), {}))}
    )


def expression(marker: Path) -> bytes:
    def edit(program: Any) -> None:
        sizes = program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = shell(marker)

    return edited(exported(), "models/model.json", edit)


def old_format_expression(marker: Path) -> bytes:
    return rezip(old_format_with_expression(shell(marker)))


def old_format_with_expression(text: str) -> dict[str, bytes]:
    """Old-format members in which the batch size is `text`."""
    members = old_format(exported())
    document = json.loads(members["serialized_exported_program.json"])
    sizes = document["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = text
    members["serialized_exported_program.json"] = json.dumps(document).encode()
    return members


def guard(marker: Path) -> bytes:
    def edit(program: Any) -> None:
        # Refused names are not the only way: this one is a legal program but for its guard.
        program["guards_code"] = [f"{shell(marker)} is None"]

    return edited(exported(), "models/model.json", edit)


def value_name(marker: Path) -> bytes:
    """The name of the input, which torch writes into the source of `forward`."""
    members = unzip(exported())
    name = "archive/models/model.json"
    bad = f"x={shell(marker)}"
    document = members[name].decode().replace('"name": "x"', json.dumps({"name": bad})[1:-1])
    program = json.loads(document)
    values = program["graph_module"]["graph"]["tensor_values"]
    values[bad] = values.pop("x")
    members[name] = json.dumps(program).encode()
    return rezip(members)


def argument_name(marker: Path) -> bytes:
    def edit(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["forward_arg_names"] = [f"x={shell(marker)}"]

    return edited(exported(), "models/model.json", edit)


def weight_name(marker: Path) -> bytes:
    members = unzip(exported())
    bad = f'fc"+str({shell(marker)})+".bias'
    for name in ("models/model.json", "data/weights/model_weights_config.json"):
        text = members[f"archive/{name}"].decode()
        members[f"archive/{name}"] = text.replace('"fc.bias"', json.dumps(bad)).encode()
    return rezip(members)


def tree_import(marker: Path) -> bytes:
    """The output tree names a module, which torch imports; it lies beside the file."""
    marker.with_name("planted.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    context = {
        "default_factory_module": "planted",
        "default_factory_name": "anything",
        "dict_context": [],
    }
    tree = {"type": "collections.defaultdict", "context": context, "children_spec": []}

    def edit(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = json.dumps([1, tree])

    return edited(exported(), "models/model.json", edit)


def _with_node(target: str, arguments: list[tuple[str, dict[str, Any]]]) -> bytes:
    def edit(program: Any) -> None:
        graph = program["graph_module"]["graph"]
        node: dict[str, Any] = {
            "target": target,
            "inputs": [{"name": name, "arg": arg, "kind": 1} for name, arg in arguments],
            "outputs": [{"as_tensor": {"name": "evil"}}],
            "metadata": {},
            "is_hop_single_tensor_return": None,
            "name": "evil",
        }
        graph["nodes"].insert(0, node)
        graph["tensor_values"]["evil"] = graph["tensor_values"]["x"]

    return edited(exported(), "models/model.json", edit)


def file_operator(marker: Path) -> bytes:
    arguments: list[tuple[str, dict[str, Any]]] = [
        ("filename", {"as_string": str(marker)}),
        ("shared", {"as_bool": True}),
        ("size", {"as_int": 4}),
    ]
    return _with_node("torch.ops.aten.from_file.default", arguments)


def shell_operator(marker: Path) -> bytes:
    return _with_node("torch.os.system", [("command", {"as_string": f"touch {marker}"})])


def compiled_code(marker: Path) -> bytes:
    members = unzip(exported())
    members["archive/data/aotinductor/model/model.wrapper.so"] = b"\x7fELF" + str(marker).encode()
    return rezip(members)


BOMBS: dict[str, Callable[[Path], bytes]] = {
    bomb.__name__: bomb
    for bomb in (
        pickled_module,
        pickled_module_old_format,
        bare_pickle,
        state_dict,
        own_file,
        pickled_weight,
        pickled_weights_record,
        pickled_samples,
        opaque_constant,
        old_format_state_dict,
        old_format_samples,
        expression,
        old_format_expression,
        value_name,
        argument_name,
        weight_name,
        tree_import,
        file_operator,
        shell_operator,
        compiled_code,
    )
}
