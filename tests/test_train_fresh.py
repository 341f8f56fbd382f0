"""Fresh images: each epoch of a short training sees others, the same ones whatever the seed."""

from __future__ import annotations

import small
import torch

from hwn2n.distil.epoch import Lesson
from hwn2n.distil.feed import Feed
from hwn2n.distil.losses import LogitL2
from hwn2n.distil.recipes import TrainSettings
from hwn2n.distil.train import train


def lesson(seed: int, **settings: object) -> Lesson:
    data = small.small_data()
    return Lesson(
        images=data.train,
        teacher=None,
        teacher_logits=None,
        loss_fn=LogitL2(),
        settings=TrainSettings(epochs=4, batch_size=16, **settings),  # type: ignore[arg-type]
        feed=Feed.make(data.mean, data.std, "cpu", "fp32"),
        seed=seed,
    )


def chosen(one: Lesson, epoch: int) -> torch.Tensor:
    return one.chosen(epoch, torch.Generator().manual_seed(100 * one.seed + epoch))


def test_each_epoch_sees_others_until_all_were_seen() -> None:
    one = lesson(0, max_images=50, fresh=True)
    assert one.count == 50 and one.steps == 4
    epochs = [chosen(one, epoch) for epoch in range(4)]
    assert all(len(set(index.tolist())) == 50 for index in epochs)
    assert set(torch.cat(epochs[:3]).tolist()) == set(range(150))
    assert set(epochs[3].tolist()) == set(epochs[0].tolist())  # from the beginning again
    assert not torch.equal(epochs[3], epochs[0])  # in another order


def test_seeds_share_the_images_and_not_the_order() -> None:
    one, two = (lesson(seed, max_images=50, fresh=True) for seed in (0, 1))
    a, b = chosen(one, 1), chosen(two, 1)
    assert set(a.tolist()) == set(b.tolist()) and not torch.equal(a, b)


def test_without_it_nothing_changes() -> None:
    for settings in ({"max_images": 50}, {}, {"max_images": 999, "fresh": True}):
        one = lesson(0, **settings)
        generator = torch.Generator().manual_seed(3)
        expected = torch.randperm(150, generator=torch.Generator().manual_seed(3))
        assert one.count == 150 and torch.equal(one.chosen(2, generator), expected)


def test_a_training_learns_from_its_share_of_the_images() -> None:
    data = small.small_data()
    logits = torch.randn(150, 3)
    seen: list[int] = []

    class Watching(LogitL2):
        def __call__(self, student, wanted, labels):  # type: ignore[no-untyped-def]
            rows = (wanted[:, None] == logits[None]).all(-1).nonzero()[:, 1]
            seen.extend(rows.tolist())
            return super().__call__(student, wanted, labels)

    how = TrainSettings(epochs=2, batch_size=20, max_images=60, fresh=True, precision="fp32")
    train(
        small.SmallNet(),
        data.train,
        Watching(),
        how,
        mean=data.mean,
        std=data.std,
        teacher_logits=logits,
    )
    assert len(seen) == 120 and len(set(seen)) == 120
