"""A slider moves: how long until the cheap tier is redrawn, and until the measurement is there."""

import time
from collections.abc import Iterator

from playwright.sync_api import Page

from benchmarks.page import browsing, open_page, press, served, settle, visiting
from benchmarks.table import DIGITS_ROOTS, Row, timed
from insitu_widgets import ROOTS, Recipe, Situation, load_data

CHEAP_MS, FIRST_MS, COMPLETE_S = 100.0, 400.0, 1.5
MOVES, MEASUREMENTS = 50, 20
#: Pause between two moves of a reader who holds the handle: the measurement runs meanwhile.
HOLD_S = 0.1
#: A move that has not been answered by then counts as unanswered.
ANSWER_LIMIT_MS = 10_000
#: Part of the cheap tier -> in words, and whether it is the one that the target speaks of.
_CHEAP = {
    "words": ("the sentence", False),
    "accuracy": ("the chart of accuracy against size", False),
    "last": ("the cheap tier redrawn: sentence, three charts", True),
    "painted": ("all of it painted", False),
}


def run_cheap(*, quick: bool) -> Iterator[Row]:
    """The latency slider, between two neighbours, from rest and while it measures."""
    with served() as server, browsing() as browser, visiting(browser, server, []) as page:
        open_page(page, server)
        page.evaluate("probe.arm()")
        for pause, words in ((HOLD_S, "held, measuring"), (None, "from rest")):
            times = MOVES if not quick and pause else 20
            moves = [_move(page, "latency_s", "cheap", turn, pause) for turn in range(times)]
            answered = [move for move in moves if move]
            for part, (what, asked_for) in _CHEAP.items():
                samples = [move[part] for move in answered]
                target = CHEAP_MS if asked_for else None
                yield timed(f"slider ({words}) to {what}", samples, "ms", target)
            if len(answered) < times:
                lost = times - len(answered)
                yield Row(f"slider ({words}): moves that changed nothing", f"{lost} of {times}")
        settle(page)


def _move(
    page: Page, slider: str, kind: str, turn: int, pause: float | None
) -> dict[str, float] | None:
    """One key press, there or back, and the milliseconds to each part of its answer."""
    if pause is None:
        settle(page)
    else:
        time.sleep(pause)
    page.evaluate("kind => probe.expect(kind)", kind)
    press(page, slider, "ArrowLeft" if turn % 2 else "ArrowRight")
    answer: dict[str, float] | None = page.evaluate("limit => probe.answer(limit)", ANSWER_LIMIT_MS)
    return answer


def run_measured(*, quick: bool) -> Iterator[Row]:
    """The bit-error-rate slider with the whole float32 root of each family: the heaviest packet."""
    with served() as server, browsing() as browser:
        for root in DIGITS_ROOTS:
            with visiting(browser, server, []) as page:
                open_page(page, server, Situation(root=root, recipe=Recipe(root)))
                page.evaluate("probe.arm()")
                times = 6 if quick else MEASUREMENTS
                moves = [
                    _move(page, "bit_error_rate", "measured", turn, HOLD_S) for turn in range(times)
                ]
                first = [move["estimate"] for move in moves if move]
                complete = [move["complete"] / 1e3 for move in moves if move]
                count = len(load_data(ROOTS[root].data))
                yield timed(f"slider to first measured estimate: {root}", first, "ms", FIRST_MS)
                yield timed(f"slider to all {count} images: {root}", complete, "s", COMPLETE_S)
