"""Peak memory, against sums by hand. Images are float32: 4 bytes a value."""

import gc

import pytest
import torch
from networks import Wrap, images
from torch import nn

from hwn2n.errors import MeasurementError
from hwn2n.hardware.memory import peak_memory

IMAGE = 3 * 8 * 8 * 4  # of Wrap's input, one image
MAP = 4 * 8 * 8 * 4  # of its convolutions' outputs


def weights(model: nn.Module) -> int:
    return sum(t.nbytes for t in (*model.parameters(), *model.buffers()))


def beside_weights(model: nn.Module, x: torch.Tensor) -> int:
    return peak_memory(model, x) - weights(model)


def test_a_chain_takes_its_widest_pair_beside_the_images():
    chain = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),  # 8x8 -> 512 bytes
        nn.Conv2d(2, 8, 3, padding=1),  # -> 2048
        nn.Conv2d(8, 1, 3, padding=1),  # -> 256
    )
    x = images((1, 8, 8), 1)  # 256, which the caller keeps
    assert beside_weights(chain, x) == 256 + max(512, 512 + 2048, 2048 + 256)
    assert beside_weights(chain, images((1, 8, 8), 3)) == 3 * (256 + 512 + 2048)


def test_a_skip_connection_stays_alive():
    def plain(net, x):
        return net.again(net.again(net.conv(x)))

    def residual(net, x):
        x = net.conv(x)
        return x + net.again(net.again(x))

    x = images((3, 8, 8), 1)
    assert beside_weights(Wrap(plain), x) == IMAGE + 2 * MAP
    assert beside_weights(Wrap(residual), x) == IMAGE + 3 * MAP


def test_in_place_operators_and_views_take_nothing():
    def fresh(net, x):
        return torch.relu(net.conv(x)).flatten(1)

    def in_place(net, x):
        return torch.relu_(net.conv(x)).flatten(1)

    x = images((3, 8, 8), 1)
    assert beside_weights(Wrap(fresh), x) == IMAGE + 2 * MAP
    assert beside_weights(Wrap(in_place), x) == IMAGE + MAP


def test_batch_normalisation_and_a_classifier():
    def function(net, x):
        x = net.bn(net.conv(x))  # two maps
        x = x.mean((2, 3))  # a map and 16 bytes
        return net.head(x)  # 16 and 20 bytes

    assert beside_weights(Wrap(function), images((3, 8, 8), 1)) == IMAGE + 2 * MAP


def test_weights_on_one_storage_count_once_and_views_of_them_nothing():
    net = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    x = torch.rand(1, 10)
    assert peak_memory(net, x) == 2 * 400 + 40 + 2 * 40
    net[1].weight = net[0].weight
    assert peak_memory(net, x) == 400 + 40 + 2 * 40


def test_images_count_by_themselves_though_they_are_part_of_more():
    many = images((3, 8, 8), 6)
    model = Wrap(lambda net, x: net.conv(x))
    assert peak_memory(model, many[:1]) == peak_memory(model, many[:1].clone())


def test_half_precision_takes_half():
    model, x = nn.Conv2d(1, 2, 3), images((1, 8, 8), 1)
    assert peak_memory(model.half(), x.half()) == peak_memory(nn.Conv2d(1, 2, 3), x) // 2


def test_an_inner_tensor_of_a_composite_operator_is_seen():
    # attention's scores, 4 x 16 x 16 values, are made inside of the operator where it is no kernel
    class Attend(nn.Module):
        def forward(self, x):
            return (x @ x.transpose(-1, -2)).softmax(-1) @ x

    x = torch.rand(1, 4, 16, 8)
    scores, tokens = 4 * 16 * 16 * 4, 4 * 16 * 8 * 4
    assert peak_memory(Attend(), x) == tokens + max(2 * scores, scores + tokens)


def test_it_is_the_same_every_time_and_leaves_everything_as_it_was():
    model = Wrap(lambda net, x: net.head(net.bn(net.conv(x)).relu_().mean((2, 3)))).train()
    x = images((3, 8, 8))
    before, state = x.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    assert len({peak_memory(model, x) for _ in range(5)}) == 1
    assert torch.equal(x, before) and gc.isenabled()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_cycle_does_not_free_at_random():
    class Cycle(nn.Module):
        def forward(self, x):
            for _ in range(3):
                held = [x + 1]
                held.append(held)
            return x + 2

    x = torch.rand(1, 10)
    assert peak_memory(Cycle(), x) == 40 + 3 * 40 + 40
    gc.collect()


def test_a_model_that_does_not_run_is_an_error_with_the_shape():
    with pytest.raises(MeasurementError, match=r"run on an input of shape \(2, 3, 8, 8\) for its"):
        peak_memory(nn.Conv2d(5, 1, 1), images((3, 8, 8)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_is_the_allocators_peak_of_this_model_alone():
    model, x = Wrap(lambda net, x: net.again(net.again(net.conv(x)))).cuda(), images((3, 64, 64))
    alone = peak_memory(model, x)
    one_map = 2 * 4 * 64 * 64 * 4
    assert weights(model) + x.nbytes + 2 * one_map <= alone
    other = torch.empty(2**24, device="cuda")
    assert peak_memory(model, x) == alone
    del other
