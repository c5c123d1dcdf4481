import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import Link, Packet, transmit
from insitu_widgets.air.channel import flip_positions

HALF_9999 = 3.8906  # normal quantile of a two-sided interval of 99.99 %


def bits_of(data):
    return np.unpackbits(np.frombuffer(data, np.uint8))


def flips(packet, arrived):
    return np.flatnonzero(bits_of(packet.body) != bits_of(arrived.body))


@pytest.fixture(scope="module")
def packet():
    return Packet(b"the header", np.random.default_rng(0).bytes(50_000))


# The link


def test_time_is_delay_and_bits_over_rate():
    assert Link(1e6, 0.25).time_s(500_000) == 0.75
    assert Link(2e6).time_s(0) == 0.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("rate_bps", v) for v in (0, -1.0, math.inf, math.nan, "1e6", None, True)),
        *(("delay_s", v) for v in (-0.1, 3601.0, math.inf, math.nan, "0")),
        *(("bit_error_rate", v) for v in (-1e-9, 0.51, 1.0, math.nan, "0.1")),
    ],
)
def test_a_link_that_cannot_be_is_refused(field, value):
    with pytest.raises(
        ValueError, match=rf"^{field} must be a number from .+; got .+ Give a value"
    ):
        Link(**{"rate_bps": 1e6, field: value})


@pytest.mark.parametrize("num_bits", [-1, math.nan, "8"])
def test_a_size_that_cannot_be_is_refused(num_bits):
    with pytest.raises(ValueError, match=r"^num_bits must be a number from 0"):
        Link(1e6).time_s(num_bits)


# Bit errors


def test_without_errors_the_packet_arrives_as_it_was_sent(packet):
    for seed in range(5):
        assert transmit(packet, Link(1e6, bit_error_rate=0.0), seed) == packet


def test_the_same_seed_turns_over_the_same_bits(packet):
    link = Link(1e6, bit_error_rate=1e-3)
    first, again, other = (transmit(packet, link, seed) for seed in (7, 7, 8))
    assert first == again != other
    assert first != packet


def test_a_generator_goes_on_where_it_stopped(packet):
    link, random = Link(1e6, bit_error_rate=1e-3), np.random.default_rng(7)
    first, second = (transmit(packet, link, random) for _ in range(2))
    assert first == transmit(packet, link, 7)
    assert second != first


def test_the_header_and_the_packet_sent_stay_as_they_are(packet):
    body = bytes(packet.body)
    arrived = transmit(packet, Link(1e6, bit_error_rate=0.5), 0)
    assert arrived.header == packet.header
    assert len(arrived.body) == len(body)
    assert packet.body == body != arrived.body


@pytest.mark.parametrize("error_rate", [1e-4, 1e-2, 0.3, 0.5])
def test_the_bits_turned_over_are_those_that_were_drawn(packet, error_rate):
    """Many in one byte, too; counted from the most significant bit of the first byte."""
    arrived = transmit(packet, Link(1e6, bit_error_rate=error_rate), 3)
    drawn = flip_positions(8 * len(packet.body), error_rate, np.random.default_rng(3))
    np.testing.assert_array_equal(flips(packet, arrived), drawn)


def test_an_empty_body_has_nothing_to_turn_over():
    assert transmit(Packet(b"h", b""), Link(1.0, bit_error_rate=0.5), 0) == Packet(b"h", b"")


@pytest.mark.parametrize("error_rate", [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5])
def test_measured_flips_match_the_bit_error_rate(packet, error_rate):
    seeds = range(30)
    link = Link(1e6, bit_error_rate=error_rate)
    found = [flips(packet, transmit(packet, link, seed)).size for seed in seeds]
    total = len(seeds) * 8 * len(packet.body)
    spread = math.sqrt(total * error_rate * (1 - error_rate))
    assert abs(sum(found) - total * error_rate) <= HALF_9999 * spread + 0.5
    if error_rate >= 1e-4:  # and they vary as independent bits do
        ratio = np.var(found, ddof=1) / (8 * len(packet.body) * error_rate * (1 - error_rate))
        assert 0.35 < ratio < 2.3  # chi-square with 29 degrees of freedom, 99.99 %


@pytest.mark.parametrize("bins", [8, 16])
def test_every_place_is_as_likely_as_any_other(packet, bins):
    """By bit within the byte (8 bins), and along the body (16)."""
    link = Link(1e6, bit_error_rate=1e-2)
    places = np.concatenate([flips(packet, transmit(packet, link, seed)) for seed in range(20)])
    where = places % 8 if bins == 8 else places * 16 // (8 * len(packet.body))
    counts = np.bincount(where, minlength=bins)
    statistic = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert statistic < {8: 29.9, 16: 44.3}[bins]  # chi-square, 99.99 %


@pytest.mark.parametrize("error_rate", [0.05, 0.3, 0.5])
def test_the_distribution_is_that_of_a_naive_mask(error_rate):
    """The oracle: one uniform number a bit. Both fill the 32 patterns of five bits alike."""
    size, draws = 5, 20_000
    random, naive = np.random.default_rng(0), np.random.default_rng(1)
    ours = np.zeros(2**size)
    for _ in range(draws):
        ours[int((1 << flip_positions(size, error_rate, random)).sum())] += 1
    masks = naive.random((draws, size)) < error_rate
    theirs = np.bincount(masks @ (1 << np.arange(size)), minlength=2**size)
    both = ours + theirs
    seen = both > 10
    statistic = float(((ours - theirs)[seen] ** 2 / both[seen]).sum())
    assert statistic < 71.0  # chi-square with 31 degrees of freedom or fewer, 99.99 %


@given(st.integers(0, 2000), st.floats(1e-4, 1.0), st.integers(0, 1000))
def test_places_ascend_within_the_body(num_bits, error_rate, seed):
    places = flip_positions(num_bits, error_rate, np.random.default_rng(seed))
    assert (np.diff(places) > 0).all()
    assert ((places >= 0) & (places < num_bits)).all()


def test_at_certainty_every_bit_is_turned_over():
    places = flip_positions(1000, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(places, np.arange(1000))


class Counting:
    """A generator that counts what is drawn from it."""

    def __init__(self, seed):
        self._random = np.random.default_rng(seed)
        self.drawn = 0

    def geometric(self, p, size):
        self.drawn += size
        return self._random.geometric(p, size)


@pytest.mark.parametrize("num_bits", [10**6, 10**9, 10**12, 10**15])
def test_the_cost_grows_with_the_flips_not_with_the_bits(num_bits):
    """A hundred flips are expected, however many bits there are."""
    for seed in range(20):
        random = Counting(seed)
        places = flip_positions(num_bits, 100 / num_bits, random)
        assert 50 < places.size < 160
        assert random.drawn <= 2 * (100 + 6 * 10 + 16)
        assert places[-1] > num_bits / 2


def test_more_is_drawn_where_the_first_draw_was_too_short():
    """Gaps of one bit each: a draw sized for the mean ends long before the body does."""

    class Short(Counting):
        def geometric(self, p, size):
            self.drawn += size
            return np.ones(size, np.int64)

    random = Short(0)
    np.testing.assert_array_equal(flip_positions(5000, 1e-3, random), np.arange(5000))
    assert random.drawn >= 5000
