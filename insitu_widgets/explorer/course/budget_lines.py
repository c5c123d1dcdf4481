"""The best for every budget, as lines and as rows of a table: what the envelope's panels share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10

from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import bits_figures as figures
from insitu_widgets.explorer.course.parameter_figures import byte_axis
from insitu_widgets.explorer.words import html_table
from insitu_widgets.network import envelope
from insitu_widgets.network.envelope import Best, Candidate
from insitu_widgets.units import percent, quantity


def line(candidates: Sequence[Candidate], budgets: Sequence[float]) -> list[tuple[float, Estimate]]:
    """The best of every budget (bytes) that buys anything: its decimal logarithm, its accuracy."""
    smallest = min(c.num_bits for c in candidates)
    return [
        (log10(budget), envelope.best(candidates, 8 * budget).estimate)
        for budget in budgets
        if 8 * budget >= smallest
    ]


def over_bytes(
    lines: Mapping[str, figures.Line], title: str, budgets: Sequence[float]
) -> figures.Spec:
    """Accuracy over budgets (bytes) on a logarithmic axis."""
    return figures.accuracy_lines(lines, title, byte_axis(budgets[0], budgets[-1]))


def within(pool: Mapping[str, Sequence[Candidate]], budget: float) -> tuple[str, str]:
    """What a budget (bytes) buys of each kind that has candidates: a sentence, and a table."""
    rows, said = [], []
    for name, candidates in pool.items():
        if not candidates:
            continue
        smallest = min(c.num_bits for c in candidates)
        if smallest <= 8 * budget:
            found = envelope.best(candidates, 8 * budget)
            rows.append((name, chosen(found), share(found.estimate)))
            said.append(f"{name} {percent(found.estimate.accuracy)}")
        else:
            rows.append((name, f"nothing fits below {quantity(smallest / 8, 'B')}", ""))
            said.append(f"{name} nothing")
    bought = quantity(budget, "B")
    heading = ("", f"best within {bought}, chosen on each half", "accuracy on the other")
    return f"Within {bought}: {'; '.join(said)}.", html_table(heading, rows)


def chosen(found: Best) -> str:
    """The recipes that the two halves have chosen, once if they agree."""
    return " / ".join(dict.fromkeys(c.what.partition(" · ")[2] for c in found.chosen))


def share(estimate: Estimate) -> str:
    """An accuracy with its 95 % interval."""
    return f"{percent(estimate.accuracy)} ({percent(estimate.low)} to {percent(estimate.high)})"
