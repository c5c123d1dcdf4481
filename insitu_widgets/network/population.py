"""A population of devices, from passive tags to tablets, and the requests it makes.

Paper, section 1: "distribution over a broad spectrum of computing-and-storage capacity with
tablets and smartphones at the high end and passive RFID/NFC tags at the low end". All of it is
simulated; the figures are examples. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.errors import in_range, one_of
from insitu_widgets.network.situation import MOST_SEED
from insitu_widgets.network.tiers import KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Loads that can be drawn, in requests a second, and the most requests.
LEAST_LOAD_PER_S, MOST_LOAD_PER_S = 1e-6, 1e9
MOST_REQUESTS = 100_000_000


def _shares(field: str, shares: tuple[float, ...], count: int | None = None) -> None:
    for share in shares:
        in_range(field, share, 0.0, 1.0)
    right = count is None or len(shares) == count
    if not shares or not right or abs(sum(shares) - 1.0) > 1e-9:
        many = f"{count} shares" if count else "one or more shares"
        msg = f"{field} must be {many} that add up to 1; got {shares!r}. Change one of them."
        raise ValueError(msg)


@dataclass(frozen=True)
class Species:
    """One sort of device.

    Parameters
    ----------
    name
        What it is.
    share
        Its share of the devices, in [0, 1].
    memory_bytes
        What it can hold.
    efficiency_bps_hz
        Median spectral efficiency of its link.
    bit_error_rate, guard
        Of its receiver.
    asks
        How often it asks for real-time, non-real-time and generic models; shares that add up to 1.

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    name: str
    share: float
    memory_bytes: float
    efficiency_bps_hz: float
    bit_error_rate: float
    guard: str
    asks: tuple[float, ...]

    def __post_init__(self) -> None:
        in_range(f"share of {self.name}", self.share, 0.0, 1.0)
        in_range("memory_bytes", self.memory_bytes, 1.0, 1e12, "B")
        in_range("efficiency_bps_hz", self.efficiency_bps_hz, 1e-3, 100.0, "bit/s/Hz")
        in_range("bit_error_rate", self.bit_error_rate, 0.0, 0.1)
        one_of("guard", self.guard, GUARDS)
        _shares(f"asks of {self.name}", self.asks, len(KINDS))


SPECIES = (
    Species("passive tag", 0.30, 2e3, 0.25, 1e-3, "none", (0.0, 0.2, 0.8)),
    Species("sensor", 0.25, 1.6e4, 0.5, 1e-3, "none", (0.0, 0.8, 0.2)),
    Species("headset", 0.15, 5e6, 4.0, 1e-4, "clamp", (1.0, 0.0, 0.0)),
    Species("smartphone", 0.20, 1e8, 5.0, 1e-5, "clamp", (0.4, 0.4, 0.2)),
    Species("tablet", 0.10, 1e9, 6.0, 1e-5, "clamp", (0.2, 0.4, 0.4)),
)


