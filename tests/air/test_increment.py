"""Increments: old + delta = new, to the bit; what is lost, reordered or not nested is told."""

import copy
from itertools import pairwise
from math import comb, log2

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu_widgets import (
    Link,
    PayloadError,
    Recipe,
    Root,
    derive,
    load_root,
    pack,
    transmit,
    unpack,
)
from insitu_widgets.air import coding, increment
from insitu_widgets.air.increment import NotNestedError, order_bits
from insitu_widgets.air.payload import Packet
from tests.conftest import losses_of


@pytest.fixture(scope="module")
def nested(tiny):
    """The tiny root as an all-in-one root: its sub-models share their grids."""
    root = copy.deepcopy(tiny)
    root.name = "tiny-nested"
    return root


def chain(root, *cuts):
    """Sub-models of a root, smallest first."""
    return [derive(root, Recipe(root.name, *cut)) for cut in cuts]


def received(root, submodels):
    """What a device holds after each packet of a chain, which crosses as bytes."""
    held, _ = unpack(pack(submodels[0]), root=root)
    yield held
    for old, new in pairwise(submodels):
        held, report = unpack(pack(new, base=old), root=root, base=held)
        assert report.intact
        yield held


cuts = st.tuples(st.floats(0.02, 1.0), st.sampled_from([1, 2, 3, 4, 6, 8]))


@given(st.lists(cuts, min_size=2, max_size=4))
def test_any_ladder_of_keep_and_bits_grows_to_the_bit(nested, ladder):
    keeps, bits = (sorted(values) for values in zip(*ladder, strict=True))
    submodels = chain(nested, *((2, keep, b) for keep, b in zip(keeps, bits, strict=True)))
    assert list(received(nested, submodels)) == submodels


@pytest.mark.parametrize("bits", [16, 32])
def test_floats_grow_in_keep(tiny, bits):
    submodels = chain(tiny, *((2, keep, bits) for keep in (0.1, 0.3, 1.0)))
    assert list(received(tiny, submodels)) == submodels


@pytest.mark.parametrize("name", ["tiny", "tiny-nested"])
def test_exits_and_bits_grow_together(tiny, nested, name):
    root = {"tiny": tiny, "tiny-nested": nested}[name]
    widths = (2, 4) if name == "tiny-nested" else (4, 4)
    submodels = chain(root, (1, 1.0, widths[0]), (2, 1.0, widths[1]))
    assert list(received(root, submodels)) == submodels


def test_the_last_packet_of_a_chain_is_the_direct_one_and_costs_little_more(roots):
    root = copy.deepcopy(roots["resnet-digits"])
    root.name = "resnet-digits-nested"
    submodels = chain(root, *((None, keep, 4) for keep in (0.05, 0.1, 0.2, 0.5, 1.0)))
    parts = [pack(submodels[0])]
    parts += [pack(new, base=old) for old, new in pairwise(submodels)]
    assert list(received(root, submodels))[-1] == submodels[-1]
    assert all(part.num_bits < pack(s).num_bits for part, s in zip(parts[1:], submodels[1:]))  # noqa: B905
    direct = pack(submodels[3]).num_bits
    assert sum(part.num_bits for part in parts[:4]) <= 1.05 * direct


def test_a_lost_and_a_reordered_increment_are_detected(nested):
    one, two, three = chain(nested, (2, 0.1, 4), (2, 0.3, 4), (2, 0.6, 4))
    second, third = pack(two, base=one), pack(three, base=two)
    for wrong in (third, pack(three, base=one)):  # lost; and one meant for another device
        with pytest.raises(NotNestedError, match=r"lost, or they came out of order\. Ask for"):
            unpack(wrong, root=nested, base=two if wrong is not third else one)
    held, _ = unpack(second, root=nested, base=one)
    with pytest.raises(NotNestedError, match="another one"):  # the same one twice
        unpack(second, root=nested, base=held)
    assert unpack(third, root=nested, base=held)[0] == three


def test_a_base_with_bit_errors_still_grows_and_is_told(nested):
    one, two = chain(nested, (2, 0.5, 4), (2, 1.0, 8))
    damaged, _ = unpack(transmit(pack(one), Link(1.0, bit_error_rate=0.05), 0), root=nested)
    held, report = unpack(pack(two, base=one), root=nested, base=damaged)
    assert not report.intact
    assert [layer.mask.sum() for layer in held.layers] == [la.mask.sum() for la in two.layers]
    wrong = [
        int((a.values != b.values).sum()) for a, b in zip(held.layers, two.layers, strict=True)
    ]
    assert 0 < sum(wrong) < 0.5 * one.num_weights


@given(st.integers(0, 2**31), st.sampled_from([1e-3, 1e-1, 0.5]))
@settings(max_examples=25)
def test_errors_in_the_body_never_raise_and_guards_hold(tiny, seed, rate):
    one, two = chain(tiny, (2, 0.3, 32), (2, 1.0, 32))
    arrived = transmit(pack(two, base=one), Link(1.0, bit_error_rate=rate), seed)
    held, _ = unpack(arrived, "zero", tiny, base=one)
    assert all(layer.values.isfinite().all() for layer in held.layers)


