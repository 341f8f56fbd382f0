import copy
import logging

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hwn2n.errors import MeasurementError
from hwn2n.hardware.counts import Counts, count


class Residual(nn.Module):
    """A convolution, batch norm and a sum; raises in the forward when told to."""

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 10)
        self.fail = fail

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.body(x)
        if self.fail:
            raise ValueError("broken\non purpose")
        return self.head(x.mean((2, 3)))


def everything(model: nn.Module) -> list:
    """All that counting could change in a model, in a comparable form."""
    return [
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        [
            (module.training, *map(len, (module._forward_hooks, module._forward_pre_hooks)))
            for module in model.modules()
        ],
        [
            (id(parameter), parameter.requires_grad, parameter.grad)
            for parameter in model.parameters()
        ],
        sorted(model.__dict__),
    ]


def assert_unchanged(before: list, after: list) -> None:
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1:] == after[1:]


def test_closed_forms():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)
    )
    counts = count(model, torch.rand(1, 3, 8, 8))
    assert counts.params == (3 * 9 * 8 + 8) + (128 * 5 + 5)
    assert counts.flops == 8 * 4 * 4 * 3 * 9 + 128 * 5
    assert counts.weight_bytes == 4 * counts.params
    assert counts.uncounted == {}


def test_flops_are_those_of_one_image():
    model = Residual()
    one = count(model, torch.rand(1, 3, 8, 8))
    assert count(model, torch.rand(6, 3, 8, 8)).flops == one.flops
    # Two convolutions, the batch norm at two FLOPs an element in eval mode, and the classifier.
    assert one.flops == 64 * 8 * 27 + 64 * 8 * 72 + 2 * 64 * 8 + 80
    assert one.uncounted == {"aten::add": 1, "aten::mean": 1}


def test_torchs_counter_agrees_on_convolutions_and_linear_layers():
    model = nn.Sequential(
        nn.Conv2d(3, 8, (3, 1), dilation=2),
        nn.Conv2d(8, 16, 3, groups=4, padding=1),
        nn.ConvTranspose2d(16, 4, 2, stride=2),
        nn.Flatten(),
        nn.LazyLinear(7),
    ).eval()
    image = torch.rand(1, 3, 12, 12)
    model(image)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    assert 2 * count(model, image).flops == counter.get_total_flops()


def test_named_padding_is_counted_too():
    image = torch.rand(1, 3, 9, 9)
    named = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding="same"), nn.Conv2d(6, 6, 3, groups=6, padding="valid")
    )
    numeric = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, groups=6))
    assert count(named, image) == count(numeric, image)


def test_shared_parameters_and_buffers():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    model.register_buffer("kept", torch.zeros(3, dtype=torch.float64))
    model.register_buffer("again", model.kept)
    model.register_buffer("scratch", torch.zeros(100), persistent=False)
    counts = count(model, torch.rand(2, 4))
    assert counts.params == 16
    assert counts.weight_bytes == 16 * 4 + 3 * 8
    assert counts.flops == 2 * 16


def test_half_precision_takes_half_of_the_bytes():
    model = nn.Linear(4, 2).to(torch.bfloat16)
    assert count(model, torch.rand(1, 4).to(torch.bfloat16)).weight_bytes == 2 * 10


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(fail, training):
    model = Residual(fail).train(training)
    model.body.train(not training)  # modules in different modes stay so
    before = copy.deepcopy(everything(model))[:2] + everything(model)[2:]
    random_state = torch.get_rng_state()
    if fail:
        with pytest.raises(MeasurementError, match="ValueError: broken on purpose"):
            count(model, torch.rand(1, 3, 8, 8, generator=torch.Generator()))
    else:
        count(model, torch.rand(1, 3, 8, 8, generator=torch.Generator()))
    assert_unchanged(before, everything(model))
    assert torch.equal(random_state, torch.get_rng_state())
    assert not torch.jit.is_tracing()
    assert count(Residual(), torch.rand(1, 3, 8, 8)).flops > 0  # and the next count works


def test_the_images_are_left_as_they_were() -> None:
    class InPlace(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.div_(255))

    images = torch.full((1, 3, 8, 8), 255.0)
    count(InPlace(), images)
    assert bool((images == 255).all())


def test_a_forward_that_draws_random_numbers_does_not_shift_the_callers():
    class Noisy(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x + torch.rand_like(x))

    model, state = Noisy(3, 2), torch.get_rng_state()
    count(model, torch.ones(1, 3))
    assert torch.equal(state, torch.get_rng_state())


def test_exported_graphs_count_like_their_module():
    model = Residual().eval()
    image = torch.rand(2, 3, 8, 8)
    dynamic = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(model, (image,), dynamic_shapes=dynamic, strict=False)
    ours, theirs = count(exported.module(), image[:1]), count(model, image[:1])
    assert (ours.params, ours.flops, ours.weight_bytes) == (
        theirs.params,
        theirs.flops,
        theirs.weight_bytes,
    )