@dataclass(frozen=True)
class Population:
    """Devices in one cell, the applications that they ask for, and the air that they share.

    Parameters
    ----------
    devices
        How many.
    applications
        How many of each kind (real-time, non-real-time, generic); each has a model of its own.
    zipf
        Exponent of the popularity of a kind's applications: the r-th is asked for in proportion
        to r^-zipf.
    bandwidth_hz
        Of the cell.
    slices
        Shares of the air for real-time, non-real-time and generic models.
    shadowing_db, fading_db
        Standard deviation of the rate from device to device, and from request to request, in
        decibels (log-normal).
    report_error_db
        Standard deviation of what the network believes of a link's rate from what it is.
    species
        Sorts of devices; their shares add up to 1.

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    devices: int = 5000
    applications: int = 40
    zipf: float = 0.9
    bandwidth_hz: float = 1e6
    slices: tuple[float, ...] = (0.4, 0.4, 0.2)
    shadowing_db: float = 3.0
    fading_db: float = 2.0
    report_error_db: float = 0.0
    species: tuple[Species, ...] = SPECIES

    def __post_init__(self) -> None:
        in_range("devices", self.devices, 1, 10_000_000)
        in_range("applications", self.applications, 1, 1_000_000)
        in_range("zipf", self.zipf, 0.0, 10.0)
        in_range("bandwidth_hz", self.bandwidth_hz, 1e3, 1e10, "Hz")
        for name in ("shadowing_db", "fading_db", "report_error_db"):
            in_range(name, getattr(self, name), 0.0, 30.0, "dB")
        _shares("slices", self.slices, len(KINDS))
        _shares("shares of the species", tuple(s.share for s in self.species))
        asked = np.array([s.share for s in self.species]) @ [s.asks for s in self.species]
        for kind, air, wanted in zip(KINDS, self.slices, asked, strict=True):
            if wanted > 0.0 and air <= 0.0:
                msg = (
                    f"slices must give {kind.name} models a share of the air above 0, because "
                    f"devices ask for them; got {air!r}. Give them some."
                )
                raise ValueError(msg)


@dataclass(frozen=True)
class Requests:
    """Requests in the order of their arrival; every array has one entry a request.

    Attributes
    ----------
    arrival_s : float64
        When each is made.
    device, species, kind, application : int64
        Who asks, and for what; applications are numbered over all kinds, the most popular of a
        kind first.
    rate_bps, believed_bps : float64
        Of the slice's whole band over this device's link: what it is, and what the network
        believes.
    """

    arrival_s: NDArray[np.float64]
    device: NDArray[np.int64]
    species: NDArray[np.int64]
    kind: NDArray[np.int64]
    application: NDArray[np.int64]
    rate_bps: NDArray[np.float64]
    believed_bps: NDArray[np.float64]

    def __len__(self) -> int:
        return self.arrival_s.size


def draw(population: Population, load_per_s: float, requests: int, seed: int) -> Requests:
    """Draw requests: Poisson arrivals of random devices, Zipf popularity, log-normal links.

    Parameters
    ----------
    population
        Who asks.
    load_per_s
        Mean requests a second, all kinds together.
    requests
        How many.
    seed
        The same seed, the same requests; another load only stretches their times.

    Raises
    ------
    ValueError
        For a value out of its range.
    """
    in_range("load_per_s", load_per_s, LEAST_LOAD_PER_S, MOST_LOAD_PER_S, "1/s")
    in_range("requests", requests, 1, MOST_REQUESTS)
    in_range("seed", seed, 0, MOST_SEED)
    random = np.random.default_rng(seed)
    shares = np.array([s.share for s in population.species])
    of_device = random.choice(len(shares), population.devices, p=shares / shares.sum())
    shadow_db = random.normal(0.0, population.shadowing_db, population.devices)
    arrival = np.cumsum(random.exponential(1.0, requests)) / load_per_s
    device = random.integers(population.devices, size=requests)
    species = of_device[device]
    asks = np.cumsum([s.asks for s in population.species], axis=1)
    asks /= asks[:, -1:]
    kind = (random.random(requests)[:, None] >= asks[species]).sum(1)
    popularity = np.arange(1.0, population.applications + 1) ** -population.zipf
    rank = random.choice(population.applications, requests, p=popularity / popularity.sum())
    efficiency = np.array([s.efficiency_bps_hz for s in population.species])[species]
    fading_db = random.normal(0.0, population.fading_db, requests)
    gain = 10.0 ** ((shadow_db[device] + fading_db) / 10)
    band = population.bandwidth_hz * np.array(population.slices)[kind]
    rate = band * efficiency * gain
    error_db = random.normal(0.0, population.report_error_db, requests)
    return Requests(
        arrival_s=arrival,
        device=device,
        species=species,
        kind=kind,
        application=kind * population.applications + rank,
        rate_bps=rate,
        believed_bps=rate * 10.0 ** (error_db / 10),
    )
