"""What was measured before of roots of the paper's scale: their envelope, and re-trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from math import log10

from insitu_widgets.cards import NESTED_SUFFIX, family_of
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import bits_figures as figures
from insitu_widgets.explorer.course.budget_lines import (
    line,
    over_bytes,
    within,
)
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, slider
from insitu_widgets.explorer.words import html_table
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network import envelope, hardened, healed, judged, paired
from insitu_widgets.network.candidates import (
    BIT_ERROR_RATES,
    CODE_RATE,
    SUFFIX,
    Job,
    Row,
    load_candidates,
    plan,
    whole_bits,
    without_errors,
)
from insitu_widgets.network.catalogue import condition, shipped
from insitu_widgets.network.envelope import Candidate
from insitu_widgets.units import error_rate, percent, quantity

#: Budgets, bytes.
BUDGETS = tuple(round(16_000 * 2 ** (step / 2)) for step in range(24))
_AGAIN, _NESTED = "recalibrated, not re-trained", "all-in-one, not re-trained"


def paper_scale_panel() -> Panel:
    """For every budget the best sub-model of a large root, with and without bit errors."""
    roots = shipped(SUFFIX)
    return Panel(
        "The best sub-model for every budget, at the paper's scale",
        "Measured before, on test images of CIFAR-100 (how many: under the table): packed, sent "
        "and unpacked sub-models; chosen on one half of the images, measured on the other, both "
        "ways. Nothing is re-trained; recalibrated ones had the means and variances of their norms "
        "measured anew on training images, before packing. "
        f"Assumed: a protected bit takes {1 / CODE_RATE:g} bits.",
        {
            "root": choice("Root", roots, roots[0]),
            "ber": slider("Bit-error rate", BIT_ERROR_RATES, 0.0, _rate),
            "budget": slider("Budget", BUDGETS, BUDGETS[12], lambda size: quantity(size, "B")),
        },
        _steps,
    )


def _rate(rate: float) -> str:
    return error_rate(rate) if rate else "no errors"


def _steps(root: str, ber: float, budget: float) -> Iterator[Picture]:
    rows = load_candidates(root)
    pool = clean(rows) if ber == 0 else received(rows, ber)
    lines = {name: line(found, BUDGETS) for name, found in pool.items()}
    words, table = within(pool, budget)
    spec = over_bytes(lines, "Received bytes, protection counted (logarithmic)", BUDGETS)
    chart = Chart(
        f"Accuracy for every received byte, {_rate(ber)}",
        words,
        figures.with_mark(spec, log10(budget)),
    )
    told = (
        f"<p>{condition(root, SUFFIX).capitalize()}; half for each choice; intervals are theirs "
        f"(95 %). {_measured(root)}</p>"
    )
    yield Picture({"envelope": chart}, table + told + _small_shares(root))


def _measured(root: str) -> str:
    """How much of what is to be measured has been: a table may be unfinished."""
    rows = load_candidates(root)
    planned = sum(1 for name in family_of(root) for _ in plan(name))
    return f"Measured: {len(rows)} of {planned} candidates."


def clean(rows: Sequence[Row]) -> dict[str, list[Candidate]]:
    """What can be had without errors, by the envelope's families."""
    named: dict[str, list[Candidate]] = {family: [] for family in envelope.FAMILIES}
    for row in rows:
        if row.job.channel.bit_error_rate == 0:
            recipe = row.job.recipe
            if recipe.root.endswith(NESTED_SUFFIX):
                named[envelope.ALL_IN_ONE].append(row.candidate)
                continue
            if row.job.recipe.recalibrated:
                named[envelope.RECALIBRATED].append(row.candidate)
                continue
            whole = Recipe(recipe.root)
            if recipe in (Recipe(recipe.root, recipe.exit), whole):
                named[envelope.ALONE[0]].append(row.candidate)
            if recipe in (Recipe(recipe.root, keep=recipe.keep), whole):
                named[envelope.ALONE[1]].append(row.candidate)
            if (recipe.exit, recipe.keep) == (None, 1.0):
                named[envelope.ALONE[2]].append(row.candidate)
            named[envelope.TOGETHER].append(row.candidate)
    return {name: found for name, found in named.items() if found}


