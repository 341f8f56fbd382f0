import pytest
import torch

from hwn2n.distil.augment import AUGMENTATIONS, augment, crop_padding, normalise
from hwn2n.distil.images import ImageSet, split_off, stratified_sample
from hwn2n.errors import InputError


def numbered(n, channels=1, height=4, width=4, classes=2):
    """Images whose pixels are unique, so that a moved pixel is recognised."""
    pixels = torch.arange(n * channels * height * width).remainder(255).add(1).to(torch.uint8)
    return ImageSet(pixels.reshape(n, channels, height, width), torch.arange(n) % classes, classes)


@pytest.mark.parametrize(
    ("images", "labels", "classes", "words"),
    [
        (torch.zeros(2, 1, 2, 2), torch.zeros(2).long(), 2, "uint8"),
        (torch.zeros(2, 2, 2).byte(), torch.zeros(2).long(), 2, r"\(N, C, H, W\)"),
        (torch.zeros(2, 1, 2, 2).byte(), torch.zeros(3).long(), 2, r"shape \(2,\)"),
        (torch.zeros(2, 1, 2, 2).byte(), torch.zeros(2), 2, "int64"),
        (torch.zeros(0, 1, 2, 2).byte(), torch.zeros(0).long(), 2, "empty"),
        (torch.zeros(2, 1, 2, 2).byte(), torch.tensor([0, 2]), 2, r"in 0..1, but got 2"),
        (torch.zeros(2, 1, 2, 2).byte(), torch.tensor([0, -1]), None, "not negative, but got -1"),
    ],
)
def test_image_set_refuses(images, labels, classes, words):
    with pytest.raises(InputError, match=words):
        ImageSet(images, labels, classes)


def test_subset_keeps_order_and_classes():
    images = numbered(6, classes=3)
    part = images.subset(torch.tensor([5, 0]))
    assert part.labels.tolist() == [2, 0]
    assert torch.equal(part.images, images.images[[5, 0]])
    assert part.num_classes == 3
    assert part.to("cpu") is part
    assert part.image_shape == (1, 4, 4)


def test_mean_and_std_by_hand():
    pixels = torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8).reshape(2, 1, 1, 2)
    pixels = torch.cat([pixels, torch.full_like(pixels, 51)], dim=1)
    mean, std = ImageSet(pixels, torch.tensor([0, 1])).mean_and_std()
    # of 0, 1, 0.2, 0.4: mean 0.4, variance (0.16 + 0.36 + 0.04 + 0) / 4 = 0.14
    assert mean == pytest.approx((0.4, 0.2))
    assert std == pytest.approx((0.14**0.5, 1.0))  # a constant channel is not divided by 0


def test_stratified_sample_takes_largest_remainders():
    labels = torch.tensor([0] * 10 + [1] * 5 + [3] * 1)  # no image of class 2
    chosen = stratified_sample(labels, 8, seed=0)
    # exact quotas 5, 2.5, 0.5: the first of the equal remainders gets the eighth image
    assert torch.bincount(labels[chosen], minlength=4).tolist() == [5, 3, 0, 0]
    assert torch.equal(chosen, chosen.sort().values)
    assert torch.equal(chosen, stratified_sample(labels, 8, seed=0))
    assert not torch.equal(chosen, stratified_sample(labels, 8, seed=1))
    assert stratified_sample(labels, 16, seed=0).tolist() == list(range(16))
    assert stratified_sample(labels, 0, seed=0).tolist() == []


def test_split_is_disjoint_complete_and_leaves_each_class_an_image():
    labels = torch.tensor([0] * 20 + [1])
    images = ImageSet(torch.arange(21).to(torch.uint8).reshape(21, 1, 1, 1), labels, 2)
    rest, part = split_off(images, 5, seed=3)
    assert sorted([*rest.images.flatten().tolist(), *part.images.flatten().tolist()]) == list(
        range(21)
    )
    assert len(part) == 5
    assert 1 in rest.labels
    with pytest.raises(InputError, match=r"in 0..19 with 1 of each class left over, but got 20"):
        split_off(images, 20, seed=3)
    with pytest.raises(InputError, match="at least 1"):
        split_off(images, 0, seed=3)


def test_normalise_by_hand():
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1)
    result = normalise(images, mean=(0.5, 0.2), std=(0.25, 0.4))
    torch.testing.assert_close(result.flatten(), torch.tensor([-2.0, 2.0]))
    last = normalise(numbered(2, 3).images, (0.0,) * 3, (1.0,) * 3, channels_last=True)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert normalise(images, (0.5, 0.2), (1, 1), torch.bfloat16).dtype == torch.bfloat16
    with pytest.raises(InputError, match="2 channels"):
        normalise(images, (0.5,), (0.5,))


def test_paddings():
    assert [crop_padding(size, size)[0] for size in (8, 28, 32, 64, 224)] == [1, 4, 4, 8, 28]


@pytest.mark.parametrize("policy", sorted(AUGMENTATIONS))
def test_each_image_is_one_window_of_the_padded_image(policy):
    images = numbered(64, channels=3, height=8, width=16).images
    result = augment(images, policy, torch.Generator().manual_seed(0))
    above, left = crop_padding(8, 16)
    padded = torch.nn.functional.pad(images, (left, left, above, above))
    seen = set()
    for before, after, image in zip(padded, result, images, strict=True):
        found = [
            (top, start, flip)
            for top in range(2 * above + 1)
            for start in range(2 * left + 1)
            for flip in (False, True)
            if torch.equal(
                after,
                before[:, top : top + 8, start : start + 16].flip(2)
                if flip
                else before[:, top : top + 8, start : start + 16],
            )
        ]
        assert len(found) == 1
        seen.add(found[0])
        assert after.shape == image.shape
    centre = {(above, left, False)}
    wanted = AUGMENTATIONS[policy]
    assert {flip for *_, flip in seen} == ({False, True} if wanted.flip else {False})
    assert (len({place[:2] for place in seen}) > 5) == wanted.crop
    if policy == "none":
        assert seen == centre
        assert result is images


def test_augmentation_follows_its_generator_only():
    images = numbered(8).images

    def result(seed):
        return augment(images, "crop-flip", torch.Generator().manual_seed(seed))

    assert torch.equal(result(1), result(1))
    assert not torch.equal(result(1), result(2))
    with pytest.raises(InputError, match="crop-flip"):
        augment(images, "mixup", torch.Generator())