@pytest.mark.parametrize(
    ("small", "large", "why"),
    [
        ((2, 0.5, 4), (2, 0.2, 4), "are not all in it"),
        ((2, 0.5, 8), (2, 0.5, 4), "8 bit do not grow into 4"),
        ((2, 0.5, 8), (2, 0.5, 32), "8 bit do not grow into 32"),
        ((2, 1.0, 4), (1, 1.0, 4), "the larger one lacks blocks"),
    ],
)
def test_a_base_that_is_not_nested_is_refused_with_the_remedy(nested, small, large, why):
    base, target = chain(nested, small, large)
    with pytest.raises(NotNestedError, match=rf"base must be nested in .*{why}.*pack it whole"):
        pack(target, base=base)


def test_an_increment_brings_norms_that_were_measured_anew():
    root = load_root("resnet-digits-nested")
    small, large = (
        derive(root, Recipe(root.name, 3, keep, 4, recalibrated=True)) for keep in (0.2, 0.5)
    )
    packet = pack(large, base=small)
    held, _ = unpack(packet, base=small)
    assert held == large
    assert held.recipe.recalibrated
    assert packet.num_bits < pack(large).num_bits


def test_a_mixed_recipe_neither_grows_nor_is_grown_into(nested):
    losses = losses_of(nested, 2)
    uniform = derive(nested, Recipe(nested.name, 2, 0.5, 3))
    mixed = derive(nested, Recipe(nested.name, 2, 0.5, 3, mixed=True), sensitivity=losses)
    for base, target in ((uniform, mixed), (mixed, uniform), (mixed, mixed)):
        with pytest.raises(NotNestedError, match=r"one width for all layers.*pack it whole"):
            pack(target, base=base)


def test_a_plain_roots_codes_do_not_nest_in_keep(tiny):
    base, target = chain(tiny, (2, 0.2, 4), (2, 1.0, 4))
    with pytest.raises(NotNestedError, match=r"scales.*all-in-one root"):
        pack(target, base=base)


def test_another_roots_sub_model_is_no_base(tiny, nested):
    with pytest.raises(NotNestedError, match="of one root"):
        pack(derive(nested, Recipe("tiny-nested")), base=derive(tiny, Recipe("tiny")))


def test_what_is_no_base_is_told_by_its_type(tiny):
    submodel = derive(tiny, Recipe("tiny"))
    for call in (
        lambda: pack(submodel, base=pack(submodel)),
        lambda: unpack(pack(submodel), root=tiny, base="x"),
    ):
        with pytest.raises(TypeError, match="base must be of type SubModel"):
            call()


@given(st.data())
@settings(max_examples=60)
def test_a_damaged_header_is_always_told(nested, data):
    one, two = chain(nested, (2, 0.2, 4), (2, 1.0, 4))
    whole = pack(two, base=one)
    header = bytearray(whole.header)
    place = data.draw(st.integers(0, len(header) - 1))
    header[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PayloadError, match="header"):
        unpack(Packet(bytes(header), whole.body), root=nested, base=one)


def test_a_whole_packet_is_no_increment_and_the_other_way_round(nested):
    one, two = chain(nested, (2, 0.2, 4), (2, 1.0, 4))
    with pytest.raises(PayloadError, match=r"^header: this is a whole packet.+ Leave base out"):
        unpack(pack(two), root=nested, base=one)
    with pytest.raises(PayloadError, match=r"^header: this is an increment .+ Give that: .+base=…"):
        unpack(pack(two, base=one), root=nested)


def test_the_codes_of_a_smaller_one_are_the_first_bits_of_a_larger_ones(nested):
    small, large = chain(nested, (2, 0.3, 3), (2, 1.0, 8))
    for a, b in zip(small.layers, large.layers, strict=True):
        assert torch.equal(a.values, b.values[a.mask[b.mask]] >> 5)


codes = st.integers(2, 8).flatmap(
    lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1), max_size=40))
)


