"""Increments: old + delta = new, to the bit; what is lost, reordered or not nested is told."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu_widgets import Link, PayloadError, Recipe, derive, pack, transmit, unpack
from insitu_widgets.air.increment import NotNestedError
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
    with pytest.raises(PayloadError, match="ISMD"):
        unpack(pack(two), root=nested, base=one)
    with pytest.raises(PayloadError, match="ISMI"):
        unpack(pack(two, base=one), root=nested)


def test_the_codes_of_a_smaller_one_are_the_first_bits_of_a_larger_ones(nested):
    small, large = chain(nested, (2, 0.3, 3), (2, 1.0, 8))
    for a, b in zip(small.layers, large.layers, strict=True):
        assert torch.equal(a.values, b.values[a.mask[b.mask]] >> 5)
