"""`hwn2n inspect`: rows, reach, the smallest student, budgets, and what a run did."""

import json
import shutil
import xml.etree.ElementTree as ET

import pytest
import torch
import torch.nn.functional as F
from cli_tools import BUDGET, hwn2n, tree
from networks import Mixed, Plain, seeded
from small import SmallNet, compress, small_teacher
from torch import nn

import hwn2n as package
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.counts import count
from hwn2n.network.counts import Counts

SHAPE = (3, 8, 8)


def rows_of(found):
    return {row.name: row for row in found.rows}


def test_rows_of_a_plain_network():
    found = package.inspect(seeded(Plain), input_shape=SHAPE)
    rows = rows_of(found)
    assert [name for name, row in rows.items() if row.policy] == [
        "conv1", "conv2", "pool", "fc1", "fc2",
    ]  # fmt: skip
    conv1 = rows["conv1"]
    assert conv1.operations[:2] == ("conv1", "bn1") and len(conv1.operations) == 3
    assert conv1.operator == "conv 5x5, batch norm, relu"
    assert (conv1.shape, conv1.params) == ((8, 8, 8), 8 * 3 * 25 + 8 + 16)
    assert conv1.flops == 64 * 8 * 75 + 2 * 8 * 64
    assert (conv1.group, conv1.width, conv1.tied) == ("conv1", 8, ())
    assert conv1.removable and conv1.shrinkable and conv1.reasons == ()
    last = rows["fc2"]
    assert not last.removable and last.shrinkable, "it reads what can be narrowed"
    assert last.reasons == ("fc2 makes the logits", "the logits: one for each class")
    assert [row.operator for row in found.rows if not row.policy] == ["flatten"]
    parameters = sum(p.numel() for p in Plain().parameters())
    assert sum(row.params for row in found.rows) == found.counts.params == parameters
    measured = count(seeded(Plain), torch.zeros(1, *SHAPE))
    assert sum(row.flops for row in found.rows) == found.counts.flops == measured.flops
    assert found.note is None and found.exit_code == 0


def test_every_operation_is_in_one_row_and_ties_are_named():
    found = package.inspect(seeded(Mixed), input_shape=SHAPE, granularity="unit")
    names = [name for row in found.rows for name in row.operations]
    assert sorted(names) == sorted(op.name for op in found.architecture)
    rows = rows_of(found)
    assert rows["stem"].tied == ("back",) and rows["back"].group == "stem"
    assert rows["depthwise"].group is None and rows["depthwise"].shrinkable
    assert not rows["stem"].removable and "only 3 channels" in rows["stem"].reasons[0]


