"""Panels of the depth level (paper, section 2.1): split, early exits, progress, privacy.

Torch is imported when the first picture is asked for, in the thread that computes it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from insitu_widgets.air.channel import GUARDS, Link
from insitu_widgets.cards import ROOTS
from insitu_widgets.cifar100 import FETCH
from insitu_widgets.explorer.course import depth_figures as figures
from insitu_widgets.explorer.course import depth_words as words
from insitu_widgets.explorer.course.beforehand import from_table
from insitu_widgets.explorer.live import left_out, missing_images
from insitu_widgets.explorer.panels import WORDS, Chart, Panel, Picture, choice, number, slider
from insitu_widgets.levels.recipe import BITS, Recipe
from insitu_widgets.network import depth_rows
from insitu_widgets.network.catalogue import shipped
from insitu_widgets.network.tradeoff import (
    Terms,
    best_splits,
    changes,
    exit_times_s,
    split_times,
)
from insitu_widgets.units import error_rate, percent, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from insitu_widgets.estimate import Estimate
    from insitu_widgets.network.privacy import Attack

#: The large networks that the split panel knows by their shapes.
LARGE = ("VGG-16", "MobileNet-V2", "ConvNeXt-Tiny", "ResNet-50")
MOST_COUNT = 500_000
_SPEEDS = [m * 10.0**d for d in range(6, 16) for m in (1, 2, 5)]
_RATES = [m * 10.0**d for d in range(4, 10) for m in (1, 2, 5)]
#: Accuracies that digits are exact enough for, and photographs.
_TARGETS = [
    *(0.4, 0.5, 0.55, 0.6, 0.64, 0.68, 0.7, 0.72, 0.74, 0.75, 0.76, 0.8, 0.85),
    *(0.9, 0.92, 0.94, 0.95, 0.96, 0.965, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995),
]
_COUNTS = [m * 10**d for d in range(6) for m in (1, 2, 5)]
_KEEPS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
_ERROR_RATES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_ACCURACY = "Accuracy with the bits on the air"
_FIDELITY = "How well the image is rebuilt, by split point"
_flops = partial(quantity, unit="FLOP/s")
_bps = partial(quantity, unit="bit/s")


def _root_choice(name: str, suffix: str) -> Any:
    """The roots whose images are here, or else a shipped table."""
    offered = [root for root in ROOTS if not missing_images(root) or root in shipped(suffix)]
    return choice("Network", offered, name)


def _not_offered(suffix: str) -> str:
    return left_out([root for root in ROOTS if root not in shipped(suffix)])


def _bits_slider(label: str, value: int) -> Any:
    return slider(label, BITS, value, lambda bits: f"{bits:g} bit")


def _keep_slider(value: float = 1.0) -> Any:
    return slider("Weights kept", _KEEPS, value, lambda keep: percent(keep, 0))


def _error_slider(label: str, value: float = 0.0) -> Any:
    return slider(label, _ERROR_RATES, value, error_rate)


def split_panel() -> Panel:
    """The downlink–uplink trade-off: which split is fastest for n images, and how accurate."""
    return Panel(
        "Split inference: what is downloaded once, what goes up every time",
        "Measured: packets (packed bytes), uploads and accuracy (bits really packed and flipped). "
        "Counted by PyTorch: operations. Modelled: times, as bits ÷ rate and operations ÷ speed. "
        "Large networks: parameters × share × bits, no accuracy.",
        {
            "network": choice("Network", [*ROOTS, *LARGE], "resnet-digits"),
            "least": choice(
                "What may go up", [("features only", 1), ("features, or the image itself", 0)]
            ),
            "device": slider("Device computes", _SPEEDS[:21], 1e10, _flops),
            "server": slider("Server computes", _SPEEDS[9:], 1e12, _flops),
            "downlink": slider("Downlink", _RATES, 1e6, _bps),
            "uplink": slider("Uplink", _RATES, 1e5, _bps),
            "count": slider("Images n", _COUNTS, 10, lambda count: f"{count:,} images"),
            "feature_bits": _bits_slider("Bits a feature value", 4),
            "bit_error_rate": _error_slider("Uplink bit-error rate"),
            "keep": _keep_slider(),
            "bits": _bits_slider("Bits a weight", 4),
        },
        _split_steps,
    )


def _split_steps(
    *,
    network: str,
    least: int,
    device: float,
    server: float,
    downlink: float,
    uplink: float,
    count: int,
    feature_bits: int,
    bit_error_rate: float,
    keep: float,
    bits: int,
) -> Iterator[Picture]:
    from insitu_widgets.explorer.course import depth_live as live  # noqa: PLC0415
    from insitu_widgets.network.split import upload_bits  # noqa: PLC0415

    terms = Terms(device, server, Link(downlink), Link(uplink, bit_error_rate=bit_error_rate))
    costs = live.costs_of(network)
    down = live.download_bits(network, keep, bits)
    points = range(costs.last + 1)
    up = [upload_bits(costs.uploaded_values(point), feature_bits) for point in points]
    times = split_times(terms, costs, down, up)
    allowed = times[least:]
    best = best_splits(allowed, count)
    moves = changes(allowed, MOST_COUNT)
    sentence = words.best_split(best, count, moves, costs.last, no_image=least > 0)
    table = words.split_table(times, down, up, costs, count)
    charts = {
        "sizes": Chart(
            "Bits down once, and bits up for each image",
            words.sizes(network, down, up, costs),
            figures.sizes(down, up),
        ),
        "times": Chart(
            f"Where the time goes for {count:,} images",
            sentence,
            figures.split_times(
                times, count, [time.point for time in best], [time.point for time in allowed]
            ),
        ),
        "total": Chart(
            "The best split moves with the number of images",
            words.moves(moves, costs.last),
            figures.total_times(times, [point for _, point in moves], count),
        ),
    }
    missing = missing_images(network) if network in ROOTS else ""
    if missing and network in shipped(depth_rows.SPLITS):
        charts["accuracy"], said = _together_before(
            network,
            least,
            keep=keep,
            bits=bits,
            feature_bits=feature_bits,
            bit_error_rate=bit_error_rate,
        )
        yield Picture(charts, f"<p>{sentence}</p>{table}{said}")
        return
    if network not in ROOTS or missing:
        why = (
            "The images are not here, so nothing is classified."
            if missing
            else "No weights are shipped for this network, so nothing is classified."
        )
        remedy = f" To get them: {FETCH} (170 MB, once)." if missing else ""
        charts["accuracy"] = Chart(_ACCURACY, why + remedy, figures.nothing(why))
        yield Picture(charts, f"<p>{sentence}</p>{table}")
        return
    yield Picture(charts, f"<p>{sentence}</p>{table}", 0.1, complete=(WORDS, *charts))
    measured: dict[int, Estimate] = {}
    for done, point in enumerate(range(least, costs.last + 1), 1):
        measured[point] = live.together(
            network,
            point,
            keep=keep,
            bits=bits,
            feature_bits=feature_bits,
            bit_error_rate=bit_error_rate,
        )
        spec = figures.accuracies(measured, costs.last, ROOTS[network].accuracy[-1])
        text = words.accuracies(measured, costs.last, bit_error_rate)
        chart = Chart(_ACCURACY, text, spec)
        yield Picture({"accuracy": chart}, progress=0.1 + 0.9 * done / (len(times) - least))


def _together_before(network: str, least: int, **sent: Any) -> tuple[Chart, str]:
    """Accuracy by split point from the shipped table, and what it was measured on (HTML)."""
    try:
        held = depth_rows.split_of(network, **sent)
    except ValueError as error:
        nothing = figures.nothing("Not measured with these bits; the text says with which.")
        said = from_table(network, depth_rows.SPLITS, depth_rows.splits_measured(network))
        return Chart(_ACCURACY, f"{error} (170 MB, once).", nothing), said
    measured = {point: each for point, each in held.estimates.items() if point >= least}
    last = ROOTS[network].num_exits
    text = words.accuracies(measured, last, held.bit_error_rate)
    spec = figures.accuracies(measured, last, ROOTS[network].accuracy[-1])
    return Chart(_ACCURACY, text, spec), from_table(network, depth_rows.SPLITS)


def exits_panel() -> Panel:
    """Early exit by confidence, on the device or on the server."""
    return Panel(
        "Early exit: each image leaves where the network is sure",
        "Measured on test images: confidences, answers, shares; what goes up is really packed. "
        "Operations are counted by PyTorch; times are modelled from them, the uplink's included.",
        {
            "network": _root_choice("vgg-digits", depth_rows.EXITS),
            "measure": choice(
                "Confidence",
                [("largest probability", "probability"), ("1 - entropy ÷ log classes", "entropy")],
            ),
            "target": slider(
                "Target accuracy",
                _TARGETS,
                0.98,
                percent,
            ),
            "source": choice(
                "Threshold chosen on",
                [
                    ("test images put aside", "aside"),
                    ("training images (the weights have seen them)", "train"),
                ],
            ),
            "threshold": slider(
                "Threshold",
                [-1.0, *(i / 20 for i in range(21))],
                -1.0,
                lambda value: "the target's" if value < 0 else f"{value:g}",
            ),
            "point": slider("Blocks on the device", range(9), 2, lambda point: f"{point:g}"),
            "device": slider("Device computes", _SPEEDS[:21], 1e8, _flops),
            "server": slider("Server computes", _SPEEDS[9:], 1e12, _flops),
            "uplink": slider("Uplink", _RATES, 1e6, _bps),
            "feature_bits": _bits_slider("Bits a feature value", 4),
            "axis": choice("Against", [("mean time", "time"), ("mean operations", "operations")]),
        },
        _exits_steps,
        note=_not_offered(depth_rows.EXITS),
    )


def _exits_steps(
    *,
    network: str,
    measure: str,
    target: float,
    source: str,
    threshold: float,
    point: int,
    device: float,
    server: float,
    uplink: float,
    feature_bits: int,
    axis: str,
) -> Iterator[Picture]:
    from insitu_widgets.explorer.course import depth_live as live  # noqa: PLC0415
    from insitu_widgets.network.split import upload_bits  # noqa: PLC0415

    costs = live.costs_of(network)
    terms = Terms(device, server, Link(1e6), Link(uplink))
    going_up = upload_bits(costs.uploaded_values(point), feature_bits)
    cost, unit = exit_times_s(terms, costs, point, going_up), "s"
    if axis == "operations":
        exits = range(1, costs.last + 1)
        cost, unit = tuple(float(costs.exit_flops(exit_)) for exit_ in exits), "FLOP"
    missing = bool(missing_images(network))
    leaving = (live.leaving_before if missing else live.leaving_now)(
        network, target, source=source, point=point, bits=feature_bits, measure=measure
    )
    found = leaving.found
    wanted = threshold if threshold >= 0 else found.threshold if found else 1.0
    routing, everyone = leaving.route(wanted), leaving.alone
    yield Picture(
        {
            "curve": Chart(
                f"Accuracy against mean {axis} of an image",
                words.routing(routing, cost, unit, everyone),
                figures.exits_curve(
                    [(r.mean(cost), r.estimate) for r in leaving.curve],
                    list(zip(cost, everyone, strict=True)),
                    (routing.mean(cost), routing.estimate),
                    target,
                    (f"Mean {axis} of an image (logarithmic)", unit),
                ),
            ),
            "shares": Chart(
                "Where the images leave",
                words.shares(routing, point),
                figures.shares(routing, point),
            ),
        },
        (from_table(network, depth_rows.EXITS) if missing else "")
        + words.threshold(
            found,
            wanted,
            (target, leaving.most),
            (source, leaving.size),
            automatic=threshold < 0,
        )
        + f"<p>{words.routing(routing, cost, unit, everyone)}</p>",
    )


def progressive_panel() -> Panel:
    """A download layer by layer: a device that answers before the last bit is in."""
    return Panel(
        "Progressive download: answers before the last bit is in",
        "Measured: packed bytes of every chunk, header included, bits really flipped, accuracy on "
        "the test images. Modelled: time as bits ÷ rate.",
        {
            "network": _root_choice("vgg-digits", depth_rows.PROGRESSIVE),
            "rate": slider("Downlink", _RATES, 1e6, _bps),
            "keep": _keep_slider(),
            "bits": _bits_slider("Bits a weight", 4),
            "bit_error_rate": _error_slider("Bit-error rate"),
            "guard": choice("Guard", list(GUARDS), "clamp"),
            "seed": number("Seed of the channel", 0, 10**9, 0),
        },
        _progressive_steps,
        note=_not_offered(depth_rows.PROGRESSIVE),
    )


def _progressive_steps(
    *,
    network: str,
    rate: float,
    keep: float,
    bits: int,
    bit_error_rate: float,
    guard: str,
    seed: int,
) -> Iterator[Picture]:
    link = Link(rate, bit_error_rate=bit_error_rate)
    if missing_images(network):
        held = depth_rows.download_of(
            network,
            keep=keep,
            bits=bits,
            bit_error_rate=bit_error_rate,
            guard=guard,
            seed=seed,
        )
        *rows, whole = (
            (num_bits, link.time_s(num_bits), estimate)
            for num_bits, estimate in (*held.exits, held.whole)
        )
        others = "; ".join(map(str, depth_rows.load_progressive(network)))
        yield _arriving(rows, whole, 1.0, from_table(network, depth_rows.PROGRESSIVE, others))
        return
    yield from _downloading(Recipe(network, keep=keep, bits=bits), link, guard, seed)


def _arriving(
    rows: list[tuple[int, float, Estimate]],
    whole: tuple[int, float, Estimate] | None,
    progress: float,
    said: str = "",
) -> Picture:
    """What has arrived so far: bits, seconds and accuracy, by exit and in one piece."""
    spec = figures.arriving([row[1:] for row in rows], whole[1:] if whole else None)
    chart = Chart("Accuracy while the bits arrive", words.arriving(rows, whole), spec)
    return Picture({"arriving": chart}, said + words.arrivals_table(rows, whole), progress)


def _downloading(recipe: Recipe, link: Link, guard: str, seed: int) -> Iterator[Picture]:
    """A download measured now, exit by exit, then in one piece."""
    import numpy as np  # noqa: PLC0415

    from insitu_widgets.air.channel import transmit  # noqa: PLC0415
    from insitu_widgets.air.payload import pack, unpack  # noqa: PLC0415
    from insitu_widgets.evaluate import accuracy  # noqa: PLC0415
    from insitu_widgets.explorer.course import loaded  # noqa: PLC0415
    from insitu_widgets.levels.derive import derive  # noqa: PLC0415
    from insitu_widgets.network.progressive import arrivals, chunks  # noqa: PLC0415

    root, images = loaded.root_of(recipe.root), loaded.images_of(recipe.root)
    rows: list[tuple[int, float, Estimate]] = []
    random = np.random.default_rng(seed)
    for arrival in arrivals(root, chunks(root, recipe.keep, recipe.bits), link, random, guard):
        *_, last = accuracy(arrival.network, images)
        rows.append((arrival.num_bits, arrival.time_s, last))
        yield _arriving(rows, None, arrival.exit / (root.num_exits + 1))
    packet = pack(derive(root, recipe))
    *_, last = accuracy(unpack(transmit(packet, link, seed), guard)[0], images)
    yield _arriving(rows, (packet.num_bits, link.time_s(packet.num_bits), last), 1.0)


def privacy_panel() -> Panel:
    """What an attacker rebuilds of the image from what goes up."""
    return Panel(
        "Privacy: what can be rebuilt of the image from what goes up",
        "Measured: a decoder fitted to the training images' uploads (packed bytes), judged on the "
        "test images. A better attacker may see more; none of these numbers is a guarantee.",
        {
            "network": _root_choice("resnet-digits", depth_rows.PRIVACY),
            "feature_bits": _bits_slider("Bits a feature value", 4),
            "attacker": choice(
                "Attacker",
                [("linear (ridge regression)", "ridge"), ("network, one hidden layer", "network")],
            ),
        },
        _privacy_steps,
        note=_not_offered(depth_rows.PRIVACY),
    )


def _privacy_steps(network: str, feature_bits: int, attacker: str) -> Iterator[Picture]:
    if missing_images(network):
        yield _heard_before(network, feature_bits, attacker)
        return
    from insitu_widgets.explorer.course import depth_live as live  # noqa: PLC0415
    from insitu_widgets.explorer.course import loaded  # noqa: PLC0415
    from insitu_widgets.network.privacy import blind_guess, class_guess  # noqa: PLC0415

    root, train, test = (
        loaded.root_of(network),
        loaded.images_of(network, "train"),
        loaded.images_of(network),
    )
    guesses = {
        "only the class": class_guess(train, test),
        "nothing": blind_guess(train, test),
    }
    references = {f"knows {name}": guess.psnr_db for name, guess in guesses.items()}
    attacks: list[Attack] = []
    for point in range(root.num_exits):
        attacks.append(live.attack_on(network, point, bits=feature_bits, attacker=attacker))
        heard = {attack.point: attack.psnr_db for attack in attacks}
        pictures: list[tuple[str, Any]] = [
            ("the test images", test.images),
            *(
                (f"split {attack.point}: {attack.psnr_db:.1f} dB", attack.guesses)
                for attack in attacks
            ),
            *((f"knows {n}: {g.psnr_db:.1f} dB", g.guesses) for n, g in guesses.items()),
        ]
        spec = figures.fidelity(heard, references, root.num_exits)
        text = words.fidelity(heard, references)
        yield Picture(
            {"fidelity": Chart(_FIDELITY, text, spec)},
            f"<p>{text}</p>{words.gallery(pictures)}",
            (point + 1) / root.num_exits,
        )


def _heard_before(network: str, feature_bits: int, attacker: str) -> Picture:
    """What an attacker rebuilds, from the shipped table: decibels and no pictures."""
    held = depth_rows.heard_of(network, bits=feature_bits, attacker=attacker)
    guesses = depth_rows.guesses_of(network)
    references = {
        "knows only the class": guesses["class"],
        "knows nothing": guesses["nothing"],
    }
    last = ROOTS[network].num_exits
    spec = figures.fidelity(held.psnr_db, references, last)
    text = words.fidelity(held.psnr_db, references)
    said = from_table(network, depth_rows.PRIVACY, depth_rows.attacks_measured(network))
    table = words.fidelity_table(held.psnr_db, references, last)
    return Picture({"fidelity": Chart(_FIDELITY, text, spec)}, f"{said}<p>{text}</p>{table}")
