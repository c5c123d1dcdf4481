"""The panel of a sweep: its table as a picture (section 3: a library of many sub-models)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from insitu_widgets.explorer.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    dots,
    lay_out,
    log_bytes,
    titled,
)
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import Catalogue, Measurement
from insitu_widgets.units import error_rate, percent, quantity

_COLORS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, GREY)
_SYMBOLS = ("circle", "x", "square", "diamond", "triangle-up", "cross", "star")


def table_panel(table: Catalogue) -> Panel:
    """What a sweep measured: accuracy against packet size, at each of its bit-error rates."""
    rates = sorted({row.bit_error_rate for row in table.rows})
    return Panel(
        "What the sweep measured",
        "Measured by the sweep: packed bytes, bits really flipped, accuracy on all its images.",
        {
            "rate": choice("Bit-error rate", [(error_rate(rate), rate) for rate in rates]),
            "by": choice("Marked by", ["exit", "bits", "keep"]),
        },
        lambda rate, by: _steps(table, rate, by),
    )


def _steps(table: Catalogue, rate: float, by: str) -> Iterator[Picture]:
    rows = [row for row in table.rows if row.bit_error_rate == rate]
    front = _front(rows)
    best = front[-1]
    said = (
        f"{len(rows)} measurements at a bit-error rate of {error_rate(rate)}; {len(front)} of "
        f"them are worth having: nothing smaller is as accurate. The best is {best.recipe}: "
        f"{quantity(best.num_bits / 8, 'B')}, {percent(best.accuracy)}."
    )
    groups: dict[str, list[Measurement]] = {}
    for row in sorted(rows, key=lambda row: row.recipe):
        groups.setdefault(_group(row.recipe, by), []).append(row)
    data = [dots(name, found, _mark(number)) for number, (name, found) in enumerate(groups.items())]
    edge = dots("worth having", front, {"size": 1})
    data.insert(0, {**edge, "mode": "lines", "line": {"color": GREY, "width": 2, "shape": "hv"}})
    sizes = [row.num_bits / 8 for row in rows]
    layout = lay_out(
        log_bytes(min(sizes) / 1.3, max(sizes) * 1.3, "Packet size (logarithmic)"),
        {"title": titled("Accuracy (%)"), "range": [0, 105]},
    )
    chart = Chart("Accuracy against packet size", said, {"data": data, "layout": layout})
    yield Picture({"table": chart}, f"<p>{said}</p>")


def _mark(number: int) -> dict[str, object]:
    """A mark of its own for each group: more groups than colours take another symbol."""
    again, color = divmod(number, len(_COLORS))
    symbol = _SYMBOLS[(color + again) % len(_SYMBOLS)]
    return {"color": _COLORS[color], "symbol": symbol, "size": 9}


def _group(recipe: Recipe, by: str) -> str:
    if by == "exit":
        return "last exit" if recipe.exit is None else f"exit {recipe.exit}"
    if by == "bits":
        return f"{recipe.bits} bit{' mixed' if recipe.mixed else ''}"
    return f"keep {percent(recipe.keep, 0)}"


def _front(rows: Sequence[Measurement]) -> list[Measurement]:
    """The measurements that no smaller packet equals, by size."""
    front: list[Measurement] = []
    for row in sorted(rows, key=lambda row: (row.num_bits, -row.accuracy)):
        if not front or row.accuracy > front[-1].accuracy:
            front.append(row)
    return front
