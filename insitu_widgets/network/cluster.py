"""Work on Dask: tasks out, results as they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from insitu_widgets.errors import of_type

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from distributed import Client


def check_client(client: Client | None) -> None:
    """Check that it is ``None`` or a client.

    Raises
    ------
    TypeError
        Otherwise.
    """
    if client is not None:
        from distributed import Client as Kind  # noqa: PLC0415  (half a second: only where it is used)

        of_type("client", client, Kind, "Start one: distributed.Client(); None works in line.")


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
