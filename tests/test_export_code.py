"""The generated program: it computes what the network does, reads well, and is nothing but code."""

import ast
import random
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
import torchvision
from networks import (
    Mixed,
    Plain,
    Wrap,
    captured_teacher,
    images,
    planner_of,
    random_decision,
    seeded,
)
from torch import nn

from hwn2n.errors import InputError
from hwn2n.exporting.code.modules import constructor
from hwn2n.exporting.code.names import Variables, attributes
from hwn2n.exporting.code.printers import PRINTERS, generic, print_operation
from hwn2n.exporting.code.source import student_source
from hwn2n.exporting.code.syntax import Text, call, flat, lines, literal
from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.capture import capture
from hwn2n.network.inherit import fresh_weights
from hwn2n.network.module import instantiate_with
from hwn2n.network.operators import OPERATORS


def write(architecture, weights, **description):
    return student_source(
        architecture, list(weights), weights_file="weights.safetensors", description=description
    )


def run(source, weights):
    """The class of the program, with the weights that the file beside it would hold."""
    space = {"__file__": "student.py", "__name__": "student"}
    exec(compile(source.text, "student.py", "exec"), space)
    network = space["Student"]()
    network.load_state_dict({source.keys[key]: value for key, value in weights.items()})
    return network.eval()


def formatted(text, folder, *options):
    path = folder / "student.py"
    path.write_text(text)
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--check", *options, path]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def tied(m, x):
    x = m.again(F.relu(m.again(m.conv(x))))
    return m.head(F.avg_pool2d(x, 8).flatten(1))


def held(m, x):
    y = m.bn(m.conv(x)) * m.scale
    return m.head(y.mean((2, 3)) / 2 + y.amax((2, 3)))


def sized(m, x):
    n = x.shape[0]
    x = m.conv(x).reshape(n, 4, -1)
    a, b = x.split([30, 34], dim=2)
    x = torch.stack([a.mean(2), b.softmax(2).sum(2)], 0).permute(1, 2, 0)
    index = torch.arange(2, device=x.device)
    return m.head(x[:, :, index].clamp(-float("inf"), 9.0).mean(2).to(torch.float32))


def squeezed(m, x):
    x = F.hardswish(m.conv(x))
    gate = torch.sigmoid(m.again(F.adaptive_avg_pool2d(x, 1)))
    x = torch.cat([x - x * gate, F.leaky_relu(x, 0.2), F.gelu(x, approximate="tanh")], 1)
    x = F.elu(F.dropout2d(x[:, :4], 0.1, m.training))
    return m.head(F.max_pool2d(x, (3, 2), stride=(2, 1), padding=1, ceil_mode=True).mean((2, 3)))


