"""Closed forms of the air against a real modem, textbooks and each other."""

from collections import defaultdict
from math import log10

import komm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gammaln

from insitu_widgets.air.modem import PUNCTURING, count_errors, demodulate, encode, modulate, viterbi
from insitu_widgets.air.radio import (
    CODES,
    FADINGS,
    MODES,
    MODULATIONS,
    Mode,
    Radio,
    capacity_bps_hz,
    fastest,
    raw_bit_error_rate,
)

SNRS = st.floats(-20, 40)


@pytest.mark.parametrize("fading", FADINGS)
@pytest.mark.parametrize("modulation", MODULATIONS)
@pytest.mark.parametrize(("antennas", "repeats"), [(1, 1), (2, 1), (1, 4)])
def test_closed_forms_are_what_a_modem_counts(modulation, fading, antennas, repeats):
    offset = 3 * MODULATIONS[modulation] - 10 * log10(antennas * repeats)
    radio = Radio(offset, antennas, fading)
    expected = raw_bit_error_rate(modulation, radio, repeats)
    bits = 240_000
    counted = count_errors(Mode(modulation, repeats=repeats), radio, bits, np.random.default_rng(0))
    assert expected > 1e-3, "enough errors to compare"
    # Errors of one symbol come together, so the spread is a little wider than the binomial's.
    assert counted / bits == pytest.approx(expected, abs=6 * (expected / bits) ** 0.5)


@pytest.mark.parametrize("modulation", [name for name, bits in MODULATIONS.items() if bits > 1])
def test_closed_forms_are_what_another_library_counts(modulation):
    """Komm's constellation, Gray labels and nearest symbols, through noise of our own."""
    width, random = MODULATIONS[modulation], np.random.default_rng(3)
    points = komm.QAMConstellation(2**width)
    labels = komm.ReflectedRectangularLabeling(width)
    bits = random.integers(0, 2, 240_000)
    symbols = points.indices_to_symbols(labels.bits_to_indices(bits))
    radio = Radio(3 * width)
    sides = random.normal(size=(2, len(symbols))) * (points.mean_energy() / radio.snr / 2) ** 0.5
    heard = points.closest_indices(symbols + sides[0] + 1j * sides[1])
    counted = np.mean(labels.indices_to_bits(heard) != bits)
    expected = raw_bit_error_rate(modulation, radio)
    assert counted == pytest.approx(expected, abs=6 * (expected / bits.size) ** 0.5)


def test_another_library_finds_the_same_free_distance():
    code = komm.LowRateConvolutionalCode([0o133, 0o171])
    assert code.free_distance() == CODES["1/2"].shortest


@pytest.mark.parametrize(
    ("modulation", "eb_n0_db"),
    [("BPSK", 9.6), ("QPSK", 9.6), ("16-QAM", 13.4), ("64-QAM", 17.8)],
)
def test_textbook_values(modulation, eb_n0_db):
    """Eb/N0 for 10^-5: Proakis, Digital Communications, figures 5.2-4 and 5.2-16 and the like."""
    radio = Radio(eb_n0_db + 10 * log10(MODULATIONS[modulation]))
    assert raw_bit_error_rate(modulation, radio) == pytest.approx(1e-5, rel=0.35)  # 0.1 dB


def test_rayleigh_bpsk_is_the_formula_that_everyone_knows():
    radio = Radio(17.0, 1, "Rayleigh")
    assert raw_bit_error_rate("BPSK", radio) == pytest.approx(
        0.5 * (1 - (radio.snr / (1 + radio.snr)) ** 0.5)
    )


@pytest.mark.parametrize("modulation", MODULATIONS)
@pytest.mark.parametrize("antennas", [1, 3, 8])
def test_rayleigh_is_the_mean_over_the_gain(modulation, antennas):
    mean = Radio(12.0, antennas, "Rayleigh")

    def weighted(gain):
        density = np.exp((antennas - 1) * np.log(gain) - gain - gammaln(antennas))
        snr_db = max(-30.0, 10 * log10(mean.snr * gain))
        return density * raw_bit_error_rate(modulation, Radio(snr_db))

    value, _ = quad(weighted, 1e-9, 60, limit=400, epsabs=0, points=[0.1, 1, 5])
    assert raw_bit_error_rate(modulation, mean) == pytest.approx(value, rel=2e-3)


