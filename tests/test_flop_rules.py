"""FLOPs of single operators, against hand-computed values and against torch's own counter."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

from hwn2n.errors import MeasurementError
from hwn2n.hardware.counts import count
from hwn2n.hardware.flop_rules import is_contraction
from hwn2n.network.operators.einsum_flops import einsum_flops


class Call(nn.Module):
    """A function of the images and of the modules given."""

    def __init__(self, function, *parts) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        return self.function(x, *self.parts)


def contractions(function, *parts, shape=(1, 6, 8)):
    return count(Call(function, *parts), torch.rand(shape)).contractions


def torchs(function, *parts, shape=(1, 6, 8)):
    """What torch's counter says of the same, in multiply-adds."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            Call(function, *parts).eval()(torch.rand(shape))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops() // 2


def a(*shape):
    return torch.ones(shape)


@pytest.mark.parametrize(
    ("function", "flops"),
    [
        # x is (1, 6, 8)
        (lambda x: x @ a(8), 6 * 8),
        (lambda x: a(6) @ x[0], 6 * 8),
        (lambda x: x[0, 0] @ a(8), 8),
        (lambda x: x @ a(5, 8, 3), 5 * 6 * 8 * 3),
        (lambda x: a(4, 1, 3, 6) @ x, 4 * 3 * 6 * 8),
        (lambda x: torch.bmm(x, a(1, 8, 7)), 6 * 8 * 7),
        (lambda x: torch.mv(x[0], a(8)), 6 * 8),
        (lambda x: torch.addmv(a(6), x[0], a(8)), 6 * 8),
        (lambda x: torch.addmm(a(6, 6), x[0], x[0].T), 6 * 8 * 6),
        (lambda x: a(6, 6).addmm_(x[0], x[0].T), 6 * 8 * 6),
        (lambda x: torch.baddbmm(a(3, 6, 2), x.expand(3, 6, 8), a(3, 8, 2)), 3 * 6 * 8 * 2),
        (lambda x: torch.addbmm(a(6, 2), x.expand(3, 6, 8), a(3, 8, 2)), 3 * 6 * 8 * 2),
        (lambda x: torch.dot(x[0, 0], x[0, 1]), 8),
        (lambda x: torch.vdot(x[0, 0], x[0, 1]), 8),
        (lambda x: torch.inner(x, a(5, 8)), 6 * 5 * 8),
        (lambda x: torch.outer(x[0, 0], a(5)), 8 * 5),
        (lambda x: torch.addr(a(8, 5), x[0, 0], a(5)), 8 * 5),
        (lambda x: torch.kron(x[0], a(2, 3)), 6 * 8 * 2 * 3),
        (lambda x: torch.linalg.vecdot(x, a(3, 6, 8)), 3 * 6 * 8),
        (lambda x: F.cosine_similarity(x[0], a(6, 8)), 6 * 8),
        (lambda x: torch.tensordot(x, a(8, 6, 5), dims=([1, 2], [1, 0])), 6 * 8 * 5),
        (lambda x: torch.tensordot(x, a(8, 5), dims=1), 6 * 8 * 5),
        (lambda x: torch.einsum("bij,jk->bik", x, a(8, 5)), 6 * 8 * 5),
        (lambda x: torch.einsum("...j,kj->...k", x, a(5, 8)), 6 * 8 * 5),
        (lambda x: torch.einsum("bij,bkj,bk->bi", x, a(1, 5, 8), a(1, 5)), 6 * 8 * 5 + 6 * 5),
        (lambda x: torch.einsum("bij->b", x), 0),
        (lambda x: F.linear(x, a(5, 8)), 6 * 8 * 5),
        (lambda x: F.linear(x, a(8)), 6 * 8),
        (lambda x: torch.cdist(x, a(1, 5, 8)), 6 * 5 * 8),
        (lambda x: torch.cdist(x, a(1, 5, 8), p=1), 6 * 5 * 8),
        (lambda x: torch.conv_tbc(x.mT[0][:, None], a(3, 6, 5), a(5)), 6 * 3 * 6 * 5),
        (lambda x: F.affine_grid(x[:, :2, :3], [1, 1, 4, 5], False), 4 * 5 * 2 * 3),
    ],
)
def test_products(function, flops):
    assert contractions(function) == flops
    assert torchs(function) in (0, flops)  # torch counts no products with vectors


