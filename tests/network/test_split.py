"""The feature's way up: real bytes, really flipped."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import Link, Packet, accuracy
from insitu_widgets.levels.recipe import BITS
from insitu_widgets.levels.split import count, split
from insitu_widgets.network.split import (
    Cooperation,
    Uplink,
    cooperative_exits,
    pack_feature,
    unpack_feature,
    upload_bits,
)

CLEAN = Link(1e6)


def uplink(bits, bit_error_rate=0.0, guard="clamp"):
    return Uplink(bits, Link(1e6, bit_error_rate=bit_error_rate), np.random.default_rng(0), guard)


def features(seed, shape=(3, 5, 7)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 10.0 ** (seed % 5)


def test_at_32_bits_the_halves_over_the_air_are_the_whole_to_the_bit(root, few):
    whole = root(few.images)
    for point in range(root.num_exits + 1):
        together = Cooperation(split(root, point), uplink(32))
        assert torch.equal(together(few.images), whole), point


@given(st.integers(0, 1000), st.sampled_from(BITS))
def test_what_is_packed_is_read_within_half_a_step(seed, bits):
    feature = features(seed)
    packet = pack_feature(feature, bits)
    arrived = unpack_feature(packet, feature.shape[1:], bits)
    if bits == 32:
        assert torch.equal(arrived, feature)
        return
    rows, read = feature.flatten(1), arrived.flatten(1)
    span = rows.amax(1) - rows.amin(1)
    step = span / (2**bits - 1) if bits <= 8 else rows.abs().amax(1) * 2**-10
    assert bool(((rows - read).abs().amax(1) <= 0.5001 * step + 1e-6 * span).all())


@given(st.integers(0, 1000), st.sampled_from(BITS), st.sampled_from((1e-3, 0.1, 0.5)))
def test_no_flip_leaves_the_range_of_the_image_under_a_guard(seed, bits, bit_error_rate):
    feature = features(seed)
    arrived = uplink(bits, bit_error_rate)(feature)
    rows, read = feature.flatten(1), arrived.flatten(1)
    room = 1e-3 * (rows.amax(1, keepdim=True) - rows.amin(1, keepdim=True))
    assert bool((read >= rows.amin(1, keepdim=True) - room).all())
    assert bool((read <= rows.amax(1, keepdim=True) + room).all())


def test_without_a_guard_a_float_may_become_anything():
    arrived = uplink(32, 0.1, "none")(features(0, (50, 400)))
    assert float(arrived.nan_to_num(torch.inf).abs().max()) > 1e30
    zeroed = uplink(32, 0.1, "zero")(features(0, (50, 400)))
    assert float(zeroed.abs().max()) < 10


def test_golden_bytes():
    packet = pack_feature(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), 2)
    assert packet.header.hex() == "0000000000004040"
    assert packet.body.hex() == "1b"  # 00 01 10 11


def test_bits_are_counted_as_they_are_sent(root):
    costs = count(root, (1, 8, 8))
    for point in range(root.num_exits):
        feature = split(root, point).device(torch.zeros(1, 1, 8, 8))
        for bits in BITS:
            sent = pack_feature(feature, bits).num_bits
            assert sent == upload_bits(costs.uploaded_values(point), bits)
    assert upload_bits(costs.uploaded_values(root.num_exits), 4) == 0


def test_nothing_goes_up_when_the_device_has_all(roots, few):
    root = roots["vgg-digits"]
    for point, bits in ((6, 0), (2, len(few) * upload_bits(256, 4))):
        together = Cooperation(split(root, point), uplink(4))
        together(few.images)
        assert together.uplink.sent_bits == bits


def test_measured_flips_match_the_bit_error_rate():
    feature = torch.zeros(100, 1000)
    feature[:, 0] = 255.0
    packet = pack_feature(feature, 8)
    arrived = uplink(8, 1e-2)(feature)
    flipped = pack_feature(torch.cat([arrived[:, 1:], feature[:, :1]], 1), 8).body
    sent = pack_feature(torch.cat([feature[:, 1:], feature[:, :1]], 1), 8).body
    count_ = np.bitwise_count(np.frombuffer(flipped, "u1") ^ np.frombuffer(sent, "u1")).sum()
    expected = 8 * len(packet.body) * 1e-2
    assert abs(int(count_) - expected) < 5 * expected**0.5


def test_the_seed_decides_the_errors(roots, few):
    root = roots["vgg-digits"]
    a, b = (Cooperation(split(root, 2), uplink(4, 0.05))(few.images) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, root(few.images))


def test_few_bits_are_enough_and_many_errors_are_too_many(roots, digits):
    root = roots["vgg-digits"]
    *_, four = accuracy(Cooperation(split(root, 4), uplink(4)), digits)
    *_, noisy = accuracy(Cooperation(split(root, 4), uplink(4, 0.5)), digits)
    assert four.accuracy > 0.98
    assert noisy.accuracy < 0.3


def test_exits_on_both_sides_are_the_roots_own_at_32_bits(root, few):
    exits = root.exits(few.images)
    for point in (0, 2, root.num_exits):
        way_up = uplink(32)
        mine = cooperative_exits(root, point, way_up, few.images)
        assert all(torch.equal(a, b) for a, b in zip(mine, exits, strict=True))
        assert (way_up.sent_bits == 0) == (point == root.num_exits)


def test_wrong_input_is_named(roots, few):
    root = roots["vgg-digits"]
    with pytest.raises(ValueError, match=r"feature bits must be one of 1, .*got 9\. Choose"):
        uplink(9)
    with pytest.raises(ValueError, match="guard must be one of"):
        uplink(4, guard="pray")
    with pytest.raises(ValueError, match=r"at least one image; got \[0, 4\]\. Give"):
        pack_feature(torch.zeros(0, 4), 4)
    with pytest.raises(ValueError, match=r"upload: 1 features \[5\] at 4 bit need 3 bytes; got 2"):
        unpack_feature(pack_feature(torch.zeros(1, 4), 4), (5,), 4)
    with pytest.raises(ValueError, match="upload"):
        unpack_feature(Packet(b"\0\0\0", b""), (4,), 4)
    with pytest.raises(ValueError, match=r"from 0 to 6; got 7"):
        cooperative_exits(root, 7, uplink(4), few.images)
    with pytest.raises(ValueError, match="rate_bps"):
        Link(-1e6)
