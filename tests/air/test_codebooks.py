"""The container of a quantised network: restored to the bit, or refused with a reason."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import PayloadError
from insitu_widgets.air.codebooks import (
    Parcel,
    damaged,
    pack_quantised,
    unpack_quantised,
)
from insitu_widgets.levels.quantised import quantise_network
from insitu_widgets.levels.quantisers import QUANTISERS


@pytest.mark.parametrize("quantiser", QUANTISERS)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_round_trip_to_the_bit(roots, quantiser, bits):
    network = quantise_network(roots["vgg-digits"], quantiser, bits, exit=4)
    parcel = pack_quantised(network)
    found, intact = unpack_quantised(parcel)
    assert intact
    assert found == network
    codes = sum(-(-c.codes.numel() * c.code_bits // 8) for c in network.layers.values())
    assert len(parcel.body) == codes
    assert parcel.num_bits == 8 * (len(parcel.header) + codes)


def test_mixed_widths_and_a_users_own_root(tiny):
    network = quantise_network(tiny)
    widths = {name: 1 + i % 8 for i, name in enumerate(network.layers)}
    network = quantise_network(tiny, bits=widths)
    assert unpack_quantised(pack_quantised(network), tiny) == (network, True)
    with pytest.raises(PayloadError, match="root"):
        unpack_quantised(pack_quantised(network))


@pytest.fixture(scope="module")
def parcel(tiny):
    return pack_quantised(quantise_network(tiny, bits=3))


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flip_of_the_header_is_noticed(tiny, parcel, place, bit):
    header = bytearray(parcel.header)
    header[place % len(header)] ^= 1 << bit
    with pytest.raises(PayloadError, match=r"Ask for|Read it with"):
        unpack_quantised(Parcel(bytes(header), parcel.body), tiny)


@given(length=st.integers(0, 10**6))
def test_any_truncation_is_noticed(tiny, parcel, length):
    with pytest.raises(PayloadError, match="header"):
        unpack_quantised(Parcel(parcel.header[: length % len(parcel.header)], parcel.body), tiny)
    with pytest.raises(PayloadError, match="body"):
        unpack_quantised(parcel.with_body(parcel.body[: length % len(parcel.body)]), tiny)


@given(seed=st.integers(0, 1000))
def test_flips_of_the_body_make_the_model_that_they_make(tiny, parcel, seed):
    body = damaged(parcel.body, 0.05, seed)
    found, intact = unpack_quantised(parcel.with_body(body), tiny)
    assert intact == (body == parcel.body)
    assert pack_quantised(found).body == body or not intact  # padding may be hit
    assert torch.isfinite(found.module(tiny)(torch.zeros(1, 1, 8, 8))).all()


def test_no_errors_change_nothing_and_the_rate_is_kept():
    data = bytes(10_000)
    assert damaged(data, 0.0, 0) == data
    flips = int(np.unpackbits(np.frombuffer(damaged(data, 0.01, 0), np.uint8)).sum())
    assert abs(flips - 800) < 4 * 800**0.5
