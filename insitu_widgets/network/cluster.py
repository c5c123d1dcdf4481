"""Work on Dask: workers on this machine, tasks out, results as they are done."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from insitu_widgets.errors import of_type

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from distributed import Client


#: Dask starts its workers with this variable, so that they give memory back early. glibc then never
#: raises the size from which it asks the system for each block apart: a network's features are
#: mapped, zeroed and let go at every layer, so that ResNet-18 takes 1.4 times as long.
_TRIM = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"


@contextmanager
def local_client(workers: int) -> Generator[Client]:
    """A client of worker processes on this machine, one thread each, which end with it.

    Networks run in them nearly as fast as in line; in those of a plain ``LocalCluster`` they do
    not, unless ``MALLOC_TRIM_THRESHOLD_`` is taken out of its workers' environment as here.
    """
    import dask  # noqa: PLC0415  (an extra: only here)
    from distributed import Client, LocalCluster  # noqa: PLC0415

    with (
        dask.config.set({_TRIM: None}),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def check_client(client: Client | None) -> None:
    """Check that it is ``None`` or a client.

    Raises
    ------
    TypeError
        Otherwise.
    """
    if client is not None:
        from distributed import Client as Kind  # noqa: PLC0415  (half a second: only where it is used)

        of_type("client", client, Kind, "Start one: local_client(2); None works in line.")


def as_done(
    client: Client, task: Callable[..., Any], items: Sequence[Any], **shared: Any
) -> Generator[Any]:
    """Do a task on every item; yield the results as they are done, and cancel what is left."""
    from distributed import as_completed  # noqa: PLC0415  (half a second: only where it is used)

    futures = client.map(task, items, **shared, pure=False)
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        client.cancel(futures)
