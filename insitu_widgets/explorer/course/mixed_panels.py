"""The panel of mixed precision (paper, section 2.3, its [11]): bits for each layer under a budget.

A layer's sensitivity takes passes over images: digits are asked while one watches, of large roots
it was measured before and is shipped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from insitu_widgets.cards import ROOTS
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import beforehand
from insitu_widgets.explorer.course import bits_figures as figures
from insitu_widgets.explorer.course import bits_live as live
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, slider
from insitu_widgets.levels.allocation import Allocation, LayerLoss, allocate, shipped_sensitivity
from insitu_widgets.levels.quantisers import PER_CHANNEL
from insitu_widgets.units import percent

#: Bits a weight, on average.
BUDGETS = tuple(quarters / 4 for quarters in range(8, 17))
#: Those of them that all layers can have alike.
UNIFORM = tuple(int(budget) for budget in BUDGETS if budget == int(budget))
_SENSITIVITY = "Sensitivity: one layer quantised alone"
#: What mixed and uniform widths are compared by: a figure's title, and its axis.
_VIEWS = {
    "accuracy": ("Accuracy: mixed against uniform", "Accuracy (%)"),
    "agreement": ("Agreement: answered as the root in float32 answers", "Same answers (%)"),
}
#: How much of the work is done when there is a plan: where sensitivity is measured, and elsewhere.
_MEASURED, _SHIPPED = 0.65, 0.05

#: Name -> points (bits a weight, share of the images).
Lines = dict[str, list[tuple[float, Estimate]]]


def mixed_panel() -> Panel:
    """Bits for each layer under a budget, against the same bits for all."""
    return Panel(
        "Mixed precision",
        "Measured: each layer's sensitivity on 200 training digits (the roots have seen them), "
        "accuracy on all 797 test digits; of photographs sensitivity was measured before, on 1,000 "
        "training images, accuracy now, on 500 test images. The allocation is computed from the "
        "sensitivity, so what it saves are the root's answers, right or wrong: see the agreement.",
        {
            "root": choice("Root", list(ROOTS), "vgg-digits"),
            "average": slider("Budget, on average", BUDGETS, 2.0, lambda b: f"{b:.2f} bit"),
        },
        _mixed,
    )


def _mixed(root: str, average: float) -> Iterator[Picture]:
    measured: list[LayerLoss] = []
    planned = _MEASURED if live.is_quick(root) else _SHIPPED
    if live.is_quick(root):
        names = list(live.weights_of(root))
        for name in names:
            measured.append(live.layer_loss(root, name))
            said = f"Sensitivity of layer {len(measured)} of {len(names)} measured"
            share = planned * len(measured) / len(names)
            yield _sensitivity(measured, len(names), said, share)
    else:
        measured = list(shipped_sensitivity(root)[ROOTS[root].num_exits])
        said = f"Sensitivity of {len(measured)} layers, measured before"
        yield _sensitivity(measured, len(measured), said, planned)
    start = time.perf_counter()
    plan = plan_of(measured, average)
    took_ms = 1e3 * (time.perf_counter() - start)
    weights = {layer.name: layer.weights for layer in measured}
    reached = plan.num_bits / sum(weights.values())
    words = (
        f"Plan in {took_ms:.1f} ms: {reached:.2f} bit a weight of {average:.2f}, "
        f"{min(plan.bits.values())} to {max(plan.bits.values())} bit by layer"
    )
    bars = Chart(
        "Bits for each layer",
        f"{words}: " + ", ".join(f"{name} {bits}" for name, bits in plan.bits.items()) + ".",
        figures.bits_by_layer(plan.bits, weights),
    )
    yield Picture({"layers": bars}, f"<p>{words}.</p>", planned)
    missing = beforehand.lacking(root)
    if missing:
        empty = {view: _chart(view, _no_points(), reached, missing, 0.0) for view in _VIEWS}
        yield Picture(empty, f"<p>{words}. {missing}</p>")
        return
    yield from _compared(root, measured, average, words, planned)


def _compared(
    root: str, measured: Sequence[LayerLoss], average: float, words: str, planned: float
) -> Iterator[Picture]:
    """Every budget's plan beside the same bits for all, the budget that was asked for first."""
    weights = sum(layer.weights for layer in measured)
    lines, reached = {view: _no_points() for view in _VIEWS}, 0.0
    for done, budget in enumerate(sorted(BUDGETS, key=lambda b: b != average), 1):
        plan = plan_of(measured, budget)
        point, found = plan.num_bits / weights, _of_plan(root, plan)
        if budget == average:
            reached, same = point, found["agreement"]
            words += f"; {percent(found['accuracy'].accuracy)} of {live.measured_on(root)}, "
            words += f"{same.correct} of {same.seen} answered as the root does."
        alike = _of_width(root, int(budget), len(measured)) if budget in UNIFORM else None
        charts = {}
        for view, line in lines.items():
            line["mixed"].append((point, found[view]))
            if alike:
                line["uniform"].append((budget, alike[view]))
            ordered = {name: sorted(line[name], key=lambda p: p[0]) for name in line}
            said = ", ".join(f"{b:g} bit {percent(e.accuracy)}" for b, e in ordered["uniform"])
            said = f"{words} Uniform: {said}." if said else words
            low = 70.0 if live.is_quick(root) else 0.0
            charts[view] = _chart(view, ordered, reached, said, low)
        share = planned + (1 - planned) * done / len(BUDGETS)
        yield Picture(charts, f"<p>{words}</p>{beforehand.told(root)}", share)


def _no_points() -> Lines:
    return {"mixed": [], "uniform": []}


def _of_plan(root: str, plan: Allocation) -> dict[str, Estimate]:
    widths = tuple(plan.bits.values())
    return {
        "accuracy": live.mixed_accuracy(root, widths),
        "agreement": live.mixed_agreement(root, widths),
    }


def _of_width(root: str, bits: int, layers: int) -> dict[str, Estimate]:
    return {
        "accuracy": live.quantised_accuracy(root, PER_CHANNEL, bits),
        "agreement": live.mixed_agreement(root, (bits,) * layers),
    }


def plan_of(measured: Sequence[LayerLoss], average: float) -> Allocation:
    """Bits for each layer under a budget of so many for each weight."""
    return allocate(measured, int(average * sum(layer.weights for layer in measured)))


def _sensitivity(measured: Sequence[LayerLoss], count: int, said: str, progress: float) -> Picture:
    most = max(measured, key=lambda layer: layer.losses[1])
    chart = Chart(
        _SENSITIVITY,
        f"{said}. At 2 bit {most.name} moves the answers most: {most.losses[1]:.2g} nat.",
        figures.layer_losses(measured, count),
    )
    return Picture({"sensitivity": chart}, f"<p>{said}.</p>", progress)


def _chart(view: str, lines: Lines, reached: float, said: str, low: float) -> Chart:
    title, axis = _VIEWS[view]
    across = "Code bits for each weight, on average"
    spec = figures.accuracy_lines(lines, across, low=low, y_title=axis)
    return Chart(title, said, figures.with_mark(spec, reached))


__all__ = ["mixed_panel"]