def received(rows: Sequence[Row], bit_error_rate: float) -> dict[str, list[Candidate]]:
    """What arrives over a channel with errors, by representation and protection.

    All that is recalibrated or cut from all-in-one weights is of one kind, whatever protects it.
    """
    named: dict[str, list[Candidate]] = {}
    for row in rows:
        channel = row.job.channel
        if channel.bit_error_rate == bit_error_rate:
            if row.job.recipe.root.endswith(NESTED_SUFFIX):
                name = "all-in-one, any protection"
            elif row.job.recipe.recalibrated:
                name = "recalibrated, any protection"
            elif channel.guard != "none":
                name = "half precision, guard"
            elif channel.protected:
                name = f"codes, first {channel.protected} protected"
            else:
                name = "codes"
            named.setdefault(name, []).append(_told(row))
    return named


def _told(row: Row) -> Candidate:
    """A candidate whose words tell also of which weights it is, and what protects it."""
    what, channel = row.candidate.what, row.job.channel
    if row.job.recipe.root.endswith(NESTED_SUFFIX):
        what += " · all-in-one"
    if channel.guard != "none":
        what += " · guard"
    if channel.protected:
        what += f" · first {channel.protected} protected"
    return replace(row.candidate, what=what)


@lru_cache(maxsize=4)
def _small_shares(root: str) -> str:
    """What is left within small shares of the bits, where it was judged."""
    if root not in shipped(judged.SUFFIX):
        return ""
    rows, size = judged.load_judged(root), whole_bits(load_candidates(root), root)
    draws = max(len(row.job.channel.seeds) for row in rows)
    lines = [
        (
            percent(row.share),
            _rate(row.job.channel.bit_error_rate),
            _chosen(row.job),
            percent(row.accuracy),
            "{:.1f} ({:.1f} to {:.1f})".format(*(100 * loss for loss in row.loss)),
        )
        for row in rows
    ]
    heading = ("of its bits", "bit-error rate", "best candidate", "accuracy", "points lost (95 %)")
    return (
        f"<p>Small shares of the root's bits ({quantity(size / 8, 'B')} in float32). "
        f"{condition(root, judged.SUFFIX).capitalize()}; {draws} draws of the errors, none of "
        f"which took part in the choice. The root answers {percent(rows[0].right / rows[0].seen)} "
        f"of these images rightly; points are lost against it.</p>"
    ) + html_table(heading, lines)


def _chosen(job: Job) -> str:
    """A choice in words, without the root's name."""
    words = [job.recipe.cut]
    if job.channel.guard != "none":
        words.append("guard")
    if job.channel.protected:
        words.append(f"first {job.channel.protected} protected")
    return " · ".join(words)


def healed_panel() -> Panel:
    """What re-training after pruning gives a large root, and what it takes."""
    roots = shipped(healed.SUFFIX)
    return Panel(
        "Re-training after pruning, at the paper's scale",
        "Measured before, on test images of CIFAR-100: accuracy of packed and unpacked sub-models, "
        "pruned or rounded in one shot, and after a short re-training with their masks and codes; "
        "recalibrated: with the means and variances of the norms measured anew, without labels.",
        {"root": choice("Root", roots, roots[0])},
        _healed,
    )


def _healed(root: str) -> Iterator[Picture]:
    rows = healed.load_healed(root)
    names = [f"{percent(row.recipe.keep)}, {row.recipe.bits} bit" for row in rows]
    lines = {
        "pruned or rounded in one shot": [(float(n), row.before) for n, row in enumerate(rows)],
        "re-trained": [(float(n), row.after) for n, row in enumerate(rows)],
    }
    cuts = [row.recipe for row in rows]
    others = {
        _AGAIN: _known(root, [replace(recipe, recalibrated=True) for recipe in cuts]),
        _NESTED: _known(root, [replace(recipe, root=root + NESTED_SUFFIX) for recipe in cuts]),
    }
    lines |= {name: found for name, found in others.items() if found}
    spec = figures.accuracy_lines(
        lines, "Weights kept, bits for each", [(float(n), name) for n, name in enumerate(names)]
    )
    spec["layout"]["xaxis"]["range"] = [-0.5, len(rows) - 0.5]
    for trace in spec["data"]:
        trace["mode"] = "markers"
    least, most = min(row.seconds for row in rows), max(row.seconds for row in rows)
    said = "; ".join(
        f"{name}: {percent(row.before.accuracy)} to {percent(row.after.accuracy)}"
        for name, row in zip(names, rows, strict=True)
    )
    for name, found in others.items():
        if found:
            told = (f"{names[int(place)]} {percent(e.accuracy)}" for place, e in found)
            said += f". {name}: {', '.join(told)}"
    words = (
        f"<p>{rows[0].steps} batches of {rows[0].batch} training images each, {least:.0f} to "
        f"{most:.0f} s where it was measured; {condition(root, healed.SUFFIX)}. That is what a "
        "network would have to spend on every recipe that is asked for, and what an all-in-one "
        "root saves.</p>"
    )
    chart = Chart("Before and after re-training", f"{said}.", spec)
    yield Picture({"healed": chart}, words + _image_by_image(root))


