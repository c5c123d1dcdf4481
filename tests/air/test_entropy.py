"""Entropy coding: the same codes back, smaller, and brittle."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets.air.codebooks import damaged
from insitu_widgets.air.entropy import CODERS, decode, encode
from insitu_widgets.levels.quantised import quantise_network


@pytest.fixture(scope="module")
def layers(roots):
    return dict(quantise_network(roots["vgg-digits"], bits=4).layers)


def wrong(layers, found):
    return sum(int((found[n].codes != c.codes).sum()) for n, c in layers.items())


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("quantiser", ["codebook", "product"])
def test_codes_come_back(roots, coder, quantiser):
    layers = dict(quantise_network(roots["vgg-digits"], quantiser, 3, exit=4).layers)
    assert decode(layers, encode(layers, coder), coder) == layers


def test_it_is_smaller_and_no_smaller_than_the_entropy(layers):
    fixed, huffman = (len(encode(layers, coder)) for coder in CODERS)
    codes = torch.cat([layer.codes for layer in layers.values()])
    shares = torch.bincount(codes.long(), minlength=16) / codes.numel()
    entropy_bytes = float(-(shares * shares.clamp(min=1e-9).log2()).sum()) * codes.numel() / 8
    assert 0.9 * entropy_bytes < huffman < 0.9 * fixed


def test_one_flip_spoils_one_fixed_code_and_can_spoil_half_a_stream(layers):
    worst = {}
    for coder in CODERS:
        stream = encode(layers, coder)
        counts = []
        for place in range(12):
            hurt = bytearray(stream)
            hurt[len(stream) // 4 + 97 * place] ^= 0x10
            counts.append(wrong(layers, decode(layers, bytes(hurt), coder)))
        worst[coder] = max(counts)
    assert worst["fixed"] == 1
    assert worst["huffman"] > 50_000


@given(seed=st.integers(0, 50), coder=st.sampled_from(CODERS))
def test_a_damaged_stream_never_raises_and_stays_in_range(layers, seed, coder):
    found = decode(layers, damaged(encode(layers, coder), 1e-3, seed), coder)
    assert all(int(found[n].codes.max()) < 16 for n in layers)
    assert [found[n].codes.shape for n in layers] == [c.codes.shape for c in layers.values()]


def test_an_unknown_coder_names_the_known(layers):
    with pytest.raises(ValueError, match="one of fixed, huffman"):
        encode(layers, "morse")