def test_bilinear_is_two_products():
    layer = nn.Bilinear(8, 8, 3)
    as_einsum = contractions(lambda x: torch.einsum("bni,oij,bnj->bno", x, a(3, 8, 8), x))
    assert contractions(lambda x, layer: layer(x, x), layer) == 6 * (3 * 8 * 8 + 3 * 8) == as_einsum


# One multiply-add for each output, filter place and channel of the group; a transposed convolution
# uses each input in every place of its filters, whatever of that is cropped afterwards.
@pytest.mark.parametrize(
    ("layer", "shape", "flops"),
    [
        (nn.Conv1d(4, 6, 3, dilation=2), (1, 4, 11), 7 * 6 * 4 * 3),
        (nn.Conv1d(4, 6, 4, padding="same"), (1, 4, 11), 11 * 6 * 4 * 4),
        (nn.Conv2d(4, 6, (3, 1), stride=2, padding=1), (1, 4, 9, 9), 5 * 6 * 6 * 4 * 3),
        (nn.Conv2d(4, 8, 3, groups=4), (1, 4, 9, 9), 7 * 7 * 8 * 1 * 9),
        (nn.Conv2d(4, 6, 3, groups=2, dilation=(1, 3)), (1, 4, 9, 9), 7 * 3 * 6 * 2 * 9),
        (nn.Conv3d(2, 3, (2, 3, 3), padding=(0, 1, 1)), (1, 2, 5, 4, 4), 4 * 16 * 3 * 2 * 18),
        (nn.ConvTranspose1d(4, 6, 3, stride=2), (1, 4, 5), 5 * 4 * 6 * 3),
        (nn.ConvTranspose2d(4, 6, 3, groups=2, padding=1), (1, 4, 5, 5), 25 * 4 * 3 * 9),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, dilation=2), (1, 4, 5, 5), 25 * 4 * 6 * 9),
        (nn.ConvTranspose3d(2, 3, 2), (1, 2, 3, 3, 3), 27 * 2 * 3 * 8),
    ],
)
def test_convolutions(layer, shape, flops):
    assert contractions(lambda x, layer: layer(x), layer, shape=shape) == flops
    assert torchs(lambda x, layer: layer(x), layer, shape=shape) == flops


def attended(**arguments):
    return lambda x: F.scaled_dot_product_attention(
        x, a(2, 3, 7, 8), a(2, 3, 7, 5), **arguments
    ).mean((2, 3))


def test_attention():
    # 2 images, 3 heads, 4 queries, 7 keys: 8 a score, then 5 a weight
    flops = 3 * 4 * 7 * (8 + 5)
    for arguments in ({}, {"attn_mask": a(4, 7) > 0}, {"is_causal": True}):
        assert contractions(attended(**arguments), shape=(2, 3, 4, 8)) == flops
        assert torchs(attended(**arguments), shape=(2, 3, 4, 8)) == 2 * flops


def test_grouped_queries_and_three_dimensions():
    def grouped(x):
        return F.scaled_dot_product_attention(x, a(1, 2, 7, 8), a(1, 2, 7, 8), enable_gqa=True)

    assert contractions(grouped, shape=(1, 6, 4, 8)) == 6 * 4 * 7 * 16
    assert contractions(lambda x: F.scaled_dot_product_attention(x, x, x)) == 6 * 6 * 16


