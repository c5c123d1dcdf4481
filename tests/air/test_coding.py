import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from insitu_widgets.air import coding
from insitu_widgets.air.coding import (
    ALL,
    BITMAP,
    NONE,
    RICE,
    decode_mask,
    encode_mask,
    pack_codes,
    packed_size,
    unpack_codes,
)

ALL_BITS = range(1, 9)
codes_and_bits = st.sampled_from(ALL_BITS).flatmap(
    lambda bits: st.tuples(
        arrays(np.uint8, st.integers(0, 70), elements=st.integers(0, 2**bits - 1)), st.just(bits)
    )
)


def masks(size, share, seed=0):
    return np.random.default_rng(seed).random(size) < share


random_masks = st.builds(
    masks,
    st.integers(0, 3000),
    st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.9, 1.0]),
    st.integers(0, 10**6),
)


# Codes


@given(codes_and_bits)
def test_codes_come_back(case):
    codes, bits = case
    data = pack_codes(codes, bits)
    assert len(data) == packed_size(codes.size, bits)
    restored = unpack_codes(data, codes.size, bits)
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, codes)


@given(codes_and_bits)
def test_codes_lie_side_by_side_most_significant_bit_first(case):
    """The oracle: a text of binary digits."""
    codes, bits = case
    digits = "".join(f"{code:0{bits}b}" for code in codes)
    digits += "0" * (-len(digits) % 8)
    assert pack_codes(codes, bits) == bytes(
        int(digits[at : at + 8], 2) for at in range(0, len(digits), 8)
    )


@pytest.mark.parametrize("bits", ALL_BITS)
def test_one_bit_turned_over_is_one_code_changed(bits):
    codes = (np.arange(40) % 2**bits).astype(np.uint8)
    data = pack_codes(codes, bits)
    for place in range(40 * bits):
        damaged = bytearray(data)
        damaged[place // 8] ^= 128 >> place % 8
        different = np.flatnonzero(unpack_codes(bytes(damaged), 40, bits) != codes)
        assert different.tolist() == [place // bits]


def test_what_is_unpacked_may_be_written_to():
    for bits in ALL_BITS:
        unpack_codes(pack_codes(np.zeros(9, np.uint8), bits), 9, bits)[0] = 1


# Masks


@given(random_masks)
@example(np.zeros(0, bool))
@example(np.ones(1, bool))
@example(np.zeros(1, bool))
def test_a_mask_comes_back(mask):
    way, parameter, data = encode_mask(mask)
    restored = decode_mask(way, parameter, data, int(mask.sum()), mask.size)
    assert restored.dtype == np.bool_
    np.testing.assert_array_equal(restored, mask)


@pytest.mark.parametrize("place", [0, 1, 7, 8, 255, 256, 99_998, 99_999])
def test_a_single_weight_among_many_comes_back(place):
    mask = np.zeros(100_000, bool)
    mask[place] = True
    np.testing.assert_array_equal(decode_mask(*encode_mask(mask), 1, mask.size), mask)


def offered(mask):
    """Bytes of each way, counted bit by bit from the definition."""
    positions = np.flatnonzero(mask)
    sizes = {}
    if mask.all():
        sizes[ALL, 0] = 0
    if not mask.any():
        sizes[NONE, 0] = 0
    sizes[BITMAP, 0] = -(-mask.size // 8)
    gaps = np.diff(positions, prepend=-1) - 1
    for parameter in range(9):
        unary = sum(int(gap) // 2**parameter + 1 for gap in gaps)
        sizes[RICE, parameter] = -(-unary // 8) + -(-len(gaps) * parameter // 8)
    return sizes


@given(random_masks)
def test_the_way_chosen_is_the_smallest_of_those_offered(mask):
    way, parameter, data = encode_mask(mask)
    sizes = offered(mask)
    assert len(data) == sizes[way, parameter] == min(sizes.values())


def test_each_way_is_chosen_somewhere():
    chosen = [encode_mask(masks(5000, share))[0] for share in (1.0, 0.0, 0.5, 0.02)]
    assert chosen == [ALL, NONE, BITMAP, RICE]


@pytest.mark.parametrize(("share", "worst"), [(0.05, 1.06), (0.1, 1.05), (0.2, 1.05), (0.5, 1.01)])
def test_a_mask_is_nearly_as_short_as_its_entropy(share, worst):
    mask = masks(200_000, share)
    p = mask.mean()
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)) * mask.size
    assert entropy <= 8 * len(encode_mask(mask)[2]) <= worst * entropy


@pytest.mark.parametrize("size", [2, 3, 4, 8, 9])
def test_a_mask_of_groups_costs_as_much_as_one_of_so_many_positions(size):
    groups = masks(9000, 0.1)
    way, parameter, data = encode_mask(groups.repeat(size))
    assert (way % 4, parameter, data) == encode_mask(groups)
    restored = decode_mask(way, parameter, data, size * int(groups.sum()), size * 9000)
    np.testing.assert_array_equal(restored, groups.repeat(size))
    # One position that is set apart from its group costs all of them.
    apart = groups.repeat(size)
    apart[-1] = not apart[-1]
    assert encode_mask(apart)[0] == RICE


@given(random_masks, st.data())
def test_damaged_bytes_make_a_mask_of_the_announced_number_or_an_error(mask, data):
    way, parameter, coded = encode_mask(mask)
    kept = int(mask.sum())
    way = data.draw(st.sampled_from([way, ALL, NONE, BITMAP, RICE, 4, 255]))
    parameter = data.draw(st.sampled_from([parameter, 0, 3, 8, 9, 255]))
    kept = data.draw(st.sampled_from([kept, 0, 1, kept + 1, 2**32 - 1]))
    cut = data.draw(st.integers(0, len(coded)))
    damaged = bytes(byte ^ data.draw(st.sampled_from([0, 0, 1, 255])) for byte in coded[-20:])
    coded = data.draw(st.sampled_from([coded, coded[:cut], coded + b"\0", coded[:-20] + damaged]))
    try:
        restored = decode_mask(way, parameter, coded, kept, mask.size)
    except ValueError as error:
        assert f"not a mask of {mask.size} positions" in str(error)  # noqa: PT017
    else:
        assert (restored.size, int(restored.sum())) == (mask.size, kept)


@given(random_masks, st.integers(1, 300))
def test_a_mask_of_another_size_is_refused(mask, more):
    """Its last positions would lie beyond the layer, or leave a part of it undescribed."""
    larger = np.concatenate([mask, np.ones(more, bool)])
    way, parameter, data = encode_mask(larger)
    for size in {mask.size, larger.size + 8 * 4 * 9} - {0}:  # whole bytes more, by any group
        if way % 4 == RICE and size > larger.size:
            continue  # gaps say nothing of what follows the last position
        with pytest.raises(ValueError, match=f"not a mask of {size} positions"):
            decode_mask(way, parameter, data, int(larger.sum()), size)


def test_every_way_is_told_apart():
    assert len({coding.ALL, coding.NONE, coding.BITMAP, coding.RICE}) == 4
