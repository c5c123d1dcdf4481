"""Radio: from signal-to-noise ratio, antennas and fading to a rate and a bit-error rate.

Closed forms only (paper, section 3: adaptive modulation and coding, MIMO beamforming); a test
holds each against a Monte-Carlo run of the same modem (:mod:`insitu_widgets.air.modem`). Symbols
follow each other at Nyquist's rate, so a mode's rate is its efficiency times the bandwidth.
Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import comb, erfc, exp, fsum, lgamma, log, log1p, log2, sqrt
from types import MappingProxyType
from typing import TYPE_CHECKING

from insitu_widgets.errors import in_range, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bits a symbol of each Gray-coded modulation.
MODULATIONS: Mapping[str, int] = MappingProxyType(
    {"BPSK": 1, "QPSK": 2, "16-QAM": 4, "64-QAM": 6, "256-QAM": 8}
)
FADINGS = ("AWGN", "Rayleigh")
#: A link is called reliable from here down (paper, section 4: "a BER usually below 10^-9").
RELIABLE_BER = 1e-9


@dataclass(frozen=True)
class Code:
    """A convolutional code of constraint length 7 (generators 133, 171), perhaps punctured.

    Attributes
    ----------
    rate : float
        Information bits for each bit sent.
    shortest : int
        Free distance; the first of ``weights`` belongs to it.
    weights : tuple[int, …]
        Wrong information bits on all paths at distance ``shortest``, ``shortest + 1``, …
    inputs : int
        Information bits a period of the puncturing, over which ``weights`` are counted.
    """

    rate: float
    shortest: int
    weights: tuple[int, ...]
    inputs: int

    def bit_error_rate(self, raw: float) -> float:
        """Union bound after a Viterbi decoder that is given hard decisions, at most 1/2.

        ``raw`` is the bit-error rate before it. Errors are taken to be independent (a perfect
        interleaver). Source: J. G. Proakis, Digital Communications, section 8.2; a bound, so the
        truth is lower, and where the raw rate passes some per cent much lower.
        """
        distances = enumerate(self.weights, self.shortest)
        bound = sum(weight * _pairwise_error(d, raw) for d, weight in distances if weight)
        return min(0.5, bound / self.inputs)


def _pairwise_error(distance: int, raw: float) -> float:
    """Probability that more than half of ``distance`` hard decisions are wrong."""
    terms = (
        comb(distance, k) * raw**k * (1 - raw) ** (distance - k) * (0.5 if 2 * k == distance else 1)
        for k in range((distance + 1) // 2, distance + 1)
    )
    return sum(terms)


#: Spectra: D. Haccoun and G. Bégin, IEEE Trans. Commun. 37(11), 1989; a test counts them anew.
CODES: Mapping[str, Code | None] = MappingProxyType(
    {
        "1/2": Code(1 / 2, 10, (36, 0, 211, 0, 1404, 0, 11633, 0, 77433, 0, 502690), 1),
        "2/3": Code(2 / 3, 6, (3, 70, 285, 1276, 6160, 27128, 117019, 498860), 2),
        "3/4": Code(3 / 4, 5, (42, 201, 1492, 10469, 62935, 379644, 2253373), 3),
        "uncoded": None,
    }
)


@dataclass(frozen=True)
class Radio:
    """What the air gives.

    Parameters
    ----------
    snr_db
        Mean signal-to-noise ratio of a symbol with one antenna, -30 … 60 dB.
    antennas
        Antennas of the base station, 1 … 64; it knows the channel and sends so that they add up
        (maximum-ratio beamforming).
    fading
        ``"AWGN"``: none. ``"Rayleigh"``: each antenna fades independently, fast against a packet,
        and an interleaver spreads the fades: the packet sees the average.

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    snr_db: float
    antennas: int = 1
    fading: str = "AWGN"

    def __post_init__(self) -> None:
        in_range("snr_db", self.snr_db, -30.0, 60.0, "dB")
        in_range("antennas", self.antennas, 1, 64)
        one_of("fading", self.fading, FADINGS)

    @property
    def snr(self) -> float:
        """Mean signal-to-noise ratio of a symbol with one antenna, as a plain ratio."""
        return float(10 ** (self.snr_db / 10))


def raw_bit_error_rate(modulation: str, radio: Radio, repeats: int = 1) -> float:
    """Bit-error rate of a Gray-coded modulation before any decoding, in [0, 1/2].

    A sum of ``w Q(√(2 c γ))``; with Rayleigh fading each term is averaged over ``γ``, the sum of
    ``antennas · repeats`` independent exponentials (Proakis, Digital Communications, 14.4-15).

    Parameters
    ----------
    modulation
        One of :data:`MODULATIONS`.
    radio
        The air.
    repeats
        How often each symbol is sent; the receiver adds the copies (maximum-ratio combining).

    Raises
    ------
    ValueError
        For a modulation that does not exist.
    """
    one_of("modulation", modulation, MODULATIONS)
    branches = radio.antennas * repeats
    total = sum(
        weight * _tail(scale * radio.snr, branches, radio.fading)
        for weight, scale in _terms(modulation)
    )
    return min(0.5, max(0.0, total))


