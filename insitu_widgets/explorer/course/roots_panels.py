"""Panel of the root models (paper, section 2): what each exit costs, and what it achieves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer.figures import lay_out, log_axis, series, titled, whiskers
from insitu_widgets.explorer.live import left_out, measurable
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice
from insitu_widgets.explorer.words import html_table, with_interval
from insitu_widgets.units import percent, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from insitu_widgets.estimate import Estimate
    from insitu_widgets.levels.split import Costs

#: Images between two pictures.
STEP = 200


def roots_panel() -> Panel:
    """A root's exits: accuracy, parameters and operations, block by block."""
    return Panel(
        "Root models: every block has an exit",
        "Measured now: accuracy of all exits, from one pass over the test images. Counted: "
        "parameters, values and (by PyTorch) operations.",
        {
            "network": choice("Network", measurable(), "resnet-digits"),
            "axis": choice("Accuracy against", ["parameters", "operations"]),
        },
        _steps,
        note=left_out(),
    )


def _steps(network: str, axis: str) -> Iterator[Picture]:
    from torch import arange  # noqa: PLC0415

    from insitu_widgets.estimate import Estimate  # noqa: PLC0415
    from insitu_widgets.explorer.course import depth_live as live  # noqa: PLC0415
    from insitu_widgets.explorer.course import loaded  # noqa: PLC0415
    from insitu_widgets.levels.confidence import answer  # noqa: PLC0415

    root, images, costs = loaded.root_of(network), loaded.images_of(network), live.costs_of(network)
    card = ROOTS[network]
    flops = [_alone(costs, exit_) for exit_ in range(1, card.num_exits + 1)]
    size, unit = (card.exit_parameters, "") if axis == "parameters" else (flops, "FLOP")
    right, seen = [0] * card.num_exits, 0
    for index in arange(len(images)).split(STEP):
        found = answer(root.exits, images.take(index)).everyone()
        seen += len(index)
        right = [before + exit_.correct for before, exit_ in zip(right, found, strict=True)]
        exits = [Estimate(correct, seen) for correct in right]
        said = ", ".join(f"exit {i}: {percent(e.accuracy)}" for i, e in enumerate(exits, 1))
        text = f"{network} on {seen} test images. {said}."
        yield Picture(
            {
                "accuracy": Chart(f"Accuracy of each exit against {axis}", text,
                                  _accuracy(size, exits, (axis, unit))),
                "blocks": Chart("What each block costs", _costs_said(costs), _blocks(costs)),
            },
            _exits_table(card.exit_parameters, flops, costs, exits),
            seen / len(images),
        )  # fmt: skip


def _alone(costs: Costs, exit_: int) -> int:
    """Operations of the network cut at an exit: no other head is asked."""
    return costs.stem_flops + sum(costs.block_flops[:exit_]) + costs.head_flops[exit_ - 1]


def _accuracy(
    size: Sequence[int], exits: Sequence[Estimate], axis: tuple[str, str]
) -> dict[str, Any]:
    bars = [whiskers(estimate) for estimate in exits]
    line = series(
        "exit",
        size,
        [100 * estimate.accuracy for estimate in exits],
        0,
        mode="lines+markers+text",
        text=[str(exit_) for exit_ in range(1, len(exits) + 1)],
        textposition="bottom right",
        error_y={
            **bars[0],
            "array": [bar["array"][0] for bar in bars],
            "arrayminus": [bar["arrayminus"][0] for bar in bars],
        },
        hovertemplate="exit %{text}: %{x:.3s}, %{y:.1f} %<extra></extra>",
    )
    lowest = 100 * min(estimate.low for estimate in exits)
    title = f"{axis[0].capitalize()} of the network cut at the exit (logarithmic)"
    return {
        "data": [line],
        "layout": lay_out(
            log_axis(size, title, axis[1]),
            {"title": titled("Accuracy (%)"), "range": [max(0.0, lowest - 4), 102]},
        ),
    }


def _blocks(costs: Costs) -> dict[str, Any]:
    blocks = range(1, costs.last + 1)
    values = costs.values[1:]
    return {
        "data": [
            series("operations", blocks, costs.block_flops, 0),
            series("operations of its exit's head", blocks, costs.head_flops, 3),
            series("values of its feature", blocks, values, 1),
        ],
        "layout": lay_out(
            {"title": titled("Block"), "dtick": 1, "range": [0.6, costs.last + 0.4]},
            log_axis([*costs.block_flops, *costs.head_flops, *values], "Number (logarithmic)", ""),
        ),
    }


def _costs_said(costs: Costs) -> str:
    head = sum(costs.head_flops) / (costs.stem_flops + sum(costs.block_flops))
    blocks = ", ".join(quantity(flops, "FLOP") for flops in costs.block_flops)
    return (
        f"Operations of the blocks: {blocks}. All heads together add {percent(head, 2)}. Values of "
        f"the features: {', '.join(f'{value:,}' for value in costs.values[1:])}."
    )


def _exits_table(
    parameters: Sequence[int], flops: Sequence[int], costs: Costs, exits: Sequence[Estimate]
) -> str:
    rows = (
        (
            str(exit_),
            f"{parameters[exit_ - 1]:,}",
            quantity(flops[exit_ - 1], "FLOP"),
            f"{costs.values[exit_]:,}",
            with_interval(estimate),
        )
        for exit_, estimate in enumerate(exits, 1)
    )
    return html_table(("exit", "parameters", "operations", "feature's values", "accuracy"), rows)
