"""Images that functions of the user return, in every usual type and layout."""

import numpy as np
import pytest
import torch
from PIL import Image
from user_parts import LABELS, listed, pair, pixels, refused, train_of

from hwn2n.distil.user_images import channels_first
from hwn2n.errors import InputError


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_last(channels):
    images = pixels(8, 6, 6, channels)
    found = train_of(pair(images)).images
    assert torch.equal(found, torch.from_numpy(images).permute(0, 3, 1, 2))
    one = train_of(listed(image=images[0])).images
    assert torch.equal(one[5], torch.from_numpy(images[0]).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((2, 4, 8, 8), (2, 4, 8, 8)),
        ((2, 16, 8, 8), (2, 16, 8, 8)),
        ((2, 3, 4, 4), (2, 3, 4, 4)),
        ((2, 1, 2, 2), (2, 1, 2, 2)),
        ((2, 4, 4, 3), (2, 3, 4, 4)),
        ((2, 8, 5, 4), (2, 4, 8, 5)),
        ((2, 1, 1, 1), (2, 1, 1, 1)),
        ((2, 8, 6), (2, 1, 8, 6)),
    ],
)
def test_the_channel_axis(shape, found):
    assert channels_first(torch.zeros(shape), "m:f").shape == found


@pytest.mark.parametrize("shape", [(2, 3, 5, 3), (2, 8, 4, 4), (2, 3, 3, 3)])
def test_an_ambiguous_channel_axis_is_refused(shape):
    with pytest.raises(InputError, match="may be either") as caught:
        channels_first(torch.zeros(shape), "m:f")
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "plain"),
    [("P", "RGB"), ("RGBA", "RGB"), ("CMYK", "RGB"), ("RGB", "RGB"), ("LA", "L"), ("1", "L")],
)
def test_pil_images_become_grey_or_rgb(mode, plain):
    image = Image.fromarray(pixels(6, 5, 3)).convert(mode)
    expected = np.asarray(image.convert(plain))
    expected = expected[None] if plain == "L" else expected.transpose(2, 0, 1)
    for part in (listed(image=image), pair([image] * 8)):
        found = train_of(part).images
        assert found.shape == (8, *expected.shape)
        assert np.array_equal(found[7].numpy(), expected)


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_deep_pil_images_are_refused(mode):
    message = refused(listed(image=Image.new(mode, (6, 6))))
    assert f"image 0 of m:f (train) must have 8 bits per channel, but its mode is {mode}" in message


def test_a_pil_image_whose_file_is_broken(tmp_path):
    path = tmp_path / "broken.png"
    Image.fromarray(pixels(60, 60, 3)).save(path)
    path.write_bytes(path.read_bytes()[:300])
    for part in (listed(image=Image.open(path)), pair([Image.open(path)] * 8)):
        assert "image 0 of m:f (train) must be readable" in refused(part)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (None, "NoneType"),
        (np.array([None] * 8), "NoneType"),
        (np.array(["x"] * 8), "strings"),
        (["x"] * 8, "got str"),
        ([pixels(3, 6, 6), pixels(3, 7, 6)] * 4, "image 1 has (3, 7, 6) and image 0 (3, 6, 6)"),
        ([[[0.5, 0.5], [0.5]]] * 8, "inhomogeneous"),
        ([], "has none"),
        (np.zeros((0, 3, 6, 6)), "of shape (0,)"),
        (pixels(8, 3, 6, 6).astype(np.uint16), "torch.uint16"),
    ],
)
def test_unusable_images_are_refused(images, found):
    message = refused((images, LABELS))
    assert "(train)" in message
    assert found in message


def test_strides_and_byte_order_of_images_are_as_they_come():
    images = pixels(8, 3, 6, 6)
    assert np.array_equal(train_of(pair(images[:, :, ::-1])).images, images[:, :, ::-1])
    floats = (images / np.float32(255)).astype(">f4")
    assert np.array_equal(train_of(pair(floats)).images, images)


@pytest.mark.parametrize(
    ("value", "dtype", "found"),
    [
        (1.0000001, np.float32, "1.00000012..1.00000012"),
        (1 + 1e-15, np.float64, "1.0000000000000011..1.0000000000000011"),
        (2.5, np.float32, "2.5..2.5"),
        (np.nan, np.float32, "nan..nan"),
    ],
)
def test_floats_outside_the_range_are_named_exactly(value, dtype, found):
    message = refused(pair(np.full((8, 3, 6, 6), value, dtype)))
    assert message.endswith(f"but got floats in {found}")