def _image_by_image(root: str) -> str:
    """What all-in-one gains on one-shot pruning (HTML), where it was measured."""
    if root not in shipped(paired.SUFFIX):
        return ""
    lines = []
    for row in paired.load_paired(root):
        middle, low, high = (100 * share for share in row.difference)
        lines.append(
            (
                f"{percent(row.recipe.keep, 0)}, {row.recipe.bits} bit",
                percent(row.one_shot.accuracy),
                percent(row.all_in_one.accuracy),
                f"{middle:+.1f} ({low:+.1f} to {high:+.1f})",
            )
        )
    heading = ("weights kept", "one shot", "all-in-one", "points gained (95 %)")
    told = condition(root, paired.SUFFIX).capitalize()
    return (
        "<p>All-in-one against one-shot pruning, image by image, nothing re-trained or "
        f"recalibrated. {told}.</p>{html_table(heading, lines)}"
    )


def hardened_panel() -> Panel:
    """What training against bit errors buys a large root, and what it takes."""
    roots = shipped(hardened.SUFFIX)
    return Panel(
        "Training against bit errors, at the paper's scale",
        "Measured before, on test images of CIFAR-100: accuracy of what was received of "
        f"{hardened.BITS}-bit packets without any guard, as it was, after a short re-training with "
        "its codes, and after one in which "
        f"{percent(hardened.TRAINING_BIT_ERROR_RATE)} of their bits were flipped and no weight "
        f"grew beyond {hardened.CLIP:g} times the root mean square of its channel's.",
        {"root": choice("Root", roots, roots[0])},
        _hardened,
    )


def _hardened(root: str) -> Iterator[Picture]:
    rates, rows = hardened.BIT_ERROR_RATES, hardened.load_hardened(root)
    names = [error_rate(rate) for rate in rates]
    draws = {
        network: [
            [row for row in rows if (row.network, row.bit_error_rate) == (network, rate)]
            for rate in rates
        ]
        for network in hardened.WAYS
    }
    lines = {
        network: [(float(place), _mean(sent)) for place, sent in enumerate(by_rate)]
        for network, by_rate in draws.items()
    }
    spec = figures.accuracy_lines(
        lines, "Bit-error rate of the codes", [(float(n), name) for n, name in enumerate(names)]
    )
    said = figures.said(lines, rates)
    table = html_table(
        ["Bit-error rate", *draws],
        [
            [name, *(_with_spread(by_rate[place]) for by_rate in draws.values())]
            for place, name in enumerate(names)
        ],
    )
    took = max(row.seconds for row in rows)
    (plan,) = {row.plan for row in rows if row.network == hardened.FLIPPED}
    assert plan is not None
    words = (
        f"{table}<p>Means of {len(draws[hardened.FLIPPED][-1])} draws of bit errors, in brackets "
        "the lowest and the highest; the bars are the images' intervals. "
        f"{plan.steps} batches of {plan.batch} training images took up to {took:.0f} s where it "
        f"was measured; {condition(root, hardened.SUFFIX)}.</p>"
    )
    yield Picture({"hardened": Chart("Accuracy against bit errors", f"{said}.", spec)}, words)


def _mean(draws: Sequence[hardened.Sent]) -> Estimate:
    return Estimate(round(sum(row.right for row in draws) / len(draws)), draws[0].seen)


def _with_spread(draws: Sequence[hardened.Sent]) -> str:
    shares = [row.right / row.seen for row in draws]
    mean = percent(_mean(draws).accuracy)
    return f"{mean} ({percent(min(shares))} to {percent(max(shares))})" if shares[1:] else mean


def _known(root: str, cuts: Sequence[Recipe]) -> list[tuple[float, Estimate]]:
    """The place and the accuracy of those cuts that are among a root's candidates."""
    known = without_errors(root) if root in shipped(SUFFIX) else {}
    return [(float(place), known[cut]) for place, cut in enumerate(cuts) if cut in known]


__all__ = ["hardened_panel", "healed_panel", "paper_scale_panel"]
