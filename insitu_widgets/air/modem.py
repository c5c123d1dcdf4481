"""Modem: real symbols through real noise, to hold the closed forms of :mod:`.radio` against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from insitu_widgets.air.radio import MODULATIONS, Mode, Radio
from insitu_widgets.errors import in_range, one_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bits = NDArray[np.uint8]
    Symbols = NDArray[np.complex128]

_GENERATORS = (0o133, 0o171)
_STATES = 64
#: Which of the two coded bits of each information bit are sent (IEEE 802.11, 17.3.5.6).
PUNCTURING = {
    "1/2": ((1,), (1,)),
    "2/3": ((1, 1), (1, 0)),
    "3/4": ((1, 1, 0), (1, 0, 1)),
}


def modulate(bits: Bits, modulation: str) -> Symbols:
    """Map bits onto Gray-coded symbols of unit mean power.

    ``bits`` is ``[n]`` with n a multiple of the modulation's bits a symbol; the first half of a
    symbol's bits makes its real part.
    """
    one_of("modulation", modulation, MODULATIONS)
    width = MODULATIONS[modulation]
    groups = bits.reshape(-1, width)
    if width == 1:
        return (2.0 * groups[:, 0] - 1).astype(np.complex128)
    half = width // 2
    real, imaginary = _levels(groups[:, :half]), _levels(groups[:, half:])
    return np.asarray((real + 1j * imaginary) * _unit(half), np.complex128)


def demodulate(symbols: Symbols, modulation: str) -> Bits:
    """The bits of the nearest symbols: hard decisions ``[n]``."""
    one_of("modulation", modulation, MODULATIONS)
    width = MODULATIONS[modulation]
    if width == 1:
        return (symbols.real > 0).astype(np.uint8)
    half = width // 2
    scaled = symbols / _unit(half)
    parts = [_gray_bits(part, half) for part in (scaled.real, scaled.imag)]
    return np.concatenate(parts, axis=1).reshape(-1)


def _unit(half: int) -> float:
    """Half the distance between neighbours when the mean power is 1."""
    return float((1.5 / (4.0**half - 1)) ** 0.5)


def _levels(gray: Bits) -> NDArray[np.float64]:
    natural = np.bitwise_xor.accumulate(gray, axis=1)
    places = 2.0 ** np.arange(gray.shape[1])[::-1]
    return np.asarray(2 * (natural @ places) - (2 ** gray.shape[1] - 1))


def _gray_bits(values: NDArray[np.float64], half: int) -> Bits:
    top = 2**half - 1
    index = np.clip(np.rint((values + top) / 2), 0, top).astype(np.int64)
    gray = index ^ (index >> 1)
    return ((gray[:, None] >> np.arange(half)[::-1]) & 1).astype(np.uint8)


def receive(
    symbols: Symbols, radio: Radio, random: np.random.Generator, repeats: int = 1
) -> Symbols:
    """What the receiver holds after beamforming, noise and combining, scaled to be decided on."""
    branches = radio.antennas * repeats
    power = np.full(symbols.size, float(branches))
    if radio.fading == "Rayleigh":
        power = random.gamma(branches, size=symbols.size)
    sigma = np.sqrt(0.5 / (radio.snr * np.maximum(power, 1e-300)))
    noise = random.standard_normal(symbols.size) + 1j * random.standard_normal(symbols.size)
    return np.asarray(symbols + sigma * noise)


def count_errors(mode: Mode, radio: Radio, num_bits: int, random: np.random.Generator) -> int:
    """Send ``num_bits`` random information bits and count the wrong ones after the decoder.

    A random permutation of the coded bits is the interleaver.
    """
    in_range("num_bits", num_bits, 1, 10**9, "bits")
    bits = random.integers(0, 2, num_bits, dtype=np.uint8)
    coded = bits if mode.code == "uncoded" else encode(bits, mode.code)
    order = random.permutation(coded.size)
    width = MODULATIONS[mode.modulation]
    sent = np.zeros(-(-coded.size // width) * width, np.uint8)
    sent[: coded.size] = coded[order]
    arrived = receive(modulate(sent, mode.modulation), radio, random, mode.repeats)
    decided = np.empty_like(coded)
    decided[order] = demodulate(arrived, mode.modulation)[: coded.size]
    if mode.code != "uncoded":
        decided = viterbi(decided, num_bits, mode.code)
    return int(np.count_nonzero(decided != bits))


def encode(bits: Bits, code: str) -> Bits:
    """Encode information bits ``[n]``: constraint length 7, ended by six zeros, then punctured."""
    one_of("code", code, PUNCTURING)
    padded = np.concatenate([np.zeros(6, np.uint8), bits, np.zeros(6, np.uint8)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 7)[:, ::-1]  # newest bit first
    taps = np.array([[(g >> (6 - i)) & 1 for i in range(7)] for g in _GENERATORS])
    coded = (windows @ taps.T % 2).astype(np.uint8)
    return coded[_sent(len(coded), code)]


def viterbi(received: Bits, num_bits: int, code: str) -> Bits:
    """Decode hard decisions: the information bits ``[num_bits]`` of the nearest code word."""
    one_of("code", code, PUNCTURING)
    steps = num_bits + 6
    sent = _sent(steps, code)
    if received.size != int(sent.sum()):
        msg = (
            f"received must be {int(sent.sum())} bits for {num_bits} information bits at rate "
            f"{code}; got {received.size}. Give all of the code word."
        )
        raise ValueError(msg)
    soft = np.zeros((steps, 2))
    soft[sent] = 2.0 * received - 1
    state = np.arange(_STATES)
    before = np.stack([(state << 1) & 63, ((state << 1) & 63) | 1])  # [2, states]
    register = (state >> 5 << 6) | before
    outputs = np.stack([_parity(register & g) for g in _GENERATORS], axis=-1) * 2.0 - 1
    metric = np.full(_STATES, -1e9)
    metric[0] = 0.0
    choices = np.empty((steps, _STATES), np.uint8)
    for step in range(steps):
        candidates = metric[before] + outputs @ soft[step]
        choices[step] = candidates[1] > candidates[0]
        metric = candidates.max(axis=0)
    decided = np.empty(steps, np.uint8)
    at = 0
    for step in range(steps - 1, -1, -1):
        decided[step] = at >> 5
        at = int(before[choices[step, at], at])
    return decided[:num_bits]


def _sent(steps: int, code: str) -> NDArray[np.bool_]:
    pattern = np.array(PUNCTURING[code], bool).T
    return np.tile(pattern, (-(-steps // len(pattern)), 1))[:steps]


def _parity(values: NDArray[np.int64]) -> NDArray[np.int64]:
    for shift in (4, 2, 1):
        values = values ^ (values >> shift)
    return values & 1
