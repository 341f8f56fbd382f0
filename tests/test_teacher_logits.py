"""What the teacher says of images is kept between runs, and never taken for another teacher's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

import hwn2n
from hwn2n.distil.accuracy import predict_logits
from hwn2n.distil.logits import teacher_logits
from hwn2n.errors import InterruptedRunError
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Classifying, Silent
from hwn2n.run.stop import Stop

DATA = small.small_data()

pytestmark = pytest.mark.usefixtures("logits_kept")


class Counted(nn.Module):
    """Functional all through but for its weights; it counts the images that it is asked about."""

    def __init__(self, stride: int = 1, slope: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=stride)
        self.linear = nn.Linear(4, 3)
        self.slope = slope
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        features = nn.functional.leaky_relu(self.conv(x), self.slope)
        logits: Tensor = self.linear(features.mean((2, 3)))
        return logits


def made(**how: Any) -> Counted:
    torch.manual_seed(0)
    return Counted(**how).eval()


def said(teacher: nn.Module) -> Tensor:
    return teacher_logits(teacher, DATA.train, mean=DATA.mean, std=DATA.std, precision="fp32")


def test_a_second_run_asks_about_a_few_images_only() -> None:
    first, second = made(), made()
    assert torch.equal(said(first), said(second))
    assert (first.asked, second.asked) == (150, 16)


def test_a_full_disk_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: dict[str, Tensor], path: Path) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("hwn2n.distil.logits.save_file", full)
    first, second = made(slope=0.5), made(slope=0.5)
    assert torch.equal(said(first), said(second))
    assert (first.asked, second.asked) == (150, 150)


@pytest.mark.parametrize("other", [{"stride": 2}, {"slope": 1.0}], ids=str)
def test_equal_weights_in_another_network_are_another_teacher(other: dict[str, Any]) -> None:
    before = said(made())
    after = said(made(**other))
    fresh = made(**other)
    with torch.no_grad():
        pixels = (DATA.train.images / 255 - DATA.mean[0]) / DATA.std[0]
        torch.testing.assert_close(after, fresh(pixels), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.equal(said(made(**other)), after), "and the newer is what is kept then"


class Tells(Silent):
    """Keeps what it is told, and asks for a stop when a search begins."""

    def __init__(self, stop: Stop | None = None) -> None:
        self.stop, self.told = stop, list[str]()

    def message(self, text: str) -> None:
        self.told.append(text)
        if self.stop is not None and text.startswith("compressing"):
            self.stop.request()


def test_who_waits_for_a_teacher_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 119.0, 121.0, 140.0, 200.0, 201.0])
    monkeypatch.setattr("hwn2n.run.progress.time.monotonic", lambda: next(clock))
    reporter = Tells()
    how: dict[str, Any] = {"mean": DATA.mean, "std": DATA.std}
    watch = Classifying(reporter, Stop())
    first = predict_logits(made(), DATA.train, **how, batch_size=40, watch=watch)
    assert reporter.told == ["the teacher has classified 80 of 150 images to learn from"]
    watch(0, 150)  # other images: their time counts from now on
    watch(40, 150)
    assert len(reporter.told) == 1
    assert torch.equal(first, predict_logits(made(), DATA.train, **how, batch_size=40))


def test_a_stop_does_not_wait_for_the_teacher(tmp_path: Path) -> None:
    stop = Stop()
    with pytest.raises(InterruptedRunError, match="go on with"):
        small.compress(tmp_path / "run", reporter=Tells(stop), stop=stop)
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite")
    assert not ledger.candidates()
    ledger.close()
    again: dict[str, Any] = {
        "model": small.small_teacher(), "data": small.small_data(), "target": small.CalmTarget(),
    }  # fmt: skip
    resumed = hwn2n.resume(tmp_path / "run", **again)
    whole = small.compress(tmp_path / "whole")
    assert (resumed.student, resumed.candidates) == (whole.student, whole.candidates)
