"""A run of the service in figures. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from insitu_widgets.network.population import Population, Requests, draw
from insitu_widgets.network.service import Served, Service, serve

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Outcome:
    """A run in figures.

    Attributes
    ----------
    policy, load_per_s, seed, requests
        What was run; the first fifth of the requests is not counted.
    hits : float
        Share of requests whose packet arrived in time.
    accuracy : float
        Mean delivered accuracy; a missed deadline counts 0.
    wait_s, wait_p95_s : float
        Mean and 95th percentile of the time from the request to the first bit on the air, over
        what was sent; NaN if nothing was.
    tiers : Mapping[str, float]
        Share of what was sent that came from each tier.
    made : float
        Share of what was sent that was made on demand.
    by_species : Mapping[str, float]
        Mean delivered accuracy by sort of device; a sort that asked for nothing is left out.
    """

    policy: str
    load_per_s: float
    seed: int
    requests: int
    hits: float
    accuracy: float
    wait_s: float
    wait_p95_s: float
    tiers: Mapping[str, float]
    made: float
    by_species: Mapping[str, float]


def run(
    service: Service, population: Population, load_per_s: float, requests: int, seed: int
) -> Outcome:
    """Draw requests at a load, serve them, and sum up."""
    asked = draw(population, load_per_s, requests, seed)
    served = serve(service, population, asked)
    return summary(service, population, asked, served, load_per_s=load_per_s, seed=seed)


def summary(
    service: Service,
    population: Population,
    asked: Requests,
    served: Served,
    *,
    load_per_s: float,
    seed: int,
) -> Outcome:
    """The figures of a run, without its first fifth, in which the queues fill."""
    steady = np.arange(len(asked)) >= len(asked) // 5
    sent = steady & (served.num_bits > 0)
    waits = (served.start_s - asked.arrival_s)[sent]
    many = max(int(sent.sum()), 1)
    of_species = {
        each.name: served.accuracy[steady & (asked.species == number)]
        for number, each in enumerate(population.species)
    }
    return Outcome(
        policy=service.policy,
        load_per_s=load_per_s,
        seed=seed,
        requests=int(steady.sum()),
        hits=float(served.hit[steady].mean()),
        accuracy=float(served.accuracy[steady].mean()),
        wait_s=float(waits.mean()) if waits.size else float("nan"),
        wait_p95_s=float(np.percentile(waits, 95)) if waits.size else float("nan"),
        tiers={
            tier.name: float((served.tier[sent] == place).sum() / many)
            for place, tier in enumerate(service.tiers)
        },
        made=float(served.made[sent].sum() / many),
        by_species={name: float(got.mean()) for name, got in of_species.items() if got.size},
    )