def test_the_first_digits_of_high_diversity_are_not_lost():
    low = [raw_bit_error_rate("BPSK", Radio(snr, 4, "Rayleigh")) for snr in (30, 40, 50)]
    assert low[0] / low[1] == pytest.approx(1e4, rel=0.05)
    assert low[1] / low[2] == pytest.approx(1e4, rel=0.05)


@given(SNRS, st.floats(0, 10), st.sampled_from(MODES), st.sampled_from(FADINGS))
def test_more_signal_is_never_worse(snr, more, mode, fading):
    low, high = (mode.bit_error_rate(Radio(db, 1, fading)) for db in (snr + more, snr))
    assert 0.0 <= low <= high * (1 + 1e-9) <= 0.5 * (1 + 1e-9)


@given(SNRS, st.integers(1, 15), st.sampled_from(MODES), st.sampled_from(FADINGS))
def test_an_antenna_more_is_never_worse(snr, antennas, mode, fading):
    fewer = mode.bit_error_rate(Radio(snr, antennas, fading))
    assert mode.bit_error_rate(Radio(snr, antennas + 1, fading)) <= fewer * (1 + 1e-9)


def test_thousands_of_branches_are_as_good_as_a_channel_without_fading():
    many = raw_bit_error_rate("BPSK", Radio(-30.0, 64, "Rayleigh"), 64)
    assert many == pytest.approx(raw_bit_error_rate("BPSK", Radio(-30.0, 64), 64), rel=0.02)


def test_without_fading_antennas_are_power():
    four = Mode("64-QAM", "2/3").bit_error_rate(Radio(10.0, 4))
    assert four == pytest.approx(Mode("64-QAM", "2/3").bit_error_rate(Radio(10 + 10 * log10(4))))


def spectrum(code, reach):
    """Wrong information bits by distance, counted over all paths that leave state 0 and return."""
    pattern = np.array(PUNCTURING[code]).T
    period = len(pattern)
    total = np.zeros(reach + 1)
    for start in range(period):
        paths = {(1 << 5, int(_weight(1 << 6, pattern[start]))): np.array([1.0, 1.0])}
        step = start
        while paths:
            step += 1
            following = defaultdict(lambda: np.zeros(2))
            for (state, distance), (count, inputs) in paths.items():
                for bit in (0, 1):
                    register = bit << 6 | state
                    further = distance + int(_weight(register, pattern[step % period]))
                    if further > reach:
                        continue
                    if register >> 1 == 0:
                        total[further] += inputs
                    else:
                        key = (register >> 1, further)
                        following[key] += np.array([count, inputs + bit * count])
            paths = following
    return total


def _weight(register, sent):
    parities = [(register & g).bit_count() % 2 for g in (0o133, 0o171)]
    return sum(p for p, s in zip(parities, sent, strict=True) if s)


@pytest.mark.parametrize(("code", "terms"), [("1/2", 7), ("2/3", 5), ("3/4", 4)])
def test_spectra_are_those_of_the_codes(code, terms):
    record = CODES[code]
    counted = spectrum(code, record.shortest + terms - 1)
    assert counted[: record.shortest].sum() == 0
    assert tuple(counted[record.shortest :]) == record.weights[:terms]


@pytest.mark.parametrize("code", PUNCTURING)
def test_the_decoder_undoes_the_encoder(code):
    bits = np.random.default_rng(1).integers(0, 2, 999, dtype=np.uint8)
    word = encode(bits, code)
    assert word.size == pytest.approx(bits.size / CODES[code].rate, abs=20)
    assert (viterbi(word, bits.size, code) == bits).all()
    word[[50, 300, 700]] ^= 1
    assert (viterbi(word, bits.size, code) == bits).all()