NETWORKS = {
    "mixed": (Mixed, (3, 8, 8)),
    "plain": (Plain, (3, 8, 8)),
    "tied": (lambda: Wrap(tied), (3, 8, 8)),
    "held": (lambda: Wrap(held), (3, 8, 8)),
    "sized": (lambda: Wrap(sized), (3, 8, 8)),
    "squeezed": (lambda: Wrap(squeezed), (3, 8, 8)),
    "mobilenet_v3_small": (
        lambda: torchvision.models.mobilenet_v3_small(num_classes=7), (3, 32, 32)
    ),
    "shufflenet_v2_x0_5": (
        lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=7), (3, 32, 32)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_program_computes_what_the_network_does(name, tmp_path):
    make, shape = NETWORKS[name]
    model = seeded(make)
    found = capture(model, shape)
    source = write(found.architecture, found.weights, classes=("a", "b"), mean=(0.5,) * 3)
    again = run(source, found.weights)
    given = images(shape, 3)
    with torch.no_grad():
        assert torch.equal(again(given), found.module()(given))
        torch.testing.assert_close(again(given), model(given), rtol=1e-4, atol=1e-5)
    sizes = [p.numel() for p in found.module().parameters()]
    assert sorted(p.numel() for p in again.parameters()) == sorted(sizes)
    assert "hwn2n" not in re.sub(r'""".*?"""', "", source.text, flags=re.DOTALL)
    assert formatted(source.text, tmp_path)
    assert formatted(source.text, tmp_path, "--line-length", "100")


@pytest.mark.parametrize("arch", ["vgg13", "resnet20"])
def test_students_are_written_too(arch):
    planner = planner_of(arch, 32)
    rng = random.Random(1)
    for _ in range(3):
        student = planner.plan(random_decision(planner, rng))
        weights = fresh_weights(student, seed=1)
        again = run(write(student, weights), weights)
        given = images(student.input_shape)
        with torch.no_grad():
            assert torch.equal(again(given), instantiate_with(student, weights)(given))


def test_it_reads_like_code_that_a_person_wrote():
    found = captured_teacher("resnet20", 32)
    text = write(found.architecture, found.weights, data="cifar10").text
    assert " = nn.Conv2d(3, 16, 3, padding=1, bias=False)\n" in text
    assert "        x = y + x\n" in text
    assert "for cifar10, written by hwn2n." in text
    body = text[text.index("def forward") :]
    assert set(re.findall(r"^        (\w+) = ", body, re.MULTILINE)) == {"x", "y"}
    assert "# (N, 16, 32, 32)" in body and "return x" in body


def test_training_mode_is_that_of_the_layers():
    model = seeded(lambda: Wrap(squeezed))
    found = capture(model, (3, 8, 8))
    again = run(write(found.architecture, found.weights), found.weights)
    given = images((3, 8, 8))
    torch.manual_seed(0)
    first = again.train()(given)
    assert not torch.equal(first, again(given)), "dropout draws"
    assert torch.equal(again.eval()(given), again(given))


def test_every_operator_has_a_printer():
    assert set(OPERATORS) <= set(PRINTERS)


OPERATIONS = [
    (Operation("a", "conv_transpose2d", ("x",), {
        "in_channels": 4, "out_channels": 2, "kernel_size": [2, 2], "stride": [2, 2],
        "padding": [0, 0], "output_padding": [0, 0], "dilation": [1, 1], "groups": 1,
        "bias": True}), None),
    (Operation("a", "reshape", ("x",), {"from": [-1, 8, 4], "to": [-12, 2, 16]}),
     "x.reshape(-1, 2, 16)"),
    (Operation("a", "permute", ("x",), {"dims": [0, 2, 1]}), "x.permute(0, 2, 1)"),
    (Operation("a", "channel_shuffle", ("x",), {"groups": 2}),
     "x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)"),
    (Operation("a", "cut", ("x",), {
        "dim": 1, "start": 1, "stop": 3, "sections": 4, "length": 8}), "x.narrow(1, 2, 4)"),
    (Operation("a", "constant", (), {"of": "conv.weight", "shape": [4], "dtype": "float32",
        "trainable": True}), "self.owner.weight"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "text"), OPERATIONS, ids=lambda value: getattr(value, "kind", ""))
def test_operations_as_code(op, text):
    if op.kind not in OPERATORS and text is None:
        pytest.skip("no such operator yet")
    value = print_operation(op, "owner", (Text("x"),)).value
    assert text is None or flat(value) == text


class Doubling(nn.Module):
    """What a rule without a printer might build: no module of torch's."""

    def forward(self, x, y):
        x = torch.cat((x[:, 1:], y), dim=1).unflatten(1, (2, x.shape[1] // 2 + 1))
        return F.relu(x * 2 - 1).flatten(1)


class Doubles:
    def build(self, op):
        return Doubling()


class Norms:
    def build(self, op):
        return nn.GroupNorm(2, 8, eps=1e-3, affine=False)


class Unwritable:
    def build(self, op):
        return lambda x: x if float(x.sum()) > 0 else -x


def test_a_kind_without_a_printer_is_written_by_what_it_calls(monkeypatch):
    for name, rule in (("double", Doubles()), ("norm", Norms()), ("odd", Unwritable())):
        monkeypatch.setitem(OPERATORS, name, rule)
    printed = generic(Operation("d", "double", ("a", "b")), "d", (Text("x"), Text("y")))
    space = {"torch": torch, "nn": nn, "x": torch.randn(2, 5), "y": torch.randn(2, 2)}
    for target, value in printed.steps:
        space[target] = eval(flat(value), space)
    expected = Doubling()(space["x"], space["y"])
    assert torch.equal(eval(flat(printed.value), space), expected)
    printed = generic(Operation("n", "norm", ("a",)), "n", (Text("x"),))
    assert flat(printed.layer) == "nn.GroupNorm(2, 8, eps=0.001, affine=False)"
    assert flat(printed.value) == "self.n(x)"
    with pytest.raises(InputError, match="o: cannot be written as code"):
        generic(Operation("o", "odd", ("a",)), "o", (Text("x"),))


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, (3, 5), stride=(1, 2), dilation=2, groups=2),
        nn.ConvTranspose2d(4, 6, 3, output_padding=1, stride=2, bias=False),
        nn.LayerNorm((4, 4), eps=1e-6),
        nn.LayerNorm(8, elementwise_affine=False),
        nn.BatchNorm2d(3, momentum=None, eps=1e-3),
        nn.Hardtanh(-2.0, 3.0),
        nn.PReLU(4),
        nn.AdaptiveAvgPool2d((None, 2)),
        nn.AvgPool2d(2, count_include_pad=False),
        nn.GELU(approximate="tanh"),
        nn.Softmax(dim=1),
        nn.Upsample(scale_factor=2.0),
    ],
    ids=lambda module: type(module).__name__,
)  # fmt: skip
def test_constructors(module):
    again = eval(flat(constructor(module)), {"nn": nn})
    assert repr(again) == repr(module)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in module.state_dict().items()
    }