class Partly(nn.Module):
    """Half of the parameters lie behind channels that nobody may change."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)
        self.fixed = nn.Conv2d(4, 5, 1, bias=False)
        self.last = nn.Linear(5, 5, bias=False)

    def forward(self, x):
        x = F.cosine_similarity(self.conv(x).unsqueeze(2), torch.ones(1, 1, 2, 1, 1), dim=2)
        return self.last(torch.cumsum(self.fixed(x).mean((2, 3)), 1))


def test_reach_is_the_share_of_operations_that_can_change():
    found = package.inspect(seeded(Partly), input_shape=SHAPE)
    rows = rows_of(found)
    assert not rows["conv"].shrinkable and any("no rule" in r for r in rows["conv"].reasons)
    reach = found.reach["params"]
    removable = sum(row.params for row in found.rows if row.removable)
    either = sum(row.params for row in found.rows if row.removable or row.shrinkable)
    assert reach.removable == removable / 57 and reach.either == either / 57
    assert found.counts.params == 57
    opaque = [row for row in found.rows if not row.policy and row.reasons]
    assert any("no rule for aten.cumsum" in row.reasons[0] for row in opaque)


def test_everything_of_a_plain_network_is_within_reach():
    reach = package.inspect(seeded(Plain), input_shape=SHAPE).reach
    total = sum(p.numel() for p in Plain().parameters())
    last = 20 * 5 + 5
    assert reach["params"].removable == pytest.approx((total - last) / total)
    assert reach["params"].shrinkable == reach["params"].either == 1.0
    assert reach["flops"].either == 1.0 and reach["flops"].removable < 1.0


def test_the_smallest_student_is_one_that_can_be_built():
    found = package.inspect(seeded(Plain), input_shape=SHAPE)
    for name, smallest in found.smallest.items():
        from hwn2n.network.counts import count as planned
        from hwn2n.network.planner import Planner

        student = Planner(found.architecture).plan(smallest.decision)
        assert getattr(planned(student), name) == smallest.cost[name].value
    assert found.smallest["params"].cost["params"].value < 0.1 * found.counts.params
    coarse = package.inspect(seeded(Plain), input_shape=SHAPE, recipe="paper")
    assert coarse.recipe == "paper"
    assert coarse.smallest["params"].cost["params"].value >= (
        found.smallest["params"].cost["params"].value
    )


def budget(*rows):
    return {"apiVersion": "hwn2n/v1", "name": "b", "constraints": list(rows)}


def test_the_widths_that_the_budgets_target_likes_are_the_smallest():
    plain = package.inspect(
        seeded(Plain), input_shape=SHAPE, budget=budget({"metric": "params", "max": "90%"})
    )
    likes = {
        **budget({"metric": "params", "max": "90%"}),
        "target": {"device": "cpu", "min_width": 4},
    }
    found = package.inspect(seeded(Plain), input_shape=SHAPE, budget=likes)
    mine, theirs = (x.budget.smallest.cost["params"].value for x in (plain, found))
    assert mine < theirs


def test_a_budget_is_asked_whether_the_smallest_student_is_inside():
    limits = budget(
        {"metric": "params", "max": "50%"},
        {"metric": "latency", "stat": "p50", "max": "90%"},
        {"metric": "flops", "min": "10%"},
    )
    found = package.inspect(seeded(Plain), input_shape=SHAPE, budget=limits)
    assert found.budget.inside and found.exit_code == 0
    assert found.budget.smallest.cost["params"].value <= 0.5 * found.counts.params
    assert len(found.budget.skipped) == 2 and len(found.budget.rows) == 1
    limits = budget({"metric": "params", "max": 5})
    found = package.inspect(seeded(Plain), input_shape=SHAPE, budget=limits)
    assert not found.budget.inside and found.exit_code == 1


def test_granularity_makes_other_layers():
    found = package.inspect(seeded(Plain), input_shape=SHAPE, granularity="operator")
    assert [row.name for row in found.rows if row.policy][:2] == ["conv1", "bn1"]
    with pytest.raises(InputError, match="granularity"):
        package.inspect(seeded(Plain), input_shape=SHAPE, granularity="nonsense")


def test_flops_that_only_running_tells_are_named(monkeypatch):
    known = package.inspect(seeded(Plain), input_shape=SHAPE).counts
    more = Counts(**{**vars(known), "flops": known.flops + 1000})
    monkeypatch.setattr("hwn2n.commands.inspect.count_by_running", lambda *_: more)
    found = package.inspect(seeded(Plain), input_shape=SHAPE)
    assert found.counts == more and "1,000 are of operators that have no count" in found.note

    def uncountable(*_):
        raise MeasurementError("no rule for aten::lstm")

    monkeypatch.setattr("hwn2n.commands.inspect.count_by_running", uncountable)
    found = package.inspect(seeded(Plain), input_shape=SHAPE)
    assert found.counts == known and "no rule for aten::lstm" in found.note


def test_the_model_is_left_as_it_was():
    model = seeded(Plain).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    package.inspect(model, input_shape=SHAPE)
    package.inspect("vgg11", input_shape=(3, 32, 32))
    assert torch.equal(torch.rand(1), expected)
    assert model.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_command_line_table_json_and_picture(tmp_path):
    picture = tmp_path / "teacher.svg"
    done = hwn2n("inspect", "digits-cnn", "--input-shape", "1,8,8", "--svg", picture)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split()[:4] == ["layer", "operator", "output", "params"]
    assert "student" not in lines[0]
    assert "the policies reach 100% of the parameters" in done.out
    assert "smallest student found by recipe fast" in done.out and str(picture) in done.out
    assert ET.parse(picture).getroot().tag.endswith("svg")
    done = hwn2n("inspect", "digits-cnn", "--input-shape", "1,8,8", "--json")
    document = done.json
    assert (document["format"], document["version"]) == ("hwn2n-inspection", 1)
    assert set(document) == {
        "format", "version", "model", "input_shape", "recipe", "granularity", "counts", "note",
        "reach", "smallest", "budget", "rows", "decision",
    }  # fmt: skip
    assert set(document["rows"][0]) == {
        "name", "operations", "operator", "shape", "params", "flops", "policy", "removable",
        "shrinkable", "group", "width", "tied", "reasons",
    }  # fmt: skip
    assert document["counts"]["params"] == sum(row["params"] for row in document["rows"])


def test_a_factory_is_inspected_without_a_file():
    where = "torchvision.models:squeezenet1_1"
    done = hwn2n("inspect", where, "--input-shape", "3,64,64", "--json")
    assert done.code == 0, done.err
    assert done.json["counts"]["params"] == 1_235_496


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nothing.pt"], "must exist"),
        (["vgg13"], "--input-shape"),
        (["vgg13", "--input-shape", "3,32,16"], "square"),
        (["torchvision.models:nonsense", "--input-shape", "3,8,8"], "nonsense"),
        (["digits-cnn", "--input-shape", "1,8,8", "--recipe", "x"], "recipe"),
        (["digits-cnn", "--input-shape", "1,8,8", "--teacher", "x"], "run"),
        (
            ["digits-cnn", "--input-shape", "1,8,8", "--svg", "no/where.svg"],
            "must lie in a folder that exists",
        ),
        (["."], "config.json"),
    ],
)
def test_bad_usage_is_one_line(arguments, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = hwn2n("inspect", *arguments)
    assert done.code == 2 and error in done.err and done.err.count("\n") == 1
    assert not tree(tmp_path)


def test_of_a_run_it_shows_what_was_decided(tmp_path, digits_teacher, digits_run):
    teacher = shutil.copy(digits_teacher, tmp_path / "teacher.pt")
    shutil.copytree(digits_run[0], tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(str(digits_teacher), str(teacher)))
    picture = tmp_path / "student.svg"
    done = hwn2n("inspect", tmp_path / "run", "--svg", picture, "--budget", BUDGET)
    assert done.code == 0, done.err
    assert "student" in done.out.splitlines()[0] and "budget 'demo'" in done.out
    assert "fewer inputs" in done.out, "all before the classifier are narrower"
    document = hwn2n("inspect", tmp_path / "run", "--json").json
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert document["decision"] == result["student"]["decision"]
    marked = {group.get("class") for group in ET.parse(picture).iter() if group.get("class")}
    assert marked & {"removed", "shrunk"} and not marked & {"removable", "shrinkable"}
    for more, error in (
        (["--arch", "conv4"], "a run knows its teacher"),
        (["--input-shape", "1,16,16"], "must be that of the run, (1, 8, 8), but is (1, 16, 16)"),
    ):
        done = hwn2n("inspect", tmp_path / "run", *more)
        assert done.code == 2 and error in done.err
    moved = tmp_path / "elsewhere.pt"
    teacher.rename(moved)
    done = hwn2n("inspect", tmp_path / "run")
    assert done.code == 2 and "teacher.pt" in done.err and "--teacher FILE" in done.err
    assert hwn2n("inspect", tmp_path / "run", "--teacher", moved).code == 0


def test_a_run_of_objects_needs_its_teacher_again(tmp_path):
    compress(tmp_path / "run")
    with pytest.raises(InputError, match="give it again"):
        package.inspect(tmp_path / "run")
    found = package.inspect(tmp_path / "run", teacher=small_teacher())
    assert found.decision is not None and found.student is not None
    with pytest.raises(InputError, match="must be the one"):
        package.inspect(tmp_path / "run", teacher=seeded(SmallNet))
    with pytest.raises(InputError, match="own recipe"):
        package.inspect(tmp_path / "run", teacher=small_teacher(), recipe="paper")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(InputError, match="--resume"):
        package.inspect(tmp_path / "run", teacher=small_teacher())