def fused_heads(x, layer):
    flat = (layer.in_proj_weight, layer.in_proj_bias, layer.out_proj.weight, layer.out_proj.bias)
    return torch._native_multi_head_attention(x, x, x, 8, 2, *flat, need_weights=False)[0]


def fused_layer(x, layer):
    heads = layer.self_attn
    return torch._transformer_encoder_layer_fwd(
        x,
        8,
        2,
        heads.in_proj_weight,
        heads.in_proj_bias,
        heads.out_proj.weight,
        heads.out_proj.bias,
        False,
        False,
        1e-5,
        *(t for norm in (layer.norm1, layer.norm2) for t in (norm.weight, norm.bias)),
        *(t for linear in (layer.linear1, layer.linear2) for t in (linear.weight, linear.bias)),
    )


def test_transformer_layers_with_and_without_the_fast_path():
    heads = nn.MultiheadAttention(8, 2, batch_first=True)
    projections, products = 4 * 6 * 8 * 8, 2 * 6 * 6 * 8
    for layer in (
        lambda x, heads: heads(x, x, x, need_weights=False)[0],
        lambda x, heads: heads(x, x, x)[0],
        fused_heads,
    ):
        assert contractions(layer, heads) == projections + products
    encoder = nn.TransformerEncoderLayer(8, 2, 20, batch_first=True)
    image = torch.rand(3, 6, 8)
    expected = projections + products + 2 * 6 * 8 * 20
    plain = count(Call(lambda x, layer: layer(x), encoder), image)
    fused = count(Call(fused_layer, encoder), image)
    assert plain.contractions == fused.contractions == expected
    assert plain.flops == fused.flops == expected + 2 * 5 * 6 * 8  # fvcore's five for a norm
    assert torch.backends.mha.get_fastpath_enabled()
    # torch 2.14's own counter does not know the two products of the fast path
    assert torchs(lambda x, layer: layer(x), encoder) in (expected, expected - products)
    stack = nn.TransformerEncoder(encoder, 2, enable_nested_tensor=True)
    assert contractions(lambda x, stack: stack(x), stack) == 2 * expected


RECURRENT = [
    # gates * (inputs + hidden) * hidden at each of the steps
    (nn.LSTM(8, 5), 4 * (8 + 5) * 5),
    (nn.GRU(8, 5, batch_first=True), 3 * (8 + 5) * 5),
    (nn.RNN(8, 5, bias=False), (8 + 5) * 5),
    (nn.RNN(8, 5, nonlinearity="relu"), (8 + 5) * 5),
    (nn.LSTM(8, 5, 2, bidirectional=True), 2 * 4 * ((8 + 5) * 5 + (10 + 5) * 5)),
    (nn.LSTM(8, 5, proj_size=3), 4 * (8 + 3) * 5 + 5 * 3),
    (nn.LSTM(8, 5, 2, proj_size=3), 4 * (8 + 3) * 5 + 4 * (3 + 3) * 5 + 2 * 5 * 3),
]


@pytest.mark.parametrize(("layer", "each_step"), RECURRENT)
def test_recurrent_layers(layer, each_step):
    assert contractions(lambda x, layer: layer(x)[0], layer) == 6 * each_step
    assert torchs(lambda x, layer: layer(x)[0], layer) in (0, 6 * each_step)

    def packed(x, layer):
        sequences = pack_padded_sequence(x, torch.tensor([6, 4]), batch_first=layer.batch_first)
        return layer(sequences)[0].data

    shape = (2, 6, 8) if layer.batch_first else (6, 2, 8)
    total = count(Call(packed, layer), torch.rand(shape)).contractions * shape[0]
    assert total == pytest.approx(10 * each_step, abs=shape[0])  # rounded for each image


def test_cells():
    for cell, flops in (
        (nn.LSTMCell(8, 5), 4 * 13 * 5),
        (nn.GRUCell(8, 5), 3 * 13 * 5),
        (nn.RNNCell(8, 5), 13 * 5),
    ):
        first = lambda x, cell: torch.atleast_2d(cell(x[0])[0])  # noqa: E731
        assert contractions(first, cell) == 6 * flops == torchs(first, cell)


