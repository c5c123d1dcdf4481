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
_SENSITIVITY, _ACCURACY = (
    "Sensitivity: one layer quantised alone",
    "Accuracy: mixed against uniform",
)
#: How much of the work is done when there is a plan: where sensitivity is measured, and elsewhere.
_MEASURED, _SHIPPED = 0.65, 0.05


def mixed_panel() -> Panel:
    """Bits for each layer under a budget, against the same bits for all."""
    return Panel(
        "Mixed precision",
        "Measured: each layer's sensitivity on 200 training digits (the roots have seen them), "
        "accuracy on all 797 test digits; of photographs sensitivity was measured before, on 1,000 "
        "training images, accuracy now, on 500 test images. The allocation is computed from the "
        "sensitivity.",
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
        empty = _accuracy({"mixed": [], "uniform": []}, reached, missing, low=0.0)
        yield Picture({"accuracy": empty}, f"<p>{words}. {missing}</p>")
        return
    here = live.mixed_accuracy(root, tuple(plan.bits.values()))
    words = f"{words}; {percent(here.accuracy)} of {live.measured_on(root)}."
    lines: dict[str, list[tuple[float, Estimate]]] = {"mixed": [(reached, here)], "uniform": []}
    for done, budget in enumerate(BUDGETS, 1):
        if budget == int(budget):
            alike = live.quantised_accuracy(root, PER_CHANNEL, int(budget))
            lines["uniform"].append((budget, alike))
        other = plan_of(measured, budget)
        place = other.num_bits / sum(weights.values())
        point = (place, live.mixed_accuracy(root, tuple(other.bits.values())))
        if point not in lines["mixed"]:
            lines["mixed"] = sorted([*lines["mixed"], point], key=lambda p: p[0])
        alike_text = ", ".join(f"{b:g} bit {percent(e.accuracy)}" for b, e in lines["uniform"])
        low = 70.0 if live.is_quick(root) else 0.0
        chart = _accuracy(lines, reached, f"{words} Uniform: {alike_text}.", low)
        share = planned + (1 - planned) * done / len(BUDGETS)
        yield Picture({"accuracy": chart}, f"<p>{words}</p>{beforehand.told(root)}", share)


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


def _accuracy(
    lines: dict[str, list[tuple[float, Estimate]]], reached: float, said: str, low: float
) -> Chart:
    spec = figures.accuracy_lines(lines, "Code bits for each weight, on average", low=low)
    return Chart(_ACCURACY, said, figures.with_mark(spec, reached))


__all__ = ["mixed_panel"]
