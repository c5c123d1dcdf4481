"""Panels of all three levels together (paper, Fig. 1): the best for every budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import log10

from insitu_widgets.explorer.course import bits_figures as figures
from insitu_widgets.explorer.course import bits_live as live
from insitu_widgets.explorer.course import loaded
from insitu_widgets.explorer.course.budget_lines import line, over_bytes, within
from insitu_widgets.explorer.course.parameter_live import nested_name
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, slider
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.levels.retrain import Hardening, TrainingStep
from insitu_widgets.network import envelope
from insitu_widgets.network.envelope import (
    ALONE,
    FAMILIES,
    TOGETHER,
    Candidate,
    Channel,
)
from insitu_widgets.roots import Root
from insitu_widgets.units import error_rate, percent, quantity

#: Budgets, bytes.
BUDGETS = tuple(round(1000 * 2 ** (step / 2)) for step in range(22))
_SHOWN = 12
_EXITS, _KEEPS, _BITS = (2, 3, 4, 6), (1.0, 0.5, 0.2), (2, 4, 8)
_SEEDS = (0, 1)
#: Training against bit errors: at the link's bit-error rate, weights limited to so many root mean
#: squares, at the width that is sent or at this one for wider codes.
_TRAINED, _CLIP, _WIDEST_TRAINED = "trained", 1.5, 4
#: A batch takes about as long as this many measured candidates; every so many batches are shown.
_A_BATCH, _BATCHES_SHOWN = 0.25, 4


@lru_cache(maxsize=8192)
def _candidate(recipe: Recipe, channel: Channel, plan: Hardening | None = None) -> Candidate:
    root = loaded.root_of(recipe.root)
    if plan:
        (root,) = _trained(recipe.root, recipe.exit or root.num_exits, plan)
    return envelope.measure(root, recipe, loaded.images_of(recipe.root), channel)


@lru_cache(maxsize=16)
def _trained(root: str, exit: int, plan: Hardening) -> list[Root]:  # noqa: A002, ARG001
    """Where a root trained up to an exit is kept: empty until its training has ended."""
    return []


def _training(root: str, exit: int, plan: Hardening) -> Iterator[TrainingStep]:  # noqa: A002
    """The steps of a training that has not ended before."""
    kept = _trained(root, exit, plan)
    if kept:
        return
    source, step = loaded.root_of(root), None
    for step in envelope.hardened(source, exit, loaded.images_of(root, "train"), plan):
        yield step
    if step:
        kept[:] = [step.as_root(source)]


def envelope_panel() -> Panel:
    """For every budget the best of all levels together, beside the best of each alone."""
    return Panel(
        "The best sub-model for every budget",
        "Measured: packed and unpacked sub-models; chosen on one half of the 797 test digits, "
        "measured on the other, both ways. Sizes are whole packets. Bits may be mixed: a width for "
        "each layer, from its sensitivity, measured before on training digits. Recalibrated: the "
        "norms' means and variances are measured anew on 200 training digits, before packing.",
        {
            "root": choice("Root", live.DIGITS_ROOTS, "vgg-digits"),
            "budget": slider("Budget", BUDGETS[2:], 8000, lambda size: quantity(size, "B")),
        },
        _envelope,
    )


def _envelope(root: str, budget: int) -> Iterator[Picture]:
    exits = loaded.root_of(root).num_exits
    wanted = {family: envelope.recipes(root, family, exits) for family in FAMILIES}
    pool: dict[str, list[Candidate]] = {family: [] for family in FAMILIES}
    work = sum(map(len, wanted.values()))
    done = 0
    for family, recipes in wanted.items():
        for recipe in recipes:
            pool[family].append(_candidate(recipe, Channel()))
            done += 1
            if done % _SHOWN == 0:
                yield _drawn(pool, budget, done / work)
        if family == TOGETHER:
            for alone in ALONE:
                pool[family] += pool[alone]
    yield _drawn(pool, budget, 1.0)


def _drawn(pool: Mapping[str, Sequence[Candidate]], budget: int, progress: float) -> Picture:
    lines = {family: line(found, BUDGETS) for family, found in pool.items() if found}
    spec = over_bytes(lines, "Budget: received bytes (logarithmic)", BUDGETS)
    words, table = within(pool, budget)
    chart = Chart("Accuracy for every budget", words, figures.with_mark(spec, log10(budget)))
    return Picture({"envelope": chart}, f"<p>{words}</p>{table}", progress)


def protection_panel() -> Panel:
    """With bit errors: which representation gives the most accuracy for each received bit."""
    return Panel(
        "The best for every budget, with bit errors",
        "Measured: real flips (2 draws), chosen on one half of the 797 test digits, measured on "
        "the other, both ways; trainings now, on the 1,000 training digits (seed 0). Assumed: a "
        "protected bit takes 1 ÷ code rate bits.",
        {
            "root": choice("Root", live.DIGITS_ROOTS, "vgg-digits"),
            "ber": slider("Bit-error rate", (1e-3, 1e-2), 1e-2, error_rate),
            "protected": slider("Protected bits a code", (1, 2), 1, lambda m: f"first {m:g}"),
            "code_rate": slider(
                "Reliable code rate", (0.25, 1 / 3, 0.5, 0.75), 0.5, lambda r: f"{r:.2f}"
            ),
            "steps": slider("Training", (5, 20, 40, 80, 160), 40, lambda n: f"{n:g} batches"),
        },
        _protection,
    )


def _protection(
    root: str, *, ber: float, protected: int, code_rate: float, steps: int
) -> Iterator[Picture]:
    bare = Channel(ber, seeds=_SEEDS)
    safe = Channel(ber, protected=protected, code_rate=code_rate, seeds=_SEEDS)
    guarded = Channel(ber, "zero", seeds=_SEEDS)
    named = f"first {protected} protected"
    plans: dict[str, tuple[str, tuple[int, ...], Channel]] = {
        "half precision": (root, (16,), bare),
        "half precision, guard": (root, (16,), guarded),
        "codes": (root, _BITS, bare),
        f"codes, {named}": (root, _BITS, safe),
        "all-in-one codes": (nested_name(root), _BITS, bare),
        f"all-in-one codes, {named}": (nested_name(root), _BITS, safe),
    }
    trained = {f"codes, {_TRAINED}": bare, f"codes, {_TRAINED}, {named}": safe}
    pool: dict[str, list[Candidate]] = {}
    grids = {name: list(product(_EXITS, _KEEPS, bits)) for name, (_, bits, _) in plans.items()}
    trainings = [
        (exit_, Hardening(width, steps, ber, _CLIP))
        for exit_ in _EXITS
        for width in sorted({min(bits, _WIDEST_TRAINED) for bits in _BITS})
    ]
    cuts = len(trained) * len(_EXITS) * len(_KEEPS) * len(_BITS)
    work = sum(map(len, grids.values())) + cuts + _A_BATCH * steps * len(trainings)
    done = 0.0
    for name, (source, _, channel) in plans.items():
        pool[name] = []
        for cut in grids[name]:
            pool[name].append(_candidate(Recipe(source, *cut), channel))
            done += 1
            if done % _SHOWN == 0 or len(pool[name]) == len(grids[name]):
                yield _compared(pool, ber, done / work)
    for place, (exit_, plan) in enumerate(trainings):
        for step in _training(root, exit_, plan):
            if step.number % _BATCHES_SHOWN == 0:
                so_far = done + _A_BATCH * step.number
                told = (
                    f"Training {place + 1} of {len(trainings)}, exit {exit_} at {plan.bits} bit: "
                    f"batch {step.number} of {steps}, loss {step.loss:.2f} nat."
                )
                yield _compared(pool, ber, so_far / work, told)
        done += _A_BATCH * steps
        widths = [bits for bits in _BITS if min(bits, _WIDEST_TRAINED) == plan.bits]
        for name, channel in trained.items():
            for keep, bits in product(_KEEPS, widths):
                recipe = Recipe(root, exit_, keep, bits)
                pool.setdefault(name, []).append(_candidate(recipe, channel, plan))
                done += 1
        yield _compared(pool, ber, done / work)


def _compared(
    pool: Mapping[str, Sequence[Candidate]], ber: float, progress: float, told: str = ""
) -> Picture:
    lines = {name: line(found, BUDGETS) for name, found in pool.items() if found}
    spec = over_bytes(lines, "Received bytes, protection counted (logarithmic)", BUDGETS)
    said = "; ".join(f"{name} {_enough(line)}" for name, line in lines.items())
    words = f"Bit-error rate {error_rate(ber)}. Least that gives 95 %: {said}."
    chart = Chart("Accuracy for every received byte", words, spec)
    return Picture({"errors": chart}, f"<p>{words} {told}</p>", progress)


def _enough(line: figures.Line) -> str:
    """The smallest budget whose best reaches 95 %, or how far it comes."""
    for place, found in line:
        if found.accuracy >= 0.95:
            return quantity(10**place, "B")
    return f"never (at most {percent(max(e.accuracy for _, e in line))})"


__all__ = ["BUDGETS", "envelope_panel", "protection_panel"]