class Custom(nn.Module):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.Double.apply(x)


def test_what_nobody_can_look_into_is_an_error_that_names_it():
    with pytest.raises(MeasurementError, match=r"no rule for prim::PythonOp[.]Double \(1x\)"):
        count(Custom(), torch.rand(2, 3))


class LessWhileTraced(nn.Linear):
    """Leaves half of its work out of a trace, as forwards written for an exporter do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        again = x if torch.jit.is_tracing() else super().forward(x)
        return super().forward(again)


def test_more_work_by_torchs_counter_is_an_error_with_both_numbers():
    with pytest.raises(MeasurementError, match=r"has 32 multiply-adds, but torch.* saw 64"):
        count(LessWhileTraced(4, 4), torch.rand(2, 4))


class FailsTheSecondTime(nn.Linear):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls > 1:
            raise ValueError("only\nonce")
        return super().forward(x)


def test_a_forward_that_torchs_counter_cannot_run_is_refused():
    model, hooks = FailsTheSecondTime(2, 2), dict(nn.modules.module._global_forward_hooks)
    with pytest.raises(MeasurementError, match=r"FlopCounterMode .* ValueError: only once"):
        count(model, torch.rand(1, 2))
    assert model.calls == 0
    assert nn.modules.module._global_forward_hooks == hooks


# Small or special enough to run each time; the others below, in minutes.
QUICK = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "googlenet",
    "densenet121",
    "convnext_tiny",
    "vit_b_32",
    "swin_t",
)
# More than two gigabytes of weights and their copy.
_TOO_LARGE = ("regnet_y_128gf", "vit_h_14")
OTHERS = sorted(
    set(torchvision.models.list_models(module=torchvision.models)) - {*QUICK, *_TOO_LARGE}
)


def published(name: str) -> Counts:
    """Our counts of a torchvision classifier at its published size, beside torchvision's own.

    Its table counts multiply-adds of contractions, attention included, in billions.
    """
    weights = next(iter(torchvision.models.get_model_weights(name)))
    extra = {"aux_logits": False, "init_weights": False}
    special = extra if name in ("googlenet", "inception_v3") else {}
    # Without initial values, which take longer than counting; RegNet computes with some of them.
    with torch.device("cpu" if "regnet" in name else "meta"):
        model = torchvision.models.get_model(name, weights=None, **special)
    model = model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().zero_()
    [size] = weights.transforms().crop_size
    counts = count(model, torch.rand(1, 3, size, size))
    assert counts.contractions / 1e9 == pytest.approx(weights.meta["_ops"], abs=5.1e-4)
    assert sum(p.numel() for p in model.parameters()) == counts.params
    assert counts.contractions < counts.flops < 1.07 * counts.contractions
    return counts


@pytest.mark.parametrize("name", QUICK)
def test_multiply_adds_are_torchvisions(name):
    published(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_multiply_adds_are_torchvisions_for_all(name):
    published(name)


def test_resnet18_by_hand():
    """Batch normalisation is two FLOPs an element, adaptive pooling one (fvcore)."""
    stem = 64 * 112 * 112 * 3 * 49
    # Four stages of two blocks of two 3x3 convolutions; the width doubles, the area is a quarter,
    # so each full convolution costs the same, the first of the later stages half of it.
    full = 56 * 56 * 64 * 64 * 9
    shortcuts = 3 * 56 * 56 * 64 * 64 // 2
    contractions = stem + 13 * full + 3 * full // 2 + shortcuts + 512 * 1000
    # Elements normalised: the stem, four convolutions of each stage, the shortcuts.
    areas = [64 * 56 * 56 // 2**stage for stage in range(4)]
    normalised = 64 * 112 * 112 + 4 * sum(areas) + sum(areas[1:])
    counts = published("resnet18")
    assert counts.contractions == contractions
    assert counts.flops == contractions + 2 * normalised + 512 * 7 * 7


def test_what_cannot_be_counted_is_refused_on_one_line():
    uncopyable = nn.Linear(2, 2)
    uncopyable.lock = logging._lock
    for model, shape, message in [
        (nn.LazyLinear(3), (1, 4), "must have a shape"),
        (nn.Linear(3, 3), (1, 4), r"on an input of shape \(1, 4\)"),
        (nn.Linear(3, 3), (0, 3), "at least one image"),
        (uncopyable, (1, 2), "must be copyable"),
    ]:
        with pytest.raises(MeasurementError, match=message) as caught:
            count(model, torch.rand(shape))
        assert "\n" not in str(caught.value)


def test_fvcores_log_stays_silent(caplog):
    with caplog.at_level(logging.DEBUG):
        count(Residual(), torch.rand(1, 3, 8, 8))
    assert caplog.records == []