@pytest.mark.parametrize(("code", "raw"), [("1/2", 0.04), ("2/3", 0.02), ("3/4", 0.01)])
def test_the_bound_lies_above_the_decoder_and_near_it(code, raw):
    random = np.random.default_rng(2)
    bits = random.integers(0, 2, 60_000, dtype=np.uint8)
    word = encode(bits, code)
    noisy = word ^ (random.random(word.size) < raw)
    counted = np.mean(viterbi(noisy.astype(np.uint8), bits.size, code) != bits)
    bound = CODES[code].bit_error_rate(raw)
    assert bound / 12 < counted < bound


def test_hard_decisions_gain_about_three_decibels():
    """5.1 dB with soft decisions (Sklar, Digital Communications, table 7.4), 2 dB less without."""
    coded = Mode("BPSK", "1/2")
    eb_n0 = np.arange(5.0, 9.0, 0.05)
    rates = [coded.bit_error_rate(Radio(db - 10 * log10(2))) for db in eb_n0]
    needed = eb_n0[np.argmax(np.array(rates) <= 1e-5)]
    assert 2.6 < 9.6 - needed < 3.6


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_neighbours_differ_in_one_bit(modulation):
    width = MODULATIONS[modulation]
    bits = ((np.arange(2**width)[:, None] >> np.arange(width)[::-1]) & 1).astype(np.uint8)
    symbols = modulate(bits.reshape(-1), modulation)
    assert np.mean(np.abs(symbols) ** 2) == pytest.approx(1)
    assert (demodulate(symbols, modulation) == bits.reshape(-1)).all()
    distance = np.abs(symbols[:, None] - symbols) + 9 * np.eye(len(symbols))
    near = np.argwhere(distance < distance.min() * 1.001)
    assert {int((bits[a] != bits[b]).sum()) for a, b in near} == {1}


@given(SNRS, st.sampled_from(FADINGS), st.sampled_from([1e-9, 1e-3]))
def test_no_mode_passes_capacity(snr, fading, most):
    radio = Radio(snr, 2, fading)
    mode = fastest(radio, most)
    if mode is not None:
        assert mode.bit_error_rate(radio) <= most
        assert mode.efficiency_bps_hz < capacity_bps_hz(radio) * 1.01


def test_capacity_under_fading_is_the_mean():
    radio = Radio(10.0, 3, "Rayleigh")
    gains = np.random.default_rng(0).gamma(3, size=400_000)
    mean = np.log2(1 + radio.snr * gains).mean()
    assert capacity_bps_hz(radio) == pytest.approx(mean, rel=0.01)


def test_a_mode_says_what_it_is():
    assert str(Mode("16-QAM", "2/3")) == "16-QAM, rate 2/3"
    assert str(Mode("BPSK", "1/2", 4)) == "BPSK, rate 1/2, 4 times"
    assert Mode("16-QAM", "2/3").efficiency_bps_hz == pytest.approx(8 / 3)
    assert str(fastest(Radio(60), 1e-9)) == "256-QAM, uncoded"
    assert fastest(Radio(-30), 0.5) is not None
    assert fastest(Radio(-30), 1e-3) is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Radio(61.0), "snr_db must be a number from -30 to 60 dB; got 61.0"),
        (lambda: Radio(1.0, 0), "antennas must be a whole number from 1 to 64; got 0"),
        (lambda: Radio(1.0, 1, "Rice"), "fading must be one of AWGN, Rayleigh; got 'Rice'"),
        (lambda: Mode("8-PSK"), "modulation must be one of BPSK"),
        (lambda: Mode("BPSK", "7/8"), "code must be one of 1/2, 2/3, 3/4, uncoded"),
        (lambda: Mode("BPSK", "1/2", 0), "repeats must be"),
        (lambda: raw_bit_error_rate("OOK", Radio(1.0)), "modulation must be one of"),
        (lambda: viterbi(np.zeros(9, np.uint8), 9, "1/2"), "received must be 30 bits"),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(ValueError, match="must be") as caught:
        make()
    assert words in str(caught.value)
