"""Panels of the parameter level (paper, section 2.2): one function, one call, each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from insitu_widgets.cards import NESTED_ROOTS, ROOTS
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import beforehand, loaded
from insitu_widgets.explorer.course import bits_figures as figures
from insitu_widgets.explorer.course import bits_live as live
from insitu_widgets.explorer.course import parameter_live as pruned
from insitu_widgets.explorer.course.parameter_figures import kept_axis
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, number, slider
from insitu_widgets.levels import parameter, pruning
from insitu_widgets.levels.mixed import LayerLoss
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.units import percent, quantity

_RETRAINED_BITS = (4, 32)
_HEALED, _NESTED = "re-trained", "all-in-one, not re-trained"


def _share(value: float) -> str:
    return percent(value, 0)


def importance_panel() -> Panel:
    """Which weights matter: magnitude, first-order Taylor, chance; and which layers."""
    return Panel(
        "Importance",
        "Measured: one-shot pruning, float32, all 797 test digits or 500 test photographs. "
        "Layer-adaptive magnitude (LAMP) and the other two magnitudes need no images. "
        "Gradients for Taylor from the 1,000 training digits, or from 200 photographs; each "
        "layer's sensitivity from 200 of either, of large roots at 10 % only.",
        {
            "root": choice("Root", beforehand.offered(), "vgg-digits"),
            "keep": slider("Weights kept", pruned.KEEPS[1:], 0.2, _share),
            "seed": number("Seed of the control", 0, 999, 0),
        },
        _importance,
        note=beforehand.not_offered(),
    )


def _importance(root: str, keep: float, seed: int) -> Iterator[Picture]:
    names = list(live.weights_of(root))
    measured = [pruned.layer_loss(root, names[0])]
    lines: dict[str, list[tuple[float, Estimate]]] = {k: [] for k in parameter.IMPORTANCES}
    keeps = [keep, *(other for other in pruned.keeps_of(root) if other != keep)]
    here = []
    for done, share in enumerate(keeps, 1):
        place = float(pruned.KEEPS.index(share))
        for tried, (kind, points) in enumerate(lines.items()):
            asked = kind if share < 1 else parameter.IMPORTANCES[0]  # all keep all
            found = pruned.pruned_accuracy(root, share, asked, seed if asked == "random" else 0)
            points.append((place, found))
            points.sort(key=lambda point: point[0])
            if share == keep:
                here.append(f"{kind} {percent(found.accuracy)}")
            yield Picture(progress=0.7 * (done - 1 + tried / len(lines)) / len(keeps))
        spec = figures.accuracy_lines(lines, "Weights kept", kept_axis(pruned.KEEPS))
        said = (
            f"{percent(keep, 0)} of the weights kept: {'; '.join(here)} "
            f"(of {live.measured_on(root)})."
        )
        spec = figures.with_mark(spec, pruned.KEEPS.index(keep))
        charts = {
            "importance": Chart("Accuracy by importance, no re-training", said, spec),
            "sensitivity": _sensitivity(measured, len(names)),
        }
        yield Picture(charts, f"<p>{said}</p>{beforehand.told(root)}", 0.7 * done / len(keeps))
    for name in names[1:]:
        measured.append(pruned.layer_loss(root, name))
        chart = _sensitivity(measured, len(names))
        yield Picture({"sensitivity": chart}, "", 0.7 + 0.3 * len(measured) / len(names))


def _sensitivity(measured: Sequence[LayerLoss], count: int) -> Chart:
    labels = [f"keep {percent(s, 0)}" for s in pruned.LAYER_KEEPS[: len(measured[0].losses)]]
    most = max(measured, key=lambda layer: layer.losses[0])
    said = (
        f"{len(measured)} of {count} layers measured. Pruned alone to "
        f"{percent(pruned.LAYER_KEEPS[0], 0)}, {most.name} ({most.weights:,} weights) moves the "
        f"answers most: {most.losses[0]:.2g} nat."
    )
    spec = figures.layer_losses(measured, count, labels)
    spec["layout"]["showlegend"] = True  # a single share has its name, too
    return Chart("Sensitivity: one layer pruned alone", said, spec)


def retraining_panel() -> Panel:
    """Re-train what was kept, now: before, after, and what needs no re-training."""
    return Panel(
        "Re-training after pruning",
        "Measured: a training now on the 1,000 training digits; accuracy of packed and unpacked "
        "sub-models on all 797 test digits; seconds on this machine. Recalibrated: the means and "
        "variances of the norms are measured anew on 200 training digits, without their labels; a "
        "ViT's layer norms keep none. Photographs take minutes to train on: what that gives was "
        'measured before ("Re-training after pruning, at the paper\'s scale").',
        {
            "root": choice("Root", live.DIGITS_ROOTS, "vgg-digits"),
            "keep": slider("Weights kept", pruned.KEEPS[1:], 0.1, _share),
            "bits": slider("Bits a weight", _RETRAINED_BITS, 32, lambda bits: f"{bits:g} bit"),
            "steps": slider("Steps", (5, 20, 40, 80, 160), 40, lambda n: f"{n:g} batches"),
            "seed": number("Seed", 0, 999, 0),
        },
        _retraining,
    )


def _retraining(root: str, *, keep: float, bits: int, steps: int, seed: int) -> Iterator[Picture]:
    recipe = Recipe(root, keep=keep, bits=bits)
    before, size = pruned.packed(recipe)
    rows = {"pruned in one shot": before}
    lifted = ""
    if ROOTS[root].has_batch_norms:
        rows["recalibrated"], seconds = pruned.recalibrated(recipe)
        lifted = (
            f"{1e3 * seconds:.0f} ms of recalibration alone give "
            f"{percent(rows['recalibrated'].accuracy)}, in as many bytes. "
        )
    yield Picture({"after": _bars(rows)}, progress=0.02)
    images, losses = loaded.images_of(root, "train"), list[float]()
    plan, start = pruning.Healing(steps), time.perf_counter()
    for step in pruning.heal(loaded.root_of(root), recipe, images, plan, seed=seed):
        losses.append(step.loss)
        if step.number % 4 == 0 or step.number == steps:
            spent = time.perf_counter() - start
            said = f"Step {step.number} of {steps}, loss {step.loss:.2f} nat, {spent:.1f} s."
            spec = figures.losses({"re-training": losses}, steps)
            loss = Chart("Loss of the re-training", said, spec)
            yield Picture({"loss": loss}, f"<p>{said}</p>", 0.9 * step.number / steps)
    rows[_HEALED] = live.at_point(step.submodel().module, root)
    nested = Recipe(pruned.nested_name(root), keep=keep, bits=bits)
    rows[_NESTED], nested_size = pruned.packed(nested)
    chart = _bars(rows)
    healed, ready = (percent(rows[name].accuracy) for name in (_HEALED, _NESTED))
    words = (
        f"{spent:.1f} s of re-training lift {recipe} from {percent(before.accuracy)} to {healed}, "
        f"in a packet of {quantity(size / 8, 'B')}. {lifted}The all-in-one root gives {ready} at "
        f"once, in {quantity(nested_size / 8, 'B')}."
    )
    yield Picture({"after": chart}, f"<p>{words}</p>")


def _bars(rows: Mapping[str, Estimate]) -> Chart:
    said = "; ".join(f"{name} {percent(e.accuracy)}" for name, e in rows.items())
    points = {name: [(float(place), e)] for place, (name, e) in enumerate(rows.items())}
    ticks = [(float(place), name) for place, name in enumerate(rows)]
    spec = figures.accuracy_lines(points, "Sub-model", ticks)
    spec["layout"]["xaxis"]["range"] = [-0.5, max(len(rows), 3) - 0.5]
    return Chart("Before and after", f"{said}.", spec)


def nested_panel() -> Panel:
    """One set of weights trained for all sizes, against a plain root pruned in one shot."""
    return Panel(
        "All-in-one: every sub-model in one set of weights",
        "Measured: packed and unpacked sub-models, all 797 test digits or 500 test photographs. No "
        "sub-model was re-trained. Recalibrated: the norms' means and variances are measured anew "
        "on 200 training digits or 1,000 photographs, without their labels; a ViT's layer norms "
        "keep none.",
        {
            "root": choice("Root", beforehand.offered(), "vgg-digits"),
            "exit": slider(
                "Exit",
                pruned.CUT_EXITS,
                pruned.CUT_EXITS[-1],
                lambda e: f"{e:g}" if e else "the last",
            ),
            "bits": slider("Bits a weight", pruned.CUT_BITS, 4, lambda bits: f"{bits:g} bit"),
        },
        _nested,
        note=beforehand.not_offered(),
    )


def _nested(root: str, exit: int, bits: int) -> Iterator[Picture]:  # noqa: A002
    last, nested = exit or None, pruned.nested_name(root)
    ways: dict[str, Callable[[float], tuple[Estimate, int]]] = {
        "one shot": lambda keep: pruned.packed(Recipe(root, last, keep, bits))
    }
    if nested in NESTED_ROOTS:
        ways["all-in-one"] = lambda keep: pruned.packed(Recipe(nested, last, keep, bits))
    if ROOTS[root].has_batch_norms:
        ways["one shot, recalibrated"] = lambda keep: _recalibrated(Recipe(root, last, keep, bits))
    keeps = pruned.keeps_of(root)
    told = f"Of {live.measured_on(root)}"
    if nested not in NESTED_ROOTS:
        told += f", without all-in-one weights, for none of {root} are shipped"
    lines: dict[str, list[tuple[float, Estimate]]] = {name: [] for name in ways}
    sizes: dict[str, list[tuple[float, Estimate]]] = {name: [] for name in ways}
    said = []
    for place, keep in enumerate(keeps):
        for tried, (name, way) in enumerate(ways.items(), 1):
            found, num_bits = way(keep)
            lines[name].append((float(place), found))
            sizes[name].insert(0, (num_bits / 8e3, found))
            yield Picture(progress=(place + tried / len(ways)) / len(keeps))
        shares = [f"{name} {percent(line[-1][1].accuracy)}" for name, line in lines.items()]
        said.append(f"{percent(keep, 0)} kept: {', '.join(shares)}")
        words = f"{told}. {'; '.join(said)}."
        by_keep = figures.accuracy_lines(lines, "Weights kept", kept_axis(keeps))
        by_size = figures.accuracy_lines(sizes, "Packed size (kB)")
        charts = {
            "keep": Chart("Accuracy against what is kept", words, by_keep),
            "size": Chart("Accuracy against packed size", words, by_size),
        }
        yield Picture(charts, f"<p>{words}</p>{beforehand.told(root)}", (place + 1) / len(keeps))


def _recalibrated(recipe: Recipe) -> tuple[Estimate, int]:
    """Its accuracy; its packet has as many bits as before."""
    return pruned.recalibrated_accuracy(recipe), pruned.packed(recipe)[1]
