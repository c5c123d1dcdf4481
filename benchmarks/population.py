"""The service of a population, beside an event simulation (SimPy) of the same queues."""

import time
from collections.abc import Iterator
from statistics import median

import numpy as np
import simpy

from benchmarks.table import Row, timed
from insitu_widgets.network.population import Population, Requests, draw
from insitu_widgets.network.service import POLICIES, Served, Service, serve
from insitu_widgets.network.tiers import KINDS

MANY, MANY_S = 100_000, 30.0
LOAD_PER_S = 30.0


def run(*, quick: bool) -> Iterator[Row]:
    """A hundred thousand requests a policy; then the same queues in SimPy, given the decisions."""
    population = Population()
    for policy in POLICIES:
        service = Service(policy, making_s=0.015)
        serve(service, population, draw(population, LOAD_PER_S, 10, 0))  # tables are read once
        samples = []
        for seed in range(1 if quick else 3):
            start = time.perf_counter()
            serve(service, population, draw(population, LOAD_PER_S, MANY, seed))
            samples.append(time.perf_counter() - start)
        yield timed(f"{MANY:,} requests: {policy}", samples, "s", MANY_S)
        yield _against_simpy(service, population, 3_000 if quick else 20_000)


def _against_simpy(service: Service, population: Population, count: int) -> Row:
    requests = draw(population, LOAD_PER_S, count, 0)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        served = serve(service, population, requests)
        between = time.perf_counter()
        starts = simulated(requests, served)
        times.append((between - start, time.perf_counter() - between))
    ours, theirs = (median(column) for column in zip(*times, strict=True))
    what = f"{count:,} requests against their queues alone in SimPy (floor): {service.policy}"
    figure = f"{ours / theirs:.3g} of its time ({ours:.3g} and {theirs:.3g} s)"
    same = np.allclose(starts, served.start_s, rtol=1e-9, equal_nan=True)
    return Row(what, figure, wrong="" if same else f"{what}: the times differ")


def simulated(requests: Requests, served: Served) -> np.ndarray:
    """When each packet goes on the air, by SimPy: one resource a slice, in order of arrival."""
    found = np.full(len(requests), np.nan)
    environment = simpy.Environment()
    air = [simpy.Resource(environment) for _ in KINDS]
    durations = served.num_bits / requests.rate_bps

    def send(i: int) -> Iterator[simpy.Event]:
        yield environment.timeout(requests.arrival_s[i])
        with air[requests.kind[i]].request() as turn:
            yield turn
            yield environment.timeout(max(0.0, served.ready_s[i] - environment.now))
            found[i] = environment.now
            yield environment.timeout(durations[i])

    for i in np.flatnonzero(served.num_bits):
        environment.process(send(int(i)))
    environment.run()
    return found
