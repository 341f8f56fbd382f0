"""Architectures as data: their keys, their files, and files that are damaged or mean harm."""

import json

import pytest
from networks import Mixed, Plain, Wrap, seeded
from torch import nn

from hwn2n.errors import InputError
from hwn2n.network.architecture import INPUT, Architecture
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.module import instantiate, instantiate_with
from hwn2n.network.operators.opaque import resolve
from hwn2n.network.planner import Planner

SHAPE = (3, 8, 8)


def twice(m, x):
    return m.head(m.again(m.again(m.conv(x))).mean([2, 3]))


def test_key_ignores_names_and_sees_sizes():
    class Renamed(Mixed):
        def __init__(self):
            super().__init__()
            self.first, self.stem = self.stem, nn.Identity()

        def forward(self, x):
            return super().forward(self.first(x))

    first = capture(seeded(Mixed), SHAPE).architecture
    second = capture(seeded(Renamed), SHAPE).architecture
    assert first != second
    assert first.key() == second.key()
    assert first.key() != capture(seeded(Plain), SHAPE).architecture.key()
    assert len(first.key()) == 16
    planner = Planner(first)
    decisions = [Decision(), Decision(widths={"stem": 3}), Decision(widths={"left": 3})]
    decisions += [Decision(kernels={"stem": (1, 1)}), Decision(frozenset({"pool"}))]
    assert len({planner.plan(decision).key() for decision in decisions}) == 5
    assert planner.plan(Decision(widths={"stem": 8})).key() == first.key()
    tied = capture(seeded(lambda: Wrap(twice)), SHAPE).architecture.to_json()
    renamed = json.loads(json.dumps(tied).replace('"again', '"other'))
    assert Architecture.from_json(tied).key() == Architecture.from_json(renamed).key()


def damaged(**changes):
    data = capture(seeded(Plain), SHAPE).architecture.to_json()
    operation = changes.pop("operation", None)
    data |= changes
    if operation:
        data["operations"][0] |= operation
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "must be an hwn2n architecture"),
        ({"version": 2}, "version must be 1"),
        ({"operations": 3}, "damaged architecture"),
        ({"operations": [{"name": "x"}]}, "damaged architecture"),
        ({"input_shape": [3, 8]}, "damaged architecture"),
        ({"input_shape": [3, 8, "8"]}, "sizes must be whole numbers"),
        ({"output": "nothing"}, "is not among the operations"),
        ({"output": INPUT}, "is not among the operations"),
        ({"operation": {"inputs": ["fc2"]}}, "before it is made"),
        ({"operation": {"inputs": "fc2"}}, "inputs must be a list"),
        ({"operation": {"config": {"tied_to": "fc2"}}}, "before it is made"),
        ({"operation": {"name": "bn1"}}, "must be made once|before it is made"),
    ],
)
def test_damaged_architectures(data, message):
    data = damaged(**data) if isinstance(data, dict) else data
    with pytest.raises(InputError, match=message):
        Architecture.from_json(data, source="run/architecture.json")


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"kind": "lstm"}, "unknown kind"),
        ({"config": {}}, "cannot be built"),
        ({"kind": "activation", "config": {"function": "exec", "args": []}}, "cannot be built"),
        (
            {"kind": "constant", "config": {"shape": [1], "dtype": "load", "trainable": False}},
            "may name dtypes",
        ),
    ],
)
def test_unbuildable_architectures(operation, message):
    with pytest.raises(InputError, match=message):
        instantiate(Architecture.from_json(damaged(operation=operation)))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.ops.aten.relu.default",
        "aten.relu",
        "aten.relu.default.name",
        "aten.__init__.default",
        "aten.from_file.default",
        "aten.save.default",
        "aten.set_.source_Tensor",
        "aten.resize_.default",
        "aten._print.default",
        "aten.no_such_operator.default",
        "size.pow",
        "builtins.eval",
    ],
)
def test_files_reach_only_operators_that_compute(target):
    call = {"target": target, "args": [{"ref": 0}], "kwargs": {}, "input_shapes": [[-1, 3, 8, 8]]}
    data = damaged(operation={"kind": "function", "config": call})
    with pytest.raises(InputError, match=r"an architecture may call|has no operator"):
        instantiate(Architecture.from_json(data))
    with pytest.raises(InputError):
        resolve(target)


def test_weights_of_another_architecture():
    captured = capture(seeded(Plain), SHAPE)
    with pytest.raises(InputError, match="must be those of the architecture"):
        instantiate_with(captured.architecture, {})
