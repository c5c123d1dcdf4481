"""Quantisers of one signature: codes in range, levels that are the nearest, tables counted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from insitu_widgets.levels import bit
from insitu_widgets.levels.quantised import quantise_network
from insitu_widgets.levels.quantisers import PER_CHANNEL, QUANTISERS, WIDEST_PRODUCT, has_room

every_quantiser = pytest.mark.parametrize("name", QUANTISERS)
UNIFORM = [name for name in QUANTISERS if name not in ("codebook", "product")]
layers = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.floats(-100, 100, width=32),
).map(torch.from_numpy)


def gaussian(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def error(weights, coded):
    return float((coded.dense() - weights).square().mean())


@every_quantiser
def test_more_bits_are_closer(name):
    weights = gaussian(64, 200, 3)
    errors = [error(weights, QUANTISERS[name](weights, bits)) for bits in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02
    assert errors[0] < 0.45


@every_quantiser
def test_codes_have_their_width_and_the_table_its_size(name):
    weights = gaussian(16, 256, 3, 3)
    for bits in (1, 2, 3):
        coded = QUANTISERS[name](weights, bits)
        assert coded.codes.dtype == torch.uint8
        assert int(coded.codes.max()) < 2**coded.code_bits
        assert coded.dense().shape == weights.shape
        assert coded.num_bits == coded.codes.numel() * coded.code_bits + coded.table_bits
        rows = 16 if "channel" in name else 1
        if name in UNIFORM:
            assert coded.table.shape == (rows, 2 if "affine" in name else 1)


@pytest.mark.parametrize("name", UNIFORM)
@given(weights=layers, bits=st.integers(1, 8))
def test_uniform_ones_bear_any_layer(name, weights, bits):
    coded = QUANTISERS[name](weights, bits)
    assert torch.isfinite(coded.dense()).all()
    assert coded == QUANTISERS[name](weights, bits)
    if bits == 8:
        spread = float(weights.max() - weights.min()) or 1e-3
        limit = float(weights.abs().max()) if "symmetric" in name else spread
        assert float((coded.dense() - weights).abs().max()) <= 0.05 * max(limit, 1e-3)


def test_per_channel_is_what_recipes_are_sent_with():
    weights = gaussian(6, 10)
    coded = QUANTISERS[PER_CHANNEL](weights, 3)
    codes, scales = bit.quantise(weights, torch.ones_like(weights, dtype=torch.bool), 3)
    assert torch.equal(coded.codes.view(6, 10), codes)
    assert torch.equal(coded.dense(), bit.reconstruct(codes, scales[:, None], 3))


@pytest.mark.parametrize("name", ["codebook", "product"])
def test_a_codebook_gives_each_weight_its_nearest_entry(name):
    weights = gaussian(64, 200)
    coded = QUANTISERS[name](weights, 2)
    groups = weights.reshape(-1, coded.group)
    nearest = torch.cdist(groups.double(), coded.table.double()).min(dim=1).values
    own = (groups - coded.table.float()[coded.codes.long()]).double().norm(dim=1)
    torch.testing.assert_close(own, nearest, atol=1e-4, rtol=0)


def test_lloyds_levels_are_the_gaussians():
    """J. Max's table I: 4 levels at ± 0.4528 and ± 1.510, error 0.1175."""
    weights = gaussian(400, 500)
    coded = QUANTISERS["codebook"](weights, 2)
    levels = coded.table.flatten().float()
    torch.testing.assert_close(levels.abs().sort().values[::2], torch.tensor([0.4528, 1.510]),
                               atol=0.02, rtol=0)  # fmt: skip
    assert error(weights, coded) == pytest.approx(0.1175, abs=0.002)


def test_vectors_serve_a_gaussian_better_than_scalars_do():
    weights = gaussian(400, 200)
    vector, scalar = QUANTISERS["product"](weights, 2), QUANTISERS["codebook"](weights, 2)
    assert error(weights, vector) < error(weights, scalar) < 0.12


def test_a_shifted_layer_wants_an_affine_quantiser():
    weights = gaussian(20, 50) + 5
    assert error(weights, QUANTISERS["affine, per tensor"](weights, 3)) < error(
        weights, QUANTISERS["symmetric, per tensor"](weights, 3)
    )


@every_quantiser
@pytest.mark.parametrize("bits", [0, 9, 2.0, True])
def test_bits_out_of_range_say_which_there_are(name, bits):
    highest = WIDEST_PRODUCT if name == "product" else 8
    with pytest.raises(ValueError, match=f"bits must be a whole number from 1 to {highest}"):
        QUANTISERS[name](gaussian(64, 600), bits)


@pytest.mark.parametrize(("name", "bits"), [("codebook", 8), ("product", 2), ("product", 4)])
def test_a_codebook_larger_than_the_layer_is_refused_with_the_remedy(name, bits):
    with pytest.raises(ValueError, match=r"layer of 60 weights.*Use fewer bits, or 'symmetric"):
        QUANTISERS[name](gaussian(6, 10), bits)
    assert not has_room(60, 8)
    assert has_room(60, 2)


class TestNetwork:
    @every_quantiser
    def test_a_small_layer_falls_back_to_per_channel_and_says_so(self, tiny, name):
        network = quantise_network(tiny, name, 4)
        for layer in network.layers.values():
            group = 2 if name == "product" else 1
            count = layer.dense().numel()
            fits = name in UNIFORM or has_room(count, 4, group)
            assert layer.quantiser == (name if fits else PER_CHANNEL)

    def test_eight_bits_answer_as_the_root(self, roots, few):
        root = roots["vgg-digits"]
        network = quantise_network(root, bits=8)
        same = network.module(root)(few.images).argmax(1) == root(few.images).argmax(1)
        assert int(same.sum()) >= 39

    def test_bits_by_layer(self, tiny):
        names = list(quantise_network(tiny).layers)
        widths = {name: 1 + i for i, name in enumerate(names)}
        network = quantise_network(tiny, bits=widths)
        assert [layer.bits for layer in network.layers.values()] == list(widths.values())
        with pytest.raises(ValueError, match="Name the root's layers"):
            quantise_network(tiny, bits={names[0]: 2})
        with pytest.raises(ValueError, match="from 1 to 8; got 9"):
            quantise_network(tiny, bits=widths | {names[0]: 9})

    def test_an_unknown_quantiser_names_the_known(self, tiny):
        with pytest.raises(ValueError, match="one of symmetric, per channel"):
            quantise_network(tiny, "octal")

    def test_the_root_stays_as_it_is(self, tiny):
        before = [p.clone() for p in tiny.parameters()]
        quantise_network(tiny, bits=1).module(tiny)
        assert all(torch.equal(a, b) for a, b in zip(before, tiny.parameters(), strict=True))
