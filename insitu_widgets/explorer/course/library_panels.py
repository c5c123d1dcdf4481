"""Panels of the library and the network: storage and look-up, a population, a broadcast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from itertools import product
from math import isnan
from typing import Any

import numpy as np

from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer.course import library_figures as figures
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, number, slider
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.broadcast import air_time, layers, links
from insitu_widgets.network.library import Library, from_root
from insitu_widgets.network.making import usual_making_ms
from insitu_widgets.network.outcome import Outcome
from insitu_widgets.network.population import Population
from insitu_widgets.network.service import POLICIES, RULES, Service
from insitu_widgets.network.store import Apart, Nested, Pieces, Store, root_bytes
from insitu_widgets.network.study import LOADS, Study, outcomes
from insitu_widgets.network.tiers import TIERS
from insitu_widgets.roots import load_root
from insitu_widgets.units import percent, quantity

_KEEPS = (1.0, 0.5, 0.3, 0.2, 0.1)
_BITS = (2, 3, 4, 6, 8, 16, 32)
_EVERY = 6
_LISTENERS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
#: Shares of the air for real-time, non-real-time and generic models.
_SLICES = {
    "40 %, 40 %, 20 %": (0.4, 0.4, 0.2),
    "a third each": (1 / 3, 1 / 3, 1 / 3),
    "real-time first: 70 %": (0.7, 0.2, 0.1),
    "generic first: 60 %": (0.2, 0.2, 0.6),
}
#: The roots whose hundred packets fit the memory of a page.
_SMALL = [name for name, card in ROOTS.items() if card.data == "digits"]
_BY = {"exit": "exits, 4 bits a weight", "keep": "weights kept, 16 bits each"}


def library_panel() -> Panel:
    """A hundred variants of one root: what they take in three stores, and how soon one is there."""
    counts = slider("Variants", [24, 48, 96], 48, lambda n: f"{n:.0f}")
    return Panel(
        "The three-tier library",
        "Measured: bytes of real packets in three stores, each given back to the bit; time to "
        "make one. Modelled: delays and back-haul of the tiers (examples).",
        {"root": choice("Root model", _SMALL), "variants": counts, "seed": _seed()},
        _library,
    )


def _seed() -> Any:
    return number("Seed", 0, 999, 0)


def _library(root: str, variants: float, seed: int) -> Iterator[Picture]:
    exits = range(1, ROOTS[root].num_exits + 1)
    recipes = [Recipe(root, *cut) for cut in product(exits, _KEEPS, _BITS)]
    order = np.random.default_rng(seed).permutation(len(recipes))[: int(variants)]
    stores: dict[str, Store] = {"apart": Apart(), "pieces": Pieces(), "nested": Nested()}
    counts: list[int] = []
    taken: dict[str, list[int]] = {name: [] for name in stores}
    whole = root_bytes(load_root(root))
    for done, place in enumerate(order, 1):
        recipe = recipes[place]
        packet = from_root(recipe)
        for store in stores.values():
            store.add(recipe, packet)
            if store.get(recipe) != packet:
                msg = f"{recipe} must come back to the bit; it did not. Keep it apart."
                raise ValueError(msg)
        if done % _EVERY and done < len(order):
            continue
        counts.append(done)
        for name, store in stores.items():
            taken[name].append(store.num_bytes)
        said = ", ".join(
            f"{figures.STORES[name][0]} {quantity(store.num_bytes, 'B')}"
            for name, store in stores.items()
        )
        text = f"{done} variants of {root}: {said}; the root alone {quantity(whole, 'B')}."
        charts = {
            "storage": Chart("Storage", text, figures.storage(counts, taken, whole)),
        }
        if done == _EVERY:
            charts["fetching"] = _fetching(recipe)
        yield Picture(charts, f"<p>{escape(text)}</p>", done / len(order))


def _fetching(recipe: Recipe) -> Chart:
    """Fetch one packet from each place where it may be."""
    packet = from_root(recipe)
    ways = {}
    for tier in TIERS:
        library = Library([replace(each, capacity_bytes=1e9) for each in TIERS])
        library.store(recipe, packet, tier.name)
        found = library.fetch(recipe)
        ways[f"{tier.name}, ready"] = (found.time_s - found.working_s, found.working_s)
    nested = Library([replace(TIERS[0], capacity_bytes=1e9, keeping="nested")])
    nested.store(recipe, packet, TIERS[0].name)
    for name, library in (("edge, nested", nested), ("edge, made", Library(TIERS[:1]))):
        found = library.fetch(recipe)
        ways[name] = (found.time_s - found.working_s, found.working_s)
    said = ", ".join(f"{name} {quantity(sum(times), 's')}" for name, times in ways.items())
    text = f"{recipe}, {quantity(packet.num_bits / 8, 'B')}, is at the edge after: {said}."
    return Chart("Time to the edge", text, figures.fetching(ways))


def population_panel() -> Panel:
    """One size for all, a few sizes, in-situ: three curves over load."""
    rules = [("each device its best (choose)", RULES[0]), ("a price on the air", RULES[1])]
    controls = {
        "rule": choice("Rule", rules),
        "least_accuracy": slider("Least of use", [0.0, 0.5, 0.9], 0.0, lambda v: percent(v, 0)),
        "edge_bytes": slider("Edge storage", [1e5, 1e6, 1e7, 1e8], 1e7, lambda v: quantity(v, "B")),
        "slices": choice("Slices of the air", list(_SLICES)),
        "zipf": slider("Zipf exponent", [0.0, 0.5, 0.9, 1.5], 0.9, lambda v: f"{v:g}"),
        "error_db": slider("Link misjudged", [0.0, 1.0, 3.0, 6.0], 0.0, lambda v: f"{v:g} dB"),
        "requests": slider("Requests a run", [2000, 5000, 20000], 2000, lambda v: f"{v:,.0f}"),
        "making_ms": number("Making one (ms)", 0, 60_000, usual_making_ms()),
        "seed": _seed(),
    }
    return Panel(
        "A population: one size, a few sizes, in-situ",
        "Simulated: devices, links, queues, tiers (5000 devices, 1 MHz). Measured: accuracies and "
        "packet sizes (catalogue, images); making one (here, once; state another machine's).",
        controls,
        _population,
    )


def _population(
    *,
    rule: str,
    least_accuracy: float,
    edge_bytes: float,
    slices: str,
    zipf: float,
    error_db: float,
    requests: float,
    making_ms: int,
    seed: int,
) -> Iterator[Picture]:
    made_s = making_ms / 1e3
    population = Population(zipf=zipf, report_error_db=error_db, slices=_SLICES[slices])
    tiers = (replace(TIERS[0], capacity_bytes=edge_bytes), *TIERS[1:])
    services = [
        Service(policy, rule, tiers, making_s=made_s, least_accuracy=least_accuracy)
        for policy in POLICIES
    ]
    study = Study(services, population, requests=int(requests), seeds=(seed,))
    done: list[Outcome] = []
    for outcome in outcomes(study):
        done.append(outcome)
        if len(done) % len(services) == 0:
            progress = len(done) / (len(services) * len(LOADS))
            yield Picture(_curves(done), _table(done[-len(services) :], made_s), progress)


def _curves(outcomes: list[Outcome]) -> dict[str, Chart]:
    last = outcomes[-len(POLICIES) :]
    charts = {}
    for name, quantity_, title, unit, scale in (
        ("accuracy", "accuracy", "Delivered accuracy", "%", 100.0),
        ("hits", "hits", "Deadlines kept", "%", 100.0),
        ("waiting", "wait_p95_s", "Waiting time, 95th percentile", "s", 1.0),
    ):
        said = ", ".join(f"{o.policy} {_said(scale * getattr(o, quantity_), unit)}" for o in last)
        text = f"{title} at {last[0].load_per_s:g} requests a second: {said}."
        spec = figures.over_load(outcomes, quantity_, f"{title} ({unit})", scale)
        charts[name] = Chart(title, text, spec)
    return charts


def _said(value: float, unit: str) -> str:
    return "nothing sent" if isnan(value) else f"{value:.3g} {unit}"


def _table(outcomes: list[Outcome], made_s: float) -> str:
    """Tier hit rates at the last load (HTML)."""
    names = list(outcomes[0].tiers)
    heads = ["", "accuracy", "deadlines kept", *(f"from {name}" for name in names), "made"]
    rows = [
        [o.policy, *(percent(v) for v in (o.accuracy, o.hits, *o.tiers.values(), o.made))]
        for o in outcomes
    ]
    cells = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return (
        f"<p>At {outcomes[0].load_per_s:g} requests a second (a missed deadline counts as accuracy "
        f"0; making a sub-model takes {quantity(made_s, 's')}):</p>"
        f"<table><tr>{head}</tr>{''.join(cells)}</table>"
    )


def broadcast_panel() -> Panel:
    """Everybody hears the base, the better links the refinements: time on the air."""
    controls = {
        "root": choice("Root model", _SMALL),
        "by": choice("Nested by", [(text, name) for name, text in _BY.items()]),
        "latency_s": slider(
            "Latency budget", [0.05, 0.1, 0.2, 0.5, 1.0, 2.0], 0.2, lambda v: quantity(v, "s")
        ),
        "rate_bps": slider(
            "Median rate", [1e5, 3e5, 1e6, 3e6, 1e7], 1e6, lambda v: quantity(v, "bit/s")
        ),
        "spread_db": slider("Spread of links", [0.0, 3.0, 6.0, 10.0], 6.0, lambda v: f"{v:g} dB"),
        "seed": _seed(),
    }
    return Panel(
        "Broadcasting a nested model",
        "Measured: bytes of real packets and refinements. Simulated: the listeners' links "
        "(log-normal); what several hear is sent at the rate of the weakest of them.",
        controls,
        _broadcast,
    )


def _broadcast(
    *, root: str, by: str, latency_s: float, rate_bps: float, spread_db: float, seed: int
) -> Iterator[Picture]:
    if by == "exit":
        recipes = [Recipe(root, exit=place, bits=4) for place in range(1, 5)]
        names = [f"exit {recipe.exit}" for recipe in recipes]
    else:
        recipes = [Recipe(root, exit=2, keep=keep, bits=16) for keep in (0.1, 0.3, 0.5, 1.0)]
        names = [f"keep {percent(recipe.keep, 0)}" for recipe in recipes]
    cut = layers(recipes)
    bits = [packet.num_bits for packet in cut.packets]
    parts = [part.num_bits for part in cut.parts]
    rates = links(_LISTENERS[-1], rate_bps, spread_db, seed)
    found = [air_time(cut, rates[:count], latency_s) for count in _LISTENERS]
    times = {name: [getattr(each, name) for each in found] for name in figures.WAYS}
    said = ", ".join(f"{figures.WAYS[name][0]} {quantity(times[name][-1], 's')}" for name in times)
    shares = np.bincount(found[-1].level, minlength=len(names) + 1) / _LISTENERS[-1]
    levels = ", ".join(
        f"{name} {percent(share, 0)}"
        for name, share in zip(["nothing", *names], shares, strict=True)
    )
    text = f"{_LISTENERS[-1]} listeners: {said}. They get: {levels}."
    more = sum(parts) / bits[-1] - 1
    sizes = (
        f"Base and all refinements {quantity(sum(parts) / 8, 'B')}, the largest packet alone "
        f"{quantity(bits[-1] / 8, 'B')}: {percent(more)} more."
    )
    yield Picture(
        {
            "air": Chart("Time on the air", text, figures.air_times(_LISTENERS, times)),
            "sizes": Chart("Sizes", sizes, figures.layer_sizes(names, bits, parts)),
        },
        f"<p>{escape(text)} {escape(sizes)}</p>",
    )
