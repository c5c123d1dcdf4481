"""What the depth level's panels say: sentences, tables and pictures (HTML)."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from insitu_widgets.explorer.course.depth_figures import place
from insitu_widgets.explorer.words import html_table, with_interval
from insitu_widgets.units import duration, error_rate, percent, quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from insitu_widgets.estimate import Estimate
    from insitu_widgets.levels.routing import Routing
    from insitu_widgets.levels.split import Costs
    from insitu_widgets.network.depth_rows import Chosen
    from insitu_widgets.network.tradeoff import SplitTime

#: Test images in the gallery, and the sides of each on the page.
COLUMNS, SIDE_PX = 12, 44


def best_split(
    best: Sequence[SplitTime],
    count: int,
    steps: Sequence[tuple[int, int]],
    last: int,
    *,
    no_image: bool,
) -> str:
    """Which split is the fastest now, or which are as good as equal, and where that changes.

    ``no_image`` tells that no image may leave the device, so that split 0 is not compared.
    """
    plural = "s" if count > 1 else ""
    if len(best) == 1:
        said = f"the fastest split is {_split_said(best[0], count, last)}"
    else:
        *first, final = (place(time.point, last) for time in best)
        parts = "; ".join(f"split {_split_said(time, count, last)}" for time in best)
        said = f"splits {', '.join(first)} and {final} are as good as equal; {parts}"
    left_out = ""
    if no_image:
        left_out = f" No image may go up, so split {place(0, last)} does not count: it is paler."
    return f"For {count:,} image{plural} {said}. {moves(steps, last)}{left_out}"


def _split_said(time: SplitTime, count: int, last: int) -> str:
    """A split with its whole time, and what of it is paid once and for each image."""
    return (
        f"{place(time.point, last)}: {duration(time.total_s(count))}, of which "
        f"{duration(time.download_s)} for the download and {duration(time.image_s)} for "
        f"each image"
    )


def moves(steps: Sequence[tuple[int, int]], last: int) -> str:
    """From how many images on which split is the fastest."""
    said = [f"split {place(point, last)} from {start:,}" for start, point in steps]
    unit = " image" if steps[-1][0] == 1 else " images"
    if len(said) == 1:
        return f"However many images there are, it is the fastest: {said[0]}{unit} on."
    return f"The best split moves with the images: {', '.join(said)}{unit} on."


def sizes(network: str, down: Sequence[int], up: Sequence[int], costs: Costs) -> str:
    """What the trade-off's figure shows."""
    values = costs.values
    smaller = [point for point in range(1, costs.last) if values[point] < values[0]]
    grows = any(b > a for a, b in pairwise(values[1:]))
    shape = "do not always shrink with depth" if grows else "never grow with depth"
    if values[1] == values[-1] and not grows:
        shape = "keep their size at every depth"
    than = (
        f"from block {smaller[0]} on some are smaller than the image"
        if smaller
        else "none that could go up is smaller than the image"
    )
    return (
        f"{network}: the whole download has {quantity(down[-1], 'bit')}; features {shape}, and "
        f"{than} ({values[0]:,} values). Up for each image: "
        f"{', '.join(quantity(bits, 'bit') for bits in up[:-1])}, and nothing at the last split."
    )


def split_table(
    times: Sequence[SplitTime],
    down: Sequence[int],
    up: Sequence[int],
    costs: Costs,
    count: int,
) -> str:
    """Every split point with its sizes, operations and times."""
    rows = (
        (
            place(time.point, costs.last),
            quantity(down[time.point], "bit"),
            quantity(up[time.point], "bit"),
            quantity(costs.device_flops(time.point), "FLOP"),
            quantity(costs.server_flops(time.point), "FLOP"),
            duration(time.image_s),
            duration(time.total_s(count)),
        )
        for time in times
    )
    heads = ("split", "down", "up, each", "device, each", "server, each", "time, each")
    return html_table((*heads, f"{count:,} in all"), rows)


def accuracies(measured: Mapping[int, Estimate], last: int, bit_error_rate: float) -> str:
    """Accuracy at every split point that has been measured."""
    said = (f"split {place(p, last)}: {percent(e.accuracy)}" for p, e in measured.items())
    return (
        f"Measured at an uplink bit-error rate of {error_rate(bit_error_rate)}: {', '.join(said)}."
    )


def routing(found: Routing, cost: Sequence[float], unit: str, everyone: Sequence[Estimate]) -> str:
    """What the threshold in use achieves, against sending every image to the last exit."""
    return (
        f"Threshold {found.threshold:.3g}: {with_interval(found.estimate)} at "
        f"{quantity(found.mean(cost), unit)} an image in the mean. All at the last exit: "
        f"{percent(everyone[-1].accuracy)} at {quantity(cost[-1], unit)}."
    )


def shares(found: Routing, point: int) -> str:
    """Where the images leave."""
    said = (f"exit {exit_}: {percent(share, 0)}" for exit_, share in enumerate(found.shares, 1))
    on_device = sum(found.shares[:point])
    return f"{percent(on_device, 0)} of the images leave on the device. {', '.join(said)}."


