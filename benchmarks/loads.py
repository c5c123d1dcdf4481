"""Eighty page loads in a row, two visitors at a time: none may hang."""

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from benchmarks.page import Server, served
from benchmarks.table import Row, spread
from insitu_widgets.serve import HOST

LOADS, VISITORS, LIMIT_S = 80, 2, 25.0


def run(*, quick: bool) -> Iterator[Row]:
    """Fetch the page as a browser would, and end its kernel."""
    loads = 20 if quick else LOADS
    with served() as server, ThreadPoolExecutor(VISITORS) as visitors:
        results = list(visitors.map(lambda _: _load(server), range(loads)))
    seconds = [result for result in results if isinstance(result, float)]
    faults = [result for result in results if isinstance(result, str)]
    yield Row(
        f"{loads} page loads in a row, {VISITORS} visitors at a time",
        f"{spread(seconds, 's')}, {len(faults)} hung" if seconds else "none answered",
        "none hangs",
        not faults,
        wrong="; ".join(faults),
    )


def _load(server: Server) -> float | str:
    """Seconds until the whole page was here, or what went wrong."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection(HOST, server.port, timeout=LIMIT_S)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        html = response.read().decode()
    except OSError as error:
        return f"a load broke off after {time.perf_counter() - start:.1f} s ({error!r})"
    finally:
        connection.close()
    seconds = time.perf_counter() - start
    if response.status != HTTPStatus.OK or "error when executing cell" in html:
        return f"a load ended with status {response.status} or a cell that failed"
    server.shut_down(html)
    return seconds if seconds <= LIMIT_S else f"a load took {seconds:.1f} s"
