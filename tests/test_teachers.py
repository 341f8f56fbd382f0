import pytest
import torch
from torch.export import Dim, export

from hwn2n.errors import InputError
from hwn2n.network.teachers import TEACHERS, build_teacher


def size(arch, channels=3, classes=10, pixels=32):
    return sum(p.numel() for p in build_teacher(arch, channels, classes, pixels).parameters())


@pytest.mark.parametrize(
    ("arch", "channels", "pixels", "parameters"),
    [
        # by hand: convolutions 800 + 18,432 + 36,864 + 73,728, batch norms 2 * 288, linear 1,290
        ("conv4", 1, 28, 131_690),
        ("digits-cnn", 1, 8, 103_466),
        ("vgg11", 3, 32, 9_228_362),
        ("vgg13", 3, 32, 9_413_066),
        ("vgg13", 1, 28, 9_411_914),
        ("vgg16", 3, 32, 14_724_042),
        ("vgg19", 3, 32, 20_035_018),
        ("resnet18", 3, 32, 11_173_962),
        ("resnet34", 3, 32, 21_282_122),
        ("resnet20", 3, 32, 272_474),
        ("resnet32", 3, 32, 466_906),
        ("resnet56", 3, 32, 855_770),
        ("resnet18-w64", 3, 32, 11_173_962),
        ("vgg19-w64", 3, 32, 20_035_018),
        # by hand: channels 3, 2, 4, 8, 8, 16, 16, 16, 16 and a linear layer of 16 to 10
        ("vgg11-w2", 3, 32, 9 * (6 + 8 + 32 + 64 + 128 + 3 * 256) + 2 * 86 + 170),
    ],
)
def test_parameters(arch, channels, pixels, parameters):
    assert size(arch, channels, 10, pixels) == parameters


def test_resnet20_is_the_published_size_but_for_its_projections():
    # He et al.: 269,722 with option A; two 1x1 projections with batch norm come on top
    assert size("resnet20") == 269_722 + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


@pytest.mark.parametrize("arch", sorted(TEACHERS))
@pytest.mark.parametrize(("channels", "pixels"), [(1, 28), (3, 8)])
def test_shapes(arch, channels, pixels):
    model = build_teacher(arch, channels, 7, pixels).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, channels, pixels, pixels)).shape == (2, 7)


def test_a_vgg_leaves_out_the_pools_that_would_leave_no_pixel():
    def pools(pixels):
        modules = build_teacher("vgg11", 1, 10, pixels).modules()
        return sum(isinstance(module, torch.nn.MaxPool2d) for module in modules)

    assert [pools(64), pools(32), pools(28), pools(8), pools(1)] == [5, 5, 4, 3, 0]


@pytest.mark.parametrize(("arch", "channels", "pixels"), [("vgg13", 1, 28), ("resnet18", 3, 32)])
def test_exports_with_a_free_batch(arch, channels, pixels):
    model = build_teacher(arch, channels, 10, pixels, seed=0).eval()
    example = (torch.randn(2, channels, pixels, pixels),)
    program = export(model, example, dynamic_shapes=({0: Dim("batch")},), strict=False)
    images = torch.randn(3, channels, pixels, pixels)
    assert torch.equal(program.module()(images), model(images))


def test_seed_fixes_the_weights_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two = (build_teacher("digits-cnn", 1, 10, 8, seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(before, torch.get_rng_state())
    other = build_teacher("digits-cnn", 1, 10, 8, seed=6)
    assert not torch.equal(one.features.conv1.weight, other.features.conv1.weight)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vgg12", 3, 10, 32), "vgg13"),
        (("vgg12-w8", 3, 10, 32), "vgg13"),
        (("resnet18-w0", 3, 10, 32), "resnet18-w16"),
        (("conv4-w8", 1, 10, 28), "resnet18-w16"),
        (("conv4", 0, 10, 28), "in_channels"),
        (("conv4", 1, 1, 28), "num_classes"),
        (("conv4", 1, 10, 5), "at least 6 pixels"),
        (("digits-cnn", 1, 10, 1), "at least 2 pixels"),
        (("resnet18", 1, 10, 0), "image_size"),
    ],
)
def test_refuses(arguments, words):
    with pytest.raises(InputError, match=words) as caught:
        build_teacher(*arguments)
    assert "\n" not in str(caught.value)