@lru_cache
def _terms(modulation: str) -> tuple[tuple[float, float], ...]:
    """Weights and scales of the tails of Q: K. Cho and D. Yoon, IEEE Trans. Commun. 50(7), 2002."""
    bits = MODULATIONS[modulation]
    if bits == 1:
        return ((1.0, 1.0),)
    levels = 2 ** (bits // 2)
    weights: dict[int, float] = {}
    for k in range(1, bits // 2 + 1):
        half = 2 ** (k - 1)
        for i in range(levels - levels // (2 * half)):
            sign = -1 if (i * half // levels) % 2 else 1
            weight = sign * (half - int(i * half / levels + 0.5))
            weights[i] = weights.get(i, 0.0) + 2 * weight / levels / (bits // 2)
    scale = 1.5 / (levels**2 - 1)
    return tuple((weight, scale * (2 * i + 1) ** 2) for i, weight in weights.items() if weight)


def _tail(snr: float, branches: int, fading: str) -> float:
    """``Q(√(2 · snr · branches))``, or its mean over Rayleigh fading of each branch."""
    if fading == "AWGN":
        return 0.5 * erfc(sqrt(snr * branches))
    mu = sqrt(snr / (1 + snr))
    low = 0.5 / ((1 + snr) * (1 + mu))  # (1 - mu) / 2 without cancellation
    # comb(branches - 1 + k, k) · low^branches · (1 - low)^k: thousands of branches overflow floats
    first = branches * log(low) - lgamma(branches)
    each = (lgamma(branches + k) - lgamma(k + 1) + k * log1p(-low) for k in range(branches))
    return fsum(exp(first + logarithm) for logarithm in each)


@dataclass(frozen=True)
class Mode:
    """Modulation and protection of a transmission: what adaptive modulation and coding adapts.

    Parameters
    ----------
    modulation
        One of :data:`MODULATIONS`.
    code
        One of :data:`CODES`, by its rate.
    repeats
        How often each symbol is sent.

    Raises
    ------
    ValueError
        For one that does not exist.
    """

    modulation: str
    code: str = "uncoded"
    repeats: int = 1

    def __post_init__(self) -> None:
        one_of("modulation", self.modulation, MODULATIONS)
        one_of("code", self.code, CODES)
        in_range("repeats", self.repeats, 1, 64)

    def __str__(self) -> str:
        code = "uncoded" if self.code == "uncoded" else f"rate {self.code}"
        times = f", {self.repeats} times" if self.repeats > 1 else ""
        return f"{self.modulation}, {code}{times}"

    @property
    def efficiency_bps_hz(self) -> float:
        """Information bits a second and hertz."""
        code = CODES[self.code]
        return MODULATIONS[self.modulation] * (code.rate if code else 1.0) / self.repeats

    def bit_error_rate(self, radio: Radio) -> float:
        """Bit-error rate after the decoder, in [0, 1/2]; with a code it is the union bound."""
        return _bit_error_rate(self, radio)


@lru_cache(maxsize=8192)  # panels and planners ask for the same few thousand again and again
def _bit_error_rate(mode: Mode, radio: Radio) -> float:
    raw = raw_bit_error_rate(mode.modulation, radio, mode.repeats)
    code = CODES[mode.code]
    return code.bit_error_rate(raw) if code else raw


#: All modes: every modulation with every code, and two slower ones for the edge of a cell.
MODES = (
    Mode("BPSK", "1/2", 4),
    Mode("BPSK", "1/2", 2),
    *(Mode(modulation, code) for modulation in MODULATIONS for code in CODES),
)


@lru_cache(maxsize=4096)
def fastest(radio: Radio, most_ber: float) -> Mode | None:
    """The fastest mode whose bit-error rate is at most ``most_ber``; ``None`` if there is none."""
    in_range("most_ber", most_ber, 0.0, 0.5)
    good = [mode for mode in MODES if mode.bit_error_rate(radio) <= most_ber]
    return max(good, key=lambda mode: mode.efficiency_bps_hz, default=None)


def capacity_bps_hz(radio: Radio) -> float:
    """Shannon's capacity with beamforming; under fading the mean over it, as bits/s/Hz.

    The mean is taken over the quantiles of the gain (sum of ``antennas`` exponentials) by the
    trapezoid rule, to within one per cent.
    """
    if radio.fading == "AWGN":
        return log2(1 + radio.snr * radio.antennas)
    n = radio.antennas
    top = n + 12 * sqrt(n) + 24
    gains = [top * (i / 2000) ** 2 for i in range(2001)]  # finer near 0
    density = [_gamma_density(gain, n) * log2(1 + radio.snr * gain) for gain in gains]
    steps = zip(pairwise(gains), pairwise(density), strict=True)
    return sum((b - a) * (p + q) / 2 for (a, b), (p, q) in steps)


def _gamma_density(gain: float, shape: int) -> float:
    """Density of the sum of ``shape`` unit exponentials."""
    if gain == 0.0:
        return 1.0 if shape == 1 else 0.0
    return exp((shape - 1) * log(gain) - gain - lgamma(shape))
