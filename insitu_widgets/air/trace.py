"""Trace: the signal-to-noise ratio of a moving device, slot by slot. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from insitu_widgets.errors import in_range

#: Waves whose sum makes one antenna's fading.
_WAVES = 32
#: The device reports its channel in steps of so many dB, rounded down.
_STEP_DB = 0.5
_LEAST_DB, _MOST_DB = -30.0, 60.0


@dataclass(frozen=True)
class Trace:
    """Signal-to-noise ratios after beamforming, in dB, one a slot of ``slot_s`` seconds."""

    slot_s: float
    snr_db: tuple[float, ...]

    def __post_init__(self) -> None:
        in_range("slot_s", self.slot_s, 1e-6, 3600.0, "s")
        for value in self.snr_db:
            in_range("snr_db", value, _LEAST_DB, _MOST_DB, "dB")

    @property
    def times_s(self) -> tuple[float, ...]:
        """When each slot begins."""
        return tuple(slot * self.slot_s for slot in range(len(self.snr_db)))


def jakes(
    mean_snr_db: float,
    doppler_hz: float,
    duration_s: float,
    random: np.random.Generator,
    *,
    antennas: int = 1,
    slot_s: float = 0.01,
) -> Trace:
    """Rayleigh fading of a device that moves among scatterers all around it (Clarke's model).

    Each antenna sees the sum of waves from random directions; its autocorrelation over a lag τ is
    ``J0(2π · doppler_hz · τ)`` (W. C. Jakes, Microwave Mobile Communications, 1974, section 1.3).

    Parameters
    ----------
    mean_snr_db
        With one antenna, -30 … 60 dB.
    doppler_hz
        Speed over wavelength, 0 … 1000 Hz; at 2 GHz, 1 m/s makes about 7 Hz.
    duration_s, slot_s
        Length of the trace and of one slot.
    random
        Draws directions and phases.
    antennas
        Antennas that beamform; their powers add.

    Raises
    ------
    ValueError
        For a value out of its range.
    """
    in_range("mean_snr_db", mean_snr_db, _LEAST_DB, _MOST_DB, "dB")
    in_range("doppler_hz", doppler_hz, 0.0, 1000.0, "Hz")
    in_range("slot_s", slot_s, 1e-6, 3600.0, "s")
    in_range("duration_s", duration_s, slot_s, 1e5 * slot_s, "s")
    in_range("antennas", antennas, 1, 64)
    times = np.arange(round(duration_s / slot_s)) * slot_s
    angles, phases = random.uniform(0, 2 * np.pi, (2, antennas, _WAVES, 1))
    turns = 2 * np.pi * doppler_hz * np.cos(angles) * times + phases
    gains = np.exp(1j * turns).sum(axis=1) / _WAVES**0.5
    power = (np.abs(gains) ** 2).sum(axis=0)
    snr_db = mean_snr_db + 10 * np.log10(np.maximum(power, 1e-9))
    reported = np.clip(np.floor(snr_db / _STEP_DB) * _STEP_DB, _LEAST_DB, _MOST_DB)
    return Trace(slot_s, tuple(float(value) for value in reported))
