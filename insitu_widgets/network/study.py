"""Studies: the service over many loads, in line or on Dask. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from insitu_widgets.errors import in_range, of_type
from insitu_widgets.network import growing
from insitu_widgets.network.cluster import as_done, check_client
from insitu_widgets.network.outcome import Outcome, run
from insitu_widgets.network.population import (
    LEAST_LOAD_PER_S,
    MOST_LOAD_PER_S,
    MOST_REQUESTS,
    Population,
)
from insitu_widgets.network.service import Service
from insitu_widgets.network.situation import MOST_SEED

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from distributed import Client

#: Requests a second, in a cell of 1 MHz.
LOADS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


@dataclass(frozen=True)
class Study:
    """Services at loads, each with the very same requests; ``sweep(Study(…))`` runs it.

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

    Raises
    ------
    TypeError
        For something else than services and a population.
    ValueError
        For a value out of its range, or nothing to run.
    """

    services: Sequence[Service]
    population: Population
    loads: Sequence[float] = LOADS
    requests: int = 2000
    seeds: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        for field in ("services", "loads", "seeds"):
            given = getattr(self, field)
            of_type(field, given, Iterable, f"Put it into a list: {field}=[…].")
            object.__setattr__(self, field, tuple(given))
            if not getattr(self, field):
                msg = f"{field} must hold at least one value; got none. Give some."
                raise ValueError(msg)
        for service in self.services:
            of_type("each of services", service, Service, "Make one: Service(policy).")
        of_type("population", self.population, Population, "Make one: Population().")
        for load in self.loads:
            in_range("each of loads", load, LEAST_LOAD_PER_S, MOST_LOAD_PER_S, "1/s")
        for seed in self.seeds:
            in_range("each of seeds", seed, 0, MOST_SEED)
        in_range("requests", self.requests, 1, MOST_REQUESTS)


def outcomes(
    study: Study,
    *,
    path: Path | str | None = None,
    client: Client | None = None,
    progress: bool = False,
) -> Generator[Outcome]:
    """Run a study, and yield each outcome as it is known.

    Parameters
    ----------
    study
        What to run.
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
    TypeError
        For something else than a client.
    ValueError
        For a path that is no new file and no study's; it stays as it is.
    """
    check_client(client)
    work = {
        _key(service, study, load, seed): (service, load, seed)
        for seed, load, service in product(study.seeds, study.loads, study.services)
    }
    known = _read(path)
    yield from (known[key] for key in work if key in known)
    left = {key: task for key, task in work.items() if key not in known}
    run_all = _in_line if client is None else partial(_on_dask, client)
    done = run_all(left, study.population, study.requests)
    with closing(done), tqdm(total=len(left), unit="run", disable=not progress) as bar:
        for key, outcome in done:
            if path is not None:
                with Path(path).open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, **asdict(outcome)}) + "\n")
            bar.update()
            yield outcome


_Task = tuple[Service, float, int]


def _key(service: Service, study: Study, load: float, seed: int) -> str:
    """What names a run: all that decides its outcome."""
    text = repr((service, study.population, float(load), study.requests, seed))
    return hashlib.sha256(text.encode()).hexdigest()


#: What every line of a study's file begins with.
_FIRST = '{"key": "'


def _read(path: Path | str | None) -> dict[str, Outcome]:
    """What a file holds; a last line that was cut is not counted, and is cut off."""
    if path is None:
        return {}
    whole, cut = growing.read(Path(path))
    if not whole and not cut.startswith(_FIRST[: len(cut)]):
        raise _another(path, f"it begins with {cut[:40]!r}")
    try:
        rows = [json.loads(line) for line in whole.splitlines()]
        found = {row.pop("key"): Outcome(**row) for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _another(path, f"{type(error).__name__}: {error}") from error
    if cut:
        growing.replace(Path(path), whole)
    return found


def _another(path: Path | str, why: str) -> ValueError:
    return ValueError(
        f"path must be a new file or a study's; {path} is another ({why}). Name another file."
    )


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
