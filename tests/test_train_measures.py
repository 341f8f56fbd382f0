"""Accuracy, predicted logits, precision and batch-norm recalibration."""

import math

import pytest
import torch
from torch import nn

from hwn2n.distil.accuracy import Accuracy, accuracy, accuracy_of, predict_logits
from hwn2n.distil.batchnorm import recalibrate_batch_norm
from hwn2n.distil.feed import DivergedError, Feed, choose_precision
from hwn2n.distil.images import ImageSet
from hwn2n.errors import InputError


class Brightness(nn.Module):
    """Answers class i for a pixel of i: logits -(x - i)^2, with dropout that must be off."""

    def __init__(self, classes):
        super().__init__()
        self.register_buffer("levels", torch.arange(classes) / 255)
        self.dropout = nn.Dropout(0.9)

    def forward(self, x):
        return -((self.dropout(x.mean((1, 2, 3)))[:, None] - self.levels) ** 2) * 255**2


def pixels(values):
    return torch.tensor(values, dtype=torch.uint8).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_accuracy_by_hand(batch_size):
    #       predicted  0  0  1  2  2
    images = ImageSet(pixels([0, 0, 1, 2, 2]), torch.tensor([0, 0, 1, 1, 0]), 4)
    model = Brightness(4).train()
    model.dropout.eval()
    found = accuracy(model, images, (0.0,), (1.0,), batch_size=batch_size)
    assert found.top1 == pytest.approx(3 / 5)
    assert found.per_class[:2] == pytest.approx((2 / 3, 1 / 2))
    assert all(math.isnan(value) for value in found.per_class[2:])
    assert found.n == 5
    assert found.worst_class == 0.5
    assert model.training
    assert not model.dropout.training  # each module has the mode it had
    logits = predict_logits(model, images, (0.0,), (1.0,), batch_size=batch_size)
    assert logits.argmax(1).tolist() == [0, 0, 1, 2, 2]
    assert not logits.requires_grad
    assert logits.dtype == torch.float32
    again = accuracy_of(logits, images)
    assert (again.top1, again.per_class[:2], again.n) == (found.top1, found.per_class[:2], 5)
    with pytest.raises(DivergedError, match="1 of 5 images"):
        accuracy_of(logits.index_fill(0, torch.tensor([3]), float("nan")), images)


class Fixed(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output


@pytest.mark.parametrize(
    ("output", "classes", "words"),
    [
        (torch.zeros(2, 3), 2, "2 classes, but has 3"),
        (torch.zeros(2, 2), None, "has 2 and a label is 2"),
        (torch.zeros(2), 3, r"but got \(2,\)"),
        (torch.zeros(1, 3), 3, r"shape \(2, classes\)"),
        ((torch.zeros(2, 3),), 3, "but got tuple"),
    ],
)
def test_outputs_that_do_not_fit(output, classes, words):
    labels = torch.tensor([0, 1 if classes == 2 else 2])
    images = ImageSet(pixels([0, 1]), labels, classes)
    with pytest.raises(InputError, match=words):
        accuracy(Fixed(output), images, (0.0,), (1.0,))


@pytest.mark.parametrize("measure", [accuracy, predict_logits])
def test_broken_logits_are_not_counted_as_a_class(measure):
    images = ImageSet(pixels([0, 1]), torch.tensor([0, 1]), 2)
    output = torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])
    with pytest.raises(DivergedError, match="1 of 2 images"):
        measure(Fixed(output), images, (0.0,), (1.0,))


def test_arguments_are_checked():
    images = ImageSet(pixels([0, 1]), torch.tensor([0, 1]), 2)
    with pytest.raises(InputError, match="batch_size"):
        accuracy(Brightness(2), images, (0.0,), (1.0,), batch_size=0)
    with pytest.raises(InputError, match="precision"):
        accuracy(Brightness(2), images, (0.0,), (1.0,), precision="fp8")
    with pytest.raises(InputError, match="1 channels"):
        accuracy(Brightness(2), images, (0.0, 0.0), (1.0, 1.0))


def test_precision():
    assert choose_precision("cpu") in ("fp32", "bf16")
    assert choose_precision("meta") == "fp32"
    feed = Feed.make((0.0,), (1.0,), "cpu", "bf16")
    seen = []

    class Spy(nn.Linear):
        def forward(self, x):
            seen.append(super().forward(x).dtype)
            return super().forward(x)

    logits = feed.logits(Spy(4, 2), torch.randn(3, 4), 2)
    assert seen == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert Feed.make((0.0,), (1.0,), "cpu", "auto").precision == choose_precision("cpu")


def test_accuracy_class_is_comparable():
    assert Accuracy(0.5, (0.5, 0.5), 4) == Accuracy(0.5, (0.5, 0.5), 4)


def normed(momentum=0.1):
    model = nn.Sequential(
        nn.BatchNorm2d(1, momentum=momentum), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4, 2)
    )
    model[0].running_mean.fill_(99.0)
    return model


def test_recalibration_equals_the_average_over_batches():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (12, 1, 2, 2), generator=generator, dtype=torch.uint8)
    images = ImageSet(raw, torch.arange(12) % 2, 2)
    model = normed(momentum=0.3)
    weights = model[3].weight.clone()
    used = recalibrate_batch_norm(model, images, mean=(0.0,), std=(1.0,), batch_size=6)
    assert used == 12
    # two batches of equal size: the average of their means is the mean of all
    assert model[0].running_mean.item() == pytest.approx((raw / 255).mean().item(), abs=1e-6)
    assert 0 < model[0].running_var.item() < 0.25
    assert model[0].momentum == 0.3
    assert all(module.training for module in model.modules())
    assert torch.equal(weights, model[3].weight)
    assert model[0].num_batches_tracked.item() == 2


def test_recalibration_uses_full_batches_of_a_seeded_choice():
    images = ImageSet(torch.arange(40).byte().reshape(10, 1, 2, 2), torch.arange(10) % 2, 2)

    def statistics(**options):
        model = normed().eval()
        used = recalibrate_batch_norm(model, images, mean=(0.0,), std=(1.0,), **options)
        assert not any(module.training for module in model.modules())
        return used, model[0].running_mean.item()

    assert statistics(batch_size=4)[0] == 8
    assert statistics(n_images=5)[0] == 5  # fewer than a batch: one smaller batch
    assert statistics(n_images=6, seed=1) == statistics(n_images=6, seed=1)
    assert statistics(n_images=6, seed=1) != statistics(n_images=6, seed=2)
    assert statistics(augment="crop") != statistics(augment="none")


def test_recalibration_without_anything_to_do_or_to_do_it_with():
    images = ImageSet(torch.zeros(4, 1, 2, 2).byte(), torch.arange(4) % 2, 2)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    assert recalibrate_batch_norm(plain, images, mean=(0.0,), std=(1.0,)) == 0
    model = normed()
    with pytest.raises(InputError, match="at least 2 images"):
        recalibrate_batch_norm(model, images, mean=(0.0,), std=(1.0,), n_images=1)
    with pytest.raises(InputError, match="3 classes"):
        wrong = ImageSet(images.images, images.labels, 3)
        recalibrate_batch_norm(model, wrong, mean=(0.0,), std=(1.0,))
    assert model[0].momentum == 0.1  # restored after a failure too
