"""A budget on FLOPs must not steer by a count that leaves some of the teacher's work out."""

import pytest
import torch
from small import SHAPE, SmallNet, budget, small_data, small_teacher

from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.network.counts import count
from hwn2n.network.operators.work import FLOPS
from hwn2n.run.folder import RunFolder
from hwn2n.search.assemble import assemble
from hwn2n.search.recipes import build_settings


class Gram(SmallNet):
    """Mixes positions by a product of two activations."""

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        flat = x.flatten(2)
        x = torch.bmm(flat, torch.bmm(flat.transpose(1, 2), flat)).view_as(x) / 4096
        x = torch.relu(self.conv3(torch.relu(self.conv2(x)))).mean((2, 3))
        return self.classifier(x)


class Aided(SmallNet):
    """It has a second head, which helps while it is taught and makes no logits."""

    def __init__(self):
        super().__init__()
        self.aux = torch.nn.Linear(8, 5)


def assembled(tmp_path, *rows, made=Gram):
    torch.manual_seed(0)
    return assemble(
        teacher=small_teacher(model=made().eval()),
        data=small_data(),
        budget=budget(*rows),
        target=LocalTarget("cpu"),
        settings=build_settings("fast"),
        folder=RunFolder.create(tmp_path / "run"),
    )


def test_flops_that_only_fvcore_knows_stop_a_budget_on_flops(tmp_path, monkeypatch):
    monkeypatch.delitem(FLOPS, "aten.bmm.default")
    with pytest.raises(MeasurementError, match=r"the budget needs flops.*account for all"):
        assembled(tmp_path, "{metric: flops, max: 50%}")


def test_parameters_without_use_stop_a_budget_on_parameters(tmp_path):
    said = r"45 parameters \(aux.weight, aux.bias\) take no part in the logits: take them out"
    with pytest.raises(InputError, match=said):
        assembled(tmp_path, "{metric: params, max: 50%}", made=Aided)


def test_a_budget_without_parameters_may_have_such_a_teacher(tmp_path):
    bench = assembled(tmp_path, "{metric: flops, max: 90%}", made=Aided)
    assert count(bench.planner.teacher).params == bench.teacher_cost["params"].value - 45
    bench.ledger.close()


def test_products_of_activations_are_counted(tmp_path):
    bench = assembled(tmp_path, "{metric: flops, max: 90%}")
    assert bench.teacher_cost["flops"].value == count(bench.planner.teacher).flops
    bench.ledger.close()


def test_a_budget_without_flops_may_have_such_a_teacher(tmp_path, monkeypatch):
    monkeypatch.delitem(FLOPS, "aten.bmm.default")
    bench = assembled(tmp_path, "{metric: params, max: 90%}")
    products = 2 * 8 * 64 * 64
    planned = bench.planner.teacher
    conv = 64 * 9 * (1 * 8 + 8 * 8 + 8 * 6)
    assert bench.teacher_cost["flops"].value == conv + 2 * 8 * 64 + 6 * 3 + products
    assert planned.input_shape == SHAPE
    bench.ledger.close()
