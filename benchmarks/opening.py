"""The page opens: first picture, usable controls, first measured estimate."""

from collections.abc import Iterator
from dataclasses import replace

from playwright.sync_api import Browser

from benchmarks.page import LIMIT_MS, Server, browsing, served, visiting
from benchmarks.table import Row, timed

#: What is waited for: in words, and within how many seconds with a pre-heated kernel (0: at will).
MARKS = {
    "picture": ("a chart is drawn", 0.0),
    "usable": ("a key press has changed the page", 4.0),
    "estimate": ("first measured estimate", 0.0),
}
#: Its stops do not change what is sent in the first situation, so the measurement goes on.
SLIDER = "memory_bytes"


def run(*, quick: bool) -> Iterator[Row]:
    """Pages of visitors who come one by one, to a pre-heated kernel and to none."""
    with browsing() as browser:
        for preheat, words in ((True, "pre-heated"), (False, "not pre-heated")):
            with served(preheat=preheat) as server:
                loads = [_open(browser, server) for _ in range(2 if quick else 5 if preheat else 3)]
            for mark, (what, target) in MARKS.items():
                samples = [load[mark] / 1e3 for load in loads if mark in load]
                row = timed(f"page ({words}) until {what}", samples, "s", target * preheat or None)
                never = len(loads) - len(samples)
                lost = f"{never} of {len(loads)} pages never got so far" if never else ""
                yield replace(row, wrong=lost or row.wrong)


def _open(browser: Browser, server: Server) -> dict[str, float]:
    """Milliseconds from the start of the navigation to each mark that was reached."""
    with visiting(browser, server, []) as page:
        page.goto(server.url, wait_until="commit")
        marks: dict[str, float] = page.evaluate(
            "([slider, limit]) => probe.watchOpening(slider, limit)", [SLIDER, LIMIT_MS]
        )
    server.rest()
    return marks