def test_lines_are_broken_where_formatters_break_them():
    long = call("nn.Conv2d", *(literal(100_000 + i) for i in range(9)), bias=literal(False))
    found = lines("self.a = ", long, indent=2)
    assert found[0] == "        self.a = nn.Conv2d("
    assert found[1] == "            100000," and found[-2:] == [
        "            bias=False,",
        "        )",
    ]
    assert lines("x = ", call("f", Text("y")), indent=0) == ["x = f(y)"]
    assert flat(literal((1,))) == "(1,)" and flat(literal([float("inf")])) == '[float("inf")]'
    with pytest.raises(TypeError):
        literal(object())


@pytest.mark.parametrize(
    "text",
    ["cat", 'a "b" \\ c', "\U0001f600 face \U00020bb7", "tab\there\n", "\udc80", "\x00\x7f\u2028"],
)
def test_texts_come_back(text):
    written = flat(literal(text))
    assert ast.literal_eval(written) == text and written.encode() and "\n" not in written


def test_names_are_plain_and_their_own():
    paths = ["layer1.0.conv", "layer1_0.conv", "0", "class", "half", "a-b", "\n x=1", "forward"]
    names = list(attributes({path: path for path in paths}).values())
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    assert names[0] == "layer1_0_conv" and names[2] == "layer_0"
    assert not set(names) & {"class", "half", "forward", "training"}
    variables = Variables()
    assert [variables.hold(str(i)) for i in range(8)] == [*"xyzuvw", "x1", "x2"]
    variables.drop("1")
    assert variables.hold("new") == "y"


EVIL = '"""\nimport os; os.abort()\n#'


def evil_architecture(**changes):
    op = Operation(
        **{
            "name": f"a.{EVIL}.b",
            "kind": "function",
            "inputs": (INPUT,),
            "config": {
                "target": "aten.flatten.using_ints",
                "args": [{"ref": 0}, 1],
                "kwargs": {},
                "input_shapes": [[-1, 1, 2, 2]],
            },
            "shape": (-1, 4),
            **changes,
        }
    )
    return Architecture((op,), (1, 2, 2), op.name)


def test_nothing_of_a_hostile_file_becomes_code():
    source = write(evil_architecture(), {}, data=EVIL, classes=(EVIL,), mean=(0.5,))
    network = run(source, {})
    assert network(torch.ones(3, 1, 2, 2)).shape == (3, 4)
    for line in source.text.splitlines():
        assert "os.abort()" not in line.split("#")[0] or line.startswith(('"""', "CLASSES"))


@pytest.mark.parametrize(
    "config",
    [
        {"target": "aten.from_file.default"},
        {"target": "os.system"},
        {"target": "aten.flatten.using_ints; import os"},
        {"kwargs": {"x=1); import os; f(y": 1}},
        {"args": [{"torch": "float32; import os"}]},
        {"args": [{"ref": 7}]},
    ],
    ids=str,
)
def test_what_an_architecture_may_not_name_is_refused(config):
    given = evil_architecture().operations[0].config
    with pytest.raises(InputError):
        write(evil_architecture(config={**given, **config}), {})
