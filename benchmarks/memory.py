"""Memory of one kernel after a complete measurement, and of the server."""

from collections.abc import Iterator

import psutil

from benchmarks.page import browsing, open_page, served, settle, visiting
from benchmarks.table import DIGITS_ROOTS, Row, below

RESIDENT_MB, PRIVATE_MB = 500.0, 380.0


def run(*, quick: bool) -> Iterator[Row]:  # noqa: ARG001  (as quick as it can be)
    """One page: the first root, then all of them on the same page."""
    with served() as server, browsing() as browser, visiting(browser, server, []) as page:
        open_page(page, server)
        kernel = server.kernel(page)
        yield from _kernel("kernel after one complete measurement", kernel)
        for root in DIGITS_ROOTS[1:]:
            page.locator(".insitu-root select").select_option(label=root)
            page.wait_for_function("root => location.search.includes(root)", arg=root)
            settle(page)
        yield from _kernel(f"kernel after all {len(DIGITS_ROOTS)} digits roots", kernel)
        rss = server.process.memory_info().rss / 1e6
        yield Row("server with one page and one kernel in its pool: resident", f"{rss:.0f} MB")


def _kernel(what: str, kernel: psutil.Process) -> Iterator[Row]:
    memory = kernel.memory_full_info()
    for name, size, target in (
        ("resident", memory.rss / 1e6, RESIDENT_MB),
        ("private", memory.uss / 1e6, PRIVATE_MB),
    ):
        yield Row(f"{what}: {name}", f"{size:.0f} MB", below(target, "MB"), size <= target)