def read_back(values, bits):
    """The oracle: codes with a map, read one by one, from bits as text."""
    record, data, body = increment._mapped(values, bits)
    way, parameter, count, size = increment._MAP.unpack(record)
    assert size == len(data)
    short = coding.decode_mask(way, parameter, data, count, len(values) // 4)
    few = 4 * count
    cut = coding.packed_size(few, bits - 1)
    narrow, wide = ("".join(f"{octet:08b}" for octet in part) for part in (body[:cut], body[cut:]))
    found = []
    for place in range(len(values)):
        if place // 4 < len(short) and short[place // 4]:
            first, narrow = narrow[: bits - 1], narrow[bits - 1 :]
            found.append(int(first[0] + "10"[int(first[0])] + first[1:], 2))
        else:
            found.append(int(wide[:bits], 2))
            wide = wide[bits:]
    return found


@given(codes)
def test_codes_with_a_map_of_short_runs_are_read_one_by_one(drawn):
    bits, values = drawn
    held = np.array(values, np.uint8)
    runs = [values[at : at + 4] for at in range(0, len(values) - 3, 4)]
    inner = range(2 ** (bits - 2), 3 * 2 ** (bits - 2))
    if any(all(code in inner for code in run) for run in runs):
        assert read_back(held, bits) == values
    else:
        assert increment._mapped(held, bits) is None


def test_one_bit_has_no_second():
    assert increment._mapped(np.zeros(40, np.uint8), 1) is None


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_late_weights_are_small_and_grow_to_the_bit(bits):
    """A layer of 64 x 512 weights: small ones come later, and most of their runs are short."""
    root = wide_root()
    one, two = chain(root, (1, 0.3, bits), (1, 1.0, bits))
    packet = pack(two, base=one)
    assert list(received(root, [one, two]))[-1] == two
    late = two.num_weights - one.num_weights
    assert len(packet.body) < late * (bits - 0.4) / 8 or bits == 1
    damaged = transmit(packet, Link(1.0, bit_error_rate=0.1), 0)
    held, report = unpack(damaged, root=root, base=one)
    assert not report.intact
    assert int(held.layers[0].values.max()) < 2**bits


def wide_root():
    random = torch.Generator().manual_seed(1)
    head = torch.nn.Linear(512, 64, bias=False)
    groups = torch.randn(64, 64, 1, generator=random).exp().expand(-1, -1, 8).reshape(64, 512)
    head.weight.data = groups * torch.randn(64, 512, generator=random)
    root = Root.wrap("wide", torch.nn.Flatten(), [torch.nn.Identity()], [head])
    root.name = "wide-nested"
    return root


def test_the_order_costs_what_the_masks_nearly_reach():
    root = wide_root()
    ladder = chain(root, (1, 0.25, 2), (1, 0.5, 2), (1, 1.0, 2))
    n = 64 * 64
    half, quarter = n // 2, n // 4
    assert order_bits(ladder) == pytest.approx(log2(comb(n, half) * comb(half, quarter)))
    first, second = (step.layers[0].mask for step in ladder[:2])
    masks = [first.flatten(), second[~first]]
    coded = 8 * sum(len(coding.encode_mask(mask.numpy())[2]) for mask in masks)
    assert order_bits(ladder) < coded < 1.15 * order_bits(ladder)
    assert order_bits(ladder[-1:]) == 0


def test_blocks_that_come_whole_have_no_order(tiny, nested):
    for root in (tiny, nested):
        assert order_bits(chain(root, (1, 1.0, 4), (2, 1.0, 4))) == 0


def test_a_kind_that_does_not_exist_is_told(nested, monkeypatch):
    one, two = chain(nested, (2, 0.2, 4), (2, 1.0, 4))
    monkeypatch.setattr(increment, "_HELD", 3)
    whole = pack(two, base=one)
    monkeypatch.undo()
    with pytest.raises(PayloadError, match=r"header: a layer of kind 3 at 4 bit\. Ask for"):
        unpack(whole, root=nested, base=one)


# The bytes: sixteen channels of eight large weights and eight small ones, which come late

GOLDEN = [
    ("49534d49 02 000000", "magic: ISMI, version 2, three zero bytes"),
    ("5b000000 1100000000000000", "header length: 91, body length: 17"),
    ("f5187a25 8a6d14bf", "CRC-32 of the body and of the header"),
    ("15cde0c9 013021c2", "CRC-32 of the base's and of the larger one's structure"),
    ("c879a44f", "CRC-32 of the larger one's values"),
    ("0000 02 000000000000f03f", "last exit, 2 bits, keep 1"),
    ("0d00 676f6c64656e2d6e6573746564", "the root's name: 13 bytes, golden-nested"),
    ("02 00 00 80000000 00000000", "kind 2, all of what is free, 128 values, no mask"),
    ("02 00 1f000000 04000000", "map: bitmap, no parameter, 31 short runs, 4 bytes"),
    ("ffdfffff", "map: all runs but the eleventh"),
]
GOLDEN_BODY = [
    (
        "aaaaaa 55 aaaaaaaaaaaaaaaaaaaaaa a0",
        "short runs, one bit a code: + - + -, or - + - +, padded",
    ),
    ("cc", "the eleventh: codes 3 0 3 0: 11 00 11 00"),
]


def test_golden_bytes():
    signs = torch.tensor([1.0, -1.0]).repeat(128).view(16, 16)
    signs[3] = -signs[3]
    head = torch.nn.Linear(16, 16, bias=False)
    head.weight.data = signs * torch.tensor([1.0] * 8 + [0.125] * 8)
    head.weight.data[5, 8:12] *= 6
    root = Root.wrap("golden", torch.nn.Flatten(), [torch.nn.Identity()], [head])
    root.name = "golden-nested"
    one, two = chain(root, (None, 0.5, 2), (None, 1.0, 2))
    header, body = (
        bytes.fromhex("".join(text for text, _ in part)) for part in (GOLDEN, GOLDEN_BODY)
    )
    packet = pack(two, base=one)
    assert packet.header.hex(" ") == header.hex(" ")
    assert packet.body.hex(" ") == body.hex(" ")
    assert unpack(Packet(header, body), root=root, base=one)[0] == two