def test_decomposed_programs_count_like_their_module():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.GroupNorm(2, 8),
        nn.LayerNorm([8, 4, 4]),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    ).eval()
    image = torch.rand(1, 3, 6, 6)
    program = torch.export.export(model, (image,), strict=False).run_decompositions()
    ours, theirs = count(program.module(), image), count(model, image)
    assert (ours.flops, ours.contractions) == (theirs.flops, theirs.contractions)
    assert theirs.flops - theirs.contractions == 128 * (2 + 5 + 5 + 1)


def test_random_einsums_against_torchs_counter():
    """Equal where each step sums something; torch takes a step that sums nothing for free."""
    rng, sizes = random.Random(0), dict(zip("abcdef", (2, 3, 5, 7, 4, 6), strict=True))
    equal = 0
    for _ in range(60):
        terms = ["".join(rng.sample("abcdef", rng.randint(1, 3))) for _ in range(rng.randint(1, 4))]
        known = sorted(set("".join(terms)))
        equation = f"{','.join(terms)}->{''.join(rng.sample(known, rng.randint(0, len(known))))}"
        operands = [torch.rand([sizes[label] for label in term]) for term in terms]
        places = range(len(terms), 1, -1)
        path = [i for n in places for i in sorted(rng.sample(range(n), 2))]
        for order in (None, path or None):
            with FlopCounterMode(display=False) as counter:
                torch._VF.einsum(equation, operands, path=order)
            ours = einsum_flops(equation, [operand.shape for operand in operands], order or ())
            assert counter.get_total_flops() // 2 <= ours
            equal += counter.get_total_flops() // 2 == ours
    assert equal > 20


def test_a_path_of_contraction_is_read_from_the_trace():
    operands = [torch.rand(shape) for shape in ((2, 3), (3, 5), (5, 7))]

    def chain(path):
        return lambda x: torch._VF.einsum("ab,bc,cd->ad", [x, *operands[1:]], path=path)

    assert contractions(chain(None), shape=(2, 3)) * 2 == 2 * 3 * 5 + 2 * 5 * 7
    assert contractions(chain([1, 2, 0, 1]), shape=(2, 3)) == round((3 * 5 * 7 + 2 * 3 * 7) / 2)


def test_einsums_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must have 2 operands"):
        einsum_flops("ab->a", [(2, 3), (3, 4)])
    with pytest.raises(ValueError, match="must have 2 dimensions"):
        einsum_flops("ab,b->a", [(2, 3, 4), (3,)])


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: torch.fft.rfft(x).abs(), "fft_rfft"),
        (lambda x: torch.linalg.inv(x[:, :, :6] + torch.eye(6)), "linalg_inv"),
        (lambda x: torch.linalg.multi_dot([x[0], x[0].T, x[0]]), "linalg_multi_dot"),
        (lambda x: torch.matrix_power(x[:, :, :6], 3), "linalg_matrix_power"),
        (lambda x: torch.cov(x[0]), "cov"),
        (lambda x: torch.linalg.svdvals(x), "linalg_svd"),
    ],
)
def test_contractions_without_a_rule_stay_errors(function, name):
    with pytest.raises(MeasurementError, match=rf"there is no rule for aten::{name}"):
        contractions(function)


def test_names():
    for name in ("_cudnn_rnn", "mkldnn_linear", "_weight_int8pack_mm", "_fft_r2c", "conv_new"):
        assert is_contraction(f"aten::{name}")
    for name in ("upsample_bilinear2d", "linalg_vector_norm", "fft_fftshift", "softmax", "einops"):
        assert not is_contraction(f"aten::{name}")
    for operator in itertools.chain(["torchvision::deform_conv2d", "prim::PythonOp.Double"]):
        assert is_contraction(operator)
