"""Studies: the service over many loads, in line or on Dask. Needs no torch."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from insitu_widgets.network.outcome import Outcome, run
from insitu_widgets.network.service import Service

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from distributed import Client

    from insitu_widgets.network.population import Population

#: Requests a second, in a cell of 1 MHz.
LOADS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def study(
    services: Iterable[Service],
    population: Population,
    *,
    loads: Sequence[float] = LOADS,
    requests: int = 2000,
    seeds: Sequence[int] = (0,),
    client: Client | None = None,
) -> Generator[Outcome]:
    """Run services at loads, each with the very same requests.

    Parameters
    ----------
    services
        What to compare.
    population
        Who asks.
    loads, seeds
        Requests a second, and draws of the requests.
    requests
        How many in each run; at high loads take more, so that a run lasts longer than the
        longest latency.
    client
        A ``dask.distributed`` client to run on; ``None`` runs in line, load by load.

    Yields
    ------
    Outcome
        One a service, load and seed: in that order in line, as they are done on Dask.

    Raises
    ------
    ValueError
        For a value out of its range, or nothing to run.
    """
    wanted = list(services)
    for field, given in (("services", wanted), ("loads", loads), ("seeds", seeds)):
        if not given:
            msg = f"{field} must hold at least one value; got none. Give some."
            raise ValueError(msg)
    work = [(service, load, seed) for seed, load, service in product(seeds, loads, wanted)]
    if client is None:
        for service, load, seed in work:
            yield run(service, population, load, requests, seed)
        return
    from distributed import as_completed  # noqa: PLC0415  (an extra: only here)

    columns = list(zip(*work, strict=True))
    futures = client.map(_task, *columns, population=population, requests=requests, pure=False)
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        client.cancel(futures)


def _task(
    service: Service, load: float, seed: int, *, population: Population, requests: int
) -> Outcome:
    return run(service, population, load, requests, seed)
