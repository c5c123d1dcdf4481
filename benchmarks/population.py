"""The service of a population, in SimPy's time."""

import time
from collections.abc import Iterator

from benchmarks.table import Row, timed
from insitu_widgets.network.making import usual_making_ms
from insitu_widgets.network.population import Population, draw
from insitu_widgets.network.service import POLICIES, Service, serve

MANY, MANY_S = 100_000, 30.0
LOAD_PER_S = 30.0


def run(*, quick: bool) -> Iterator[Row]:
    """A hundred thousand requests a policy."""
    population = Population()
    for policy in POLICIES:
        service = Service(policy, making_s=usual_making_ms() / 1e3)
        serve(service, population, draw(population, LOAD_PER_S, 10, 0))  # tables are read once
        samples = []
        for seed in range(1 if quick else 3):
            start = time.perf_counter()
            serve(service, population, draw(population, LOAD_PER_S, MANY, seed))
            samples.append(time.perf_counter() - start)
        yield timed(f"{MANY:,} requests: {policy}", samples, "s", MANY_S)
