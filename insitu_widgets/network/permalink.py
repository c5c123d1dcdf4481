"""A situation as a query string, and back: the links that a teacher sends.

Whoever opens a link did not write it. So what is wrong in one is told in the reader's words, with
what stands in the link, what may stand there, and what is used instead. Needs no torch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.cards import ROOTS
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.situation import AS_IF, DEFAULT, MOST_SEED, NUMBERS, Situation
from insitu_widgets.units import quantity

if TYPE_CHECKING:
    from insitu_widgets.cards import Card

#: What a link carries; the root comes before the recipe.
NAMES = [item.name for item in fields(Situation) if item.name != "own"]
#: What the page calls each of them.
LABELS = {
    **{name: item.metadata["label"].lower() for name, item in NUMBERS.items()},
    "root": "root model",
    "guard": "guard",
    "seed": "draw of the noise",
    "application": "description",
    "recipe": "sub-model",
    "as_if": "size taken for the root",
}
#: What Voilà and Jupyter write into an address for themselves: names that begin so.
_FOREIGN = ("voila", "token", "kernel_name", "_xsrf")
#: Unknown names that are repeated to the reader, and letters of what came.
_SHOWN, _LETTERS = 5, 60


def to_query(situation: Situation) -> str:
    """The situation as a query string, what is not default only; every digit of it."""
    told = (name for name in NAMES if getattr(situation, name) != getattr(DEFAULT, name))
    return urlencode([(name, _exactly(name, situation)) for name in told])


def _exactly(name: str, situation: Situation) -> str:
    text = str(getattr(situation, name))
    return text.removesuffix(".0") if name in NUMBERS else text


def from_query(query: str, own: Card | None = None) -> tuple[Situation, tuple[str, ...]]:
    """Read a situation from a query string.

    Parameters
    ----------
    query
        As :func:`to_query` writes it.
    own
        The card of a user's own root, which is then the default and may be named.

    Returns
    -------
    situation : Situation
        With the default wherever a value is missing or bad.
    problems : tuple[str, …]
        A sentence for each bad value, for each name given more than once (the last value counts),
        and one for all names that are not a situation's. Voilà's and Jupyter's own are let pass.
    """
    pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
    given = {name: text for name, text in pairs if name in NAMES}
    good: dict[str, Any] = {}
    if own is not None and given.get("root", own.name) == own.name:
        good = {"root": own.name, "own": own}
    problems = []
    for name in [name for name in NAMES if name in given]:
        try:
            value = _parse(name, given[name])
            Situation(**{**good, name: value})
            good[name] = value
        except ValueError as error:
            problems.append(_wrong(name, given[name], Situation(**good), error))
    return Situation(**good), (*problems, *_odd_names([name for name, _ in pairs]))


def _parse(name: str, text: str) -> object:
    if name == "recipe":
        return Recipe.parse(text)
    if name == "seed":
        # int() would read "+1" and "1_0", too, which no link holds.
        return int(text) if text.isdecimal() else -1
    return float(text) if name in NUMBERS else text


def _wrong(name: str, text: str, used: Situation, error: ValueError) -> str:
    """What is wrong with a value, what may stand there, and what is used instead."""
    must = f"must {_allowed(name, text, used, error)}. {_instead(name, used)} instead."
    return f"The link's {LABELS[name]} ({name}={_short(text)}) {must}"


def _allowed(name: str, text: str, used: Situation, error: ValueError) -> str:
    if name in NUMBERS:
        limits = NUMBERS[name].metadata
        low, high = (_said(name, limits[end]) for end in ("low", "high"))
        written = f", written in {limits['unit']} without the unit" if limits["unit"] else ""
        return f"be a number from {low} to {high}{written}, as in {name}={_exactly(name, DEFAULT)}"
    if name == "seed":
        return f"be a whole number from 0 to {MOST_SEED:,}"
    if name == "as_if":
        return f"be one of {', '.join(AS_IF)}, or be left out"
    if name != "recipe":
        return f"be one of {', '.join(ROOTS if name == 'root' else GUARDS)}"
    return _allowed_recipe(text, used, error)


def _allowed_recipe(text: str, used: Situation, error: ValueError) -> str:
    try:
        recipe = Recipe.parse(text)
    except ValueError:
        if str(error).startswith("recipe "):  # it does not read like one
            return f"read like “{Recipe(used.root, used.card.num_exits // 2, 0.2, 4)}”"
        return f"be one that can be cut: its {str(error).partition('; got')[0]}"
    if recipe.root not in used.roots:
        return f"be cut from the link's root model, {used.root}, not from {recipe.root}"
    return f"be one that can be cut: its {str(error).partition('; got')[0]}"


def _instead(name: str, used: Situation) -> str:
    if name == "recipe":
        return "The network chooses"
    if name == "as_if":
        return "Its own size is taken"
    value = getattr(used, name)
    return f"{_said(name, value) if name in NUMBERS else value} is used"


def _said(name: str, value: float) -> str:
    unit = NUMBERS[name].metadata["unit"]
    prefixed = value and unit in {"Hz", "s", "B"}
    return quantity(value, unit) if prefixed else f"{value:g} {unit}".strip()


def _odd_names(names: list[str]) -> list[str]:
    """A sentence for each of a situation's names that comes again, one for all others."""
    problems = [
        f"The link must give its {LABELS[name]} ({name}) once, and gives it {count} times. The "
        f"last value is used."
        for name, count in Counter(names).items()
        if count > 1 and name in NAMES
    ]
    others = dict.fromkeys(
        name for name in names if name not in NAMES and not name.startswith(_FOREIGN)
    )
    if others:
        got = ", ".join(_unknown(name) for name in list(others)[:_SHOWN])
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        problems.append(
            f"What the explorer does not know in the link is left out: {got}{more}. A link "
            f"may hold {', '.join(NAMES)}."
        )
    return problems


def _unknown(name: str) -> str:
    meant = get_close_matches(name, NAMES, n=1, cutoff=0.7)
    return f"{_short(name)}{f' (perhaps {meant[0]})' if meant else ''}"


def _short(text: str) -> str:
    """What came, on one line: the page makes an item of each line."""
    line = " ".join(text.split())
    return line if len(line) <= _LETTERS else f"{line[:_LETTERS]}…"
