"""The challenges' panel: choose a cut, and what it delivers is measured and judged."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer.classwork.answer_sheet import Solution
from insitu_widgets.explorer.classwork.answers import Answers, solutions_table
from insitu_widgets.explorer.figures import (
    BLUE,
    GREEN,
    PURPLE,
    RED,
    dots,
    lay_out,
    log_bytes,
    titled,
)
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, slider
from insitu_widgets.levels.recipe import BITS, Recipe
from insitu_widgets.network.challenges import (
    CHALLENGES,
    DRAWS,
    Challenge,
    Verdict,
    check,
    known_solutions,
)
from insitu_widgets.units import percent, quantity

_KEEPS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def challenges_panel(answers: Answers | None = None) -> Panel:
    """Challenges with an automatic check; what is solved is kept in ``answers``, by bits."""
    bench = _Bench(answers or Answers())
    roots = [name for name, card in ROOTS.items() if card.data == "digits"]
    exits = range(1, max(ROOTS[name].num_exits for name in roots) + 1)
    return Panel(
        "Challenges",
        f"Measured: the bits of the whole packet; accuracy on all test images, the mean of {DRAWS} "
        "draws of the channel. Modelled: time, as delay + bits ÷ rate.",
        {
            "challenge": choice("Challenge", list(CHALLENGES)),
            "root": choice("Root model", roots),
            "exit_": slider("Exit", exits, exits[-1], lambda exit_: f"{exit_:g}"),
            "keep": slider("Weights kept", _KEEPS, 1.0, lambda keep: percent(keep, 0)),
            "bits": slider("Bits a weight", BITS, 32, lambda bits: f"{bits:g} bit"),
            "guard": choice("Guard", list(GUARDS)),
        },
        bench.steps,
    )


class _Bench:
    """Remembers the tries of one panel."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._tries: dict[str, dict[tuple[Recipe, str], Verdict]] = {}

    def steps(
        self, *, challenge: str, root: str, exit_: int, keep: float, bits: int, guard: str
    ) -> Iterator[Picture]:
        asked = CHALLENGES[challenge]
        recipe = Recipe(root, min(exit_, ROOTS[root].num_exits), keep, bits)
        yield Picture(words=f"<p>{escape(str(asked))}.</p>", progress=0.1)
        verdict = check(asked, recipe, guard)
        tries = self._tries.setdefault(challenge, {})
        tries[recipe, guard] = verdict
        mine = Solution(challenge, recipe, guard, verdict.row.num_bits, verdict.row.accuracy)
        if verdict.met:
            self._answers.solve(mine)
        said = _judged(verdict)
        spec = tried(asked, list(tries.values()), verdict)
        chart = Chart("Your tries, and what would meet the challenge", said, spec)
        words = f"<p>{escape(str(asked))}.</p><p><b>{escape(said)}</b></p>"
        yield Picture({"tries": chart}, words + _best(asked, tries))


def _judged(verdict: Verdict) -> str:
    row = verdict.row
    what = (
        f"{row.recipe}: {row.num_bits:,} bit ({quantity(row.num_bits / 8, 'B')}), "
        f"{percent(row.accuracy)} accurate ({percent(row.lowest)} to {percent(row.highest)})"
    )
    return f"✓ Met. {what}." if verdict.met else f"✗ {'; '.join(verdict.faults)}. {what}."


def _best(asked: Challenge, tries: dict[tuple[Recipe, str], Verdict]) -> str:
    """The tries that met it, fewest bits first; then what the catalogue knows, to be unfolded."""
    met = [
        ("", Solution(asked.name, recipe, guard, verdict.row.num_bits, verdict.row.accuracy))
        for (recipe, guard), verdict in tries.items()
        if verdict.met
    ]
    if not met:
        return ""
    known = known_solutions(asked)
    fewest = f"{len(known)} cuts of the catalogue meet it"
    if known:
        fewest += f", the smallest ({known[0].recipe}) with {known[0].num_bits:,} bit"
    return (
        f"{solutions_table(met)}<details><summary>What the catalogue knows</summary>"
        f"{escape(fewest)}.</details>"
    )


def tried(asked: Challenge, verdicts: list[Verdict], now: Verdict) -> dict[str, Any]:
    """Accuracy against packet size: the tries, and the region that meets the challenge."""
    met = [verdict.row for verdict in verdicts if verdict.met and verdict != now]
    failed = [verdict.row for verdict in verdicts if not verdict.met and verdict != now]
    most = asked.most_bits / 8
    sizes = [most, *(verdict.row.num_bits / 8 for verdict in verdicts)]
    low, high = min(sizes) / 20, max(sizes) * 1.6
    star = {"color": PURPLE, "symbol": "star", "size": 18, "line": {"width": 1.5}}
    data = [
        dots("met", met, {"color": BLUE, "symbol": "circle", "size": 9}),
        dots("not met", failed, {"color": RED, "symbol": "x", "size": 8}),
        dots("this try", [now.row], star),
    ]
    region = {
        "type": "rect", "x0": low, "x1": most, "y0": 100 * asked.least_accuracy, "y1": 100,
        "fillcolor": GREEN, "opacity": 0.15, "line": {"width": 1, "color": GREEN},
    }  # fmt: skip
    return {
        "data": data,
        "layout": lay_out(
            log_bytes(low, high, "Packet size (logarithmic)"),
            {"title": titled("Accuracy (%)"), "range": [0, 105]},
            shapes=[region],
        ),
    }