def threshold(
    found: Routing | Chosen | None,
    used: float,
    targets: tuple[float, float],
    chosen_on: tuple[str, int],
    *,
    automatic: bool,
) -> str:
    """How the threshold was chosen (HTML); ``targets`` is what was asked for and the most there is.

    ``chosen_on`` tells which images it was chosen on, and how many they are.
    """
    (target, most), (source, size) = targets, chosen_on
    what = f"{size} training images" if source == "train" else f"{size} test images put aside"
    if not automatic:
        return f"<p>The threshold {used:g} was chosen by hand.</p>"
    if found is None:
        return (
            f"<p>No threshold reaches {percent(target)} on the {what}, the most is "
            f"{percent(most)}: lower the target. Shown is a threshold of 1.</p>"
        )
    return (
        f"<p>The lowest threshold that reaches {percent(target)} on the {what} "
        f"({percent(found.estimate.accuracy)} there). On images it was not chosen on:</p>"
    )


def arriving(
    rows: Sequence[tuple[int, float, Estimate]], whole: tuple[int, float, Estimate] | None
) -> str:
    """When the device can answer, and how well."""
    num_bits, time_s, estimate = rows[0]
    first = (
        f"The device answers after {duration(time_s)} ({quantity(num_bits, 'bit')}) with "
        f"{percent(estimate.accuracy)}"
    )
    if whole is None:
        return f"{first}; {len(rows)} exits have arrived."
    return (
        f"{first}; in one piece it would wait {duration(whole[1])} "
        f"({quantity(whole[0], 'bit')}) for {percent(whole[2].accuracy)}. Sending layer by layer "
        f"takes {percent(rows[-1][0] / whole[0] - 1)} more bits in all."
    )


def arrivals_table(
    rows: Sequence[tuple[int, float, Estimate]], whole: tuple[int, float, Estimate] | None
) -> str:
    """Every arrival (HTML)."""
    named = [(f"exit {i}", *row) for i, row in enumerate(rows, 1)]
    if whole:
        named.append(("in one piece", *whole))
    cells = (
        (name, quantity(num_bits, "bit"), duration(time_s), with_interval(estimate))
        for name, num_bits, time_s, estimate in named
    )
    table = html_table(("usable", "bits so far", "at", "accuracy"), cells)
    return f"<p>{arriving(rows, whole)}</p>{table}"


def fidelity(heard: Mapping[int, float], references: Mapping[str, float]) -> str:
    """How well the attacker does, and whether depth protects."""
    said = ", ".join(f"split {point}: {value:.1f} dB" for point, value in heard.items())
    falls = all(b < a for a, b in pairwise(heard.values()))
    verdict = "less with every block" if falls else "not always less with depth"
    if falls and any(b - a > 1 for a, b in pairwise(heard)):
        verdict = "less at every deeper split that was measured"
    if len(heard) == 1:
        verdict = "deeper splits follow"
    blind = ", ".join(f"{name}: {value:.1f} dB" for name, value in references.items())
    return f"The attacker rebuilds {verdict}. {said}. One who {blind}."


def fidelity_table(heard: Mapping[int, float], references: Mapping[str, float], last: int) -> str:
    """Decibels by split point (HTML), where the pictures may not be shown."""
    rows = [
        (place(point, last), f"{heard[point]:.1f} dB" if point in heard else "not measured")
        for point in range(last)
    ]
    rows += [(f"who {name}", f"{value:.1f} dB") for name, value in references.items()]
    return (
        "<p>Pictures are not shown: they would show images of the data set, which may not be "
        f"shipped.</p>{html_table(('split', 'rebuilt'), rows)}"
    )


def gallery(rows: Sequence[tuple[str, Any]]) -> str:
    """Rows of pictures (HTML): a label and images ``[N, C, H, W]``, all on one grey scale."""
    import torch  # noqa: PLC0415
    from torch.nn.functional import pad  # noqa: PLC0415

    from insitu_widgets.explorer.live import picture  # noqa: PLC0415

    low, high = (float(end) for end in torch.aminmax(rows[0][1]))
    framed = [
        pad(images[:COLUMNS].clamp(low, high), (1, 1, 1, 1), value=high) for _, images in rows
    ]
    strips = [torch.cat(list(images), dim=2) for images in framed]
    sheet = picture(torch.cat(strips, dim=1))
    columns = min(COLUMNS, len(rows[0][1]))
    labels = "".join(
        f'<div style="height:{SIDE_PX}px;line-height:{SIDE_PX}px">{escape(label)}</div>'
        for label, _ in rows
    )
    names = "; ".join(label for label, _ in rows)
    return (
        f'<div style="display:flex;gap:10px"><div style="white-space:nowrap">{labels}</div>'
        f'<img alt="Rows of the first {columns} test images: {escape(names)}" src="{sheet}" '
        f'style="width:{columns * SIDE_PX}px;height:{len(rows) * SIDE_PX}px;'
        f'image-rendering:pixelated;max-width:none"></div>'
    )
