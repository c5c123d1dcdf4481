"""Two hundred slider moves within ten seconds: no error, and the last state is on the screen."""

import random
import re
import time
from collections.abc import Iterator
from html import unescape
from urllib.parse import urlsplit

from playwright.sync_api import Page

from benchmarks.page import browsing, open_page, served, settle, visiting
from benchmarks.table import Row, below
from insitu_widgets import ROOTS, Explorer, Recipe, Situation
from insitu_widgets.explorer import controls, words
from insitu_widgets.levels.recipe import BITS
from insitu_widgets.network.grids import KEEPS
from insitu_widgets.network.permalink import from_query
from insitu_widgets.network.situation import NUMBERS
from insitu_widgets.units import percent

MOVES, WITHIN_S = 200, 10.0
PACE_S = 9.5  # the last move is under way well before the ten seconds are over
ROOT = "resnet-digits"
START = Situation(recipe=Recipe(ROOT, exit=4, keep=0.3, bits=4))  # by hand: every slider moves
CUTS = ("exit", "keep", "bits")
#: Slider -> the values that it stops at.
STOPS: dict[str, list[float]] = {name: controls.stops(name) for name in NUMBERS} | {
    "exit": [float(exit_) for exit_ in range(1, ROOTS[ROOT].num_exits + 1)],
    "keep": sorted(KEEPS),
    "bits": [float(bits) for bits in BITS],
}


def run(*, quick: bool) -> Iterator[Row]:
    """Move every slider in turn, to the left or to the right by chance (seeded)."""
    with served() as server, browsing() as browser:
        for seed in range(1 if quick else 2):
            faults: list[str] = []
            with visiting(browser, server, faults) as page:
                open_page(page, server, START)
                moves = _moves(random.Random(seed))
                seconds = page.evaluate(
                    "([moves, seconds]) => probe.rush(moves, seconds)", [moves, PACE_S]
                )
                start = time.perf_counter()
                settle(page)
                settled = time.perf_counter() - start
                wrong = _differences(page)
                astray = _astray(page, moves)
            wrong += [f"the page: {fault}" for fault in faults]
            what = f"{MOVES} moves over {len(STOPS)} sliders (seed {seed})"
            figure = f"in {seconds:.1f} s, settled {settled:.1f} s later"
            target = f"{below(WITHIN_S, 's')}, no error, last state shown"
            met = seconds <= WITHIN_S and not wrong
            yield Row(what, figure, target, met, wrong="; ".join(wrong))
            lost = ", ".join(astray) or "none"
            yield Row(f"{what}: not where the keys sent them", lost, "none", not astray)


def _moves(chance: random.Random) -> list[tuple[str, str]]:
    """Slider and key of each move."""
    names = [*STOPS]
    return [
        (names[index % len(names)], chance.choice(("ArrowLeft", "ArrowRight")))
        for index in range(MOVES)
    ]


def _astray(page: Page, moves: list[tuple[str, str]]) -> list[str]:
    """Which sliders ended elsewhere than the keys say: a key press of theirs was lost."""
    situation, _ = from_query(urlsplit(page.url).query)
    return [name for name in STOPS if _value(situation, name) != _pressed(name, moves)]


def _value(situation: Situation, name: str) -> float:
    if name not in CUTS or situation.recipe is None:
        return float(getattr(situation, name, 0.0))
    last = ROOTS[situation.root].num_exits
    return float(getattr(situation.recipe, name) or last)


def _pressed(name: str, moves: list[tuple[str, str]]) -> float:
    stops = STOPS[name]
    place = stops.index(_value(START, name))
    for slider, key in moves:
        if slider == name:
            step = 1 if key == "ArrowRight" else -1
            place = min(max(place + step, 0), len(stops) - 1)
    return stops[place]


def _differences(page: Page) -> list[str]:
    """What is on the screen and is not what Python computes for the page's address."""
    situation, problems = from_query(urlsplit(page.url).query)
    explorer = Explorer(situation)  # measures at once, here
    wanted = {".insitu-sentence": _plain(words.sentence(explorer))}
    wanted |= {
        f".insitu-{name} .widget-readout": controls.say(name, getattr(situation, name))
        for name in STOPS
        if name not in CUTS
    }
    if situation.recipe is None or explorer.estimate is None:
        return [f"the page's address {page.url} asks for nothing to be sent", *problems]
    wanted[".insitu-tile-measured b"] = percent(explorer.estimate.accuracy)
    wanted[".insitu-keep .widget-readout"] = percent(situation.recipe.keep, 0)
    wanted[".insitu-bits .widget-readout"] = f"{situation.recipe.bits} bit"
    shown = {selector: " ".join(page.inner_text(selector).split()) for selector in wanted}
    return [
        *problems,
        *(
            f"{selector} shows {shown[selector]!r}, Python says {text!r}"
            for selector, text in wanted.items()
            if shown[selector] != text
        ),
    ]


def _plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())
