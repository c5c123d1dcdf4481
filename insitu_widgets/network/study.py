"""Studies: the service over many loads, in line or on Dask. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from insitu_widgets.network.cluster import as_done, check_client
from insitu_widgets.network.outcome import Outcome, run
from insitu_widgets.network.service import Service

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

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
    path: Path | str | None = None,
    client: Client | None = None,
    progress: bool = False,
) -> Generator[Outcome]:
    """Run services at loads, each with the very same requests.

    ``path``, ``client`` and ``progress`` are those of :func:`~insitu_widgets.sweep`.

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
    path
        A file (a JSON object a line) that grows as runs are done; what it holds is not run again.
    client
        A ``dask.distributed`` client to run on; ``None`` runs in line, load by load.
    progress
        Whether to show a progress bar; off, as the outcomes themselves stream.

    Yields
    ------
    Outcome
        One a service, load and seed: in that order in line, as they are done on Dask; first those
        that ``path`` holds.

    Raises
    ------
    ValueError
        For a value out of its range, or nothing to run.
    """
    check_client(client)
    wanted = list(services)
    for field, given in (("services", wanted), ("loads", loads), ("seeds", seeds)):
        if not given:
            msg = f"{field} must hold at least one value; got none. Give some."
            raise ValueError(msg)
    work = {
        _key(service, population, load, requests, seed): (service, load, seed)
        for seed, load, service in product(seeds, loads, wanted)
    }
    known = _read(path)
    yield from (known[key] for key in work if key in known)
    left = {key: task for key, task in work.items() if key not in known}
    run_all = _in_line if client is None else partial(_on_dask, client)
    done = run_all(left, population, requests)
    with closing(done), tqdm(total=len(left), unit="run", disable=not progress) as bar:
        for key, outcome in done:
            if path is not None:
                with Path(path).open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, **asdict(outcome)}) + "\n")
            bar.update()
            yield outcome


_Task = tuple[Service, float, int]


def _key(service: Service, population: Population, load: float, requests: int, seed: int) -> str:
    """What names a run: all that decides its outcome."""
    text = repr((service, population, float(load), requests, seed))
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path | str | None) -> dict[str, Outcome]:
    """What a file holds; a last line that was cut is not counted, and is cut off."""
    if path is None or not Path(path).exists():
        return {}
    text = Path(path).read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        Path(path).write_text(whole, encoding="utf-8")
    rows = [json.loads(line) for line in whole.splitlines()]
    return {row.pop("key"): Outcome(**row) for row in rows}


def _in_line(
    work: Mapping[str, _Task], population: Population, requests: int
) -> Generator[tuple[str, Outcome]]:
    for key, (service, load, seed) in work.items():
        yield key, run(service, population, load, requests, seed)


def _on_dask(
    client: Client, work: Mapping[str, _Task], population: Population, requests: int
) -> Generator[tuple[str, Outcome]]:
    items = list(work.items())
    yield from as_done(client, _task, items, population=population, requests=requests)


def _task(
    named: tuple[str, _Task], *, population: Population, requests: int
) -> tuple[str, Outcome]:
    key, (service, load, seed) = named
    return key, run(service, population, load, requests, seed)
