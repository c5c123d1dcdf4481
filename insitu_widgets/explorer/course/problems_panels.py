"""Panels of the paper's open problems (section 5): cooperation, degradation, and better models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import ipywidgets as widgets
import torch

from insitu_widgets.air.channel import Link
from insitu_widgets.air.degradation import FILLS, UNITS, lossy, segment
from insitu_widgets.air.payload import pack, unpack
from insitu_widgets.cards import ROOTS
from insitu_widgets.data import ImageSet, load_data
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import problems_figures as figures
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, number, slider
from insitu_widgets.explorer.runner import Inline, Latest
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.cooperation import cooperate
from insitu_widgets.network.customise import PARTS, Handwriting, User, customise
from insitu_widgets.network.evolve import Child, evolve, select
from insitu_widgets.network.federated import Federation, federate, share_out, young_root
from insitu_widgets.network.tuning import Tuning, tune
from insitu_widgets.roots import Root, load_root
from insitu_widgets.units import percent, quantity

Runner = Inline | Latest | None
Classifier = Callable[[torch.Tensor], torch.Tensor]

_DIGITS = ("vgg-digits", "resnet-digits", "vit-digits")
_FEATURE_BITS = (1, 2, 4, 8)
_LOSSES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
_SEGMENT_BYTES = 1500
_DRAWS = 3
#: A link's delay where the panel offers none: from a device to a base station and back.
_DELAY_S = 0.01
_YOUNG = Tuning(epochs=5, rate=2e-3, batch=20)
_YOUNG_IMAGES = 100
#: By how much more training a newer version differs from an older one.
_MORE = Tuning(epochs=2, rate=1e-3, batch=50)


def measure(model: Classifier, images: ImageSet) -> Estimate:
    """Accuracy over all images at once."""
    with torch.inference_mode():
        answers = model(images.images).argmax(1)
    return Estimate(int((answers == images.labels).sum()), len(images))


def cooperation_panel(runner: Runner = None) -> Panel:
    """The server goes on from a pruned or quantised device's feature, instead of anew."""
    return Panel(
        "Cooperation: reuse the feature, or send the image?",
        "Measured live on 797 handwritten digits: real weights, features really packed into bits.",
        {
            "name": choice("Root model", _digits_roots()),
            "keep": slider("Weights on device", (0.1, 0.2, 0.5, 1.0), 1.0, _share),
            "bits": slider("Device's weights", (2, 3, 4, 8, 32), 2, _bits),
            "confidence": slider("Asks below", (0.5, 0.6, 0.7, 0.8, 0.9, 1.0), 0.7, _sure),
            "corrected": choice("Server corrects", [("mean and spread", True), ("no", False)]),
        },
        _cooperation,
        runner,
    )


def _cooperation(
    *, name: str, keep: float, bits: int, confidence: float, corrected: bool
) -> Iterator[Picture]:
    root = load_root(name)
    submodel = derive(root, Recipe(name, keep=keep, bits=bits))
    training = load_data("digits", "train", 200) if corrected else None
    images, rows = load_data("digits"), []
    total = 2 + root.num_exits * len(_FEATURE_BITS)
    ways = cooperate(
        root, submodel, images, _FEATURE_BITS, confidence=confidence, training=training
    )
    for row in ways:
        rows.append(row)
        if len(rows) == 1:
            continue
        accuracy, uplink = figures.cooperation(rows, root.num_exits)
        alone, sent = rows[:2]
        few = [r for r in rows[2:] if r.bits_per_question < sent.bits_per_question]
        best = max(few, key=lambda r: r.estimate.accuracy, default=None)
        words = (
            f"The device asks about {percent(sent.asked / len(images))} of the images. Alone it "
            f"reaches {percent(alone.estimate.accuracy)}; with images sent "
            f"({sent.bits_per_question:.0f} bit each) {percent(sent.estimate.accuracy)}. "
        )
        if best is not None:
            words += (
                f"Best feature that is smaller than the image: {best.bits} bit after block "
                f"{best.split}, {best.bits_per_question:.0f} bit, "
                f"{percent(best.estimate.accuracy)}."
            )
        elif len(rows) == total:
            words += "No feature measured is smaller than the image."
        yield Picture(
            {
                "accuracy": Chart("Accuracy over all images", words, accuracy),
                "uplink": Chart("Uplink for a question", words, uplink),
            },
            f"<p>{words}</p>",
            len(rows) / total,
        )


def degradation_panel(runner: Runner = None) -> Panel:
    """Lost packets or layers: zero, what the device holds, or sending again."""
    held = [
        ("a coarser one: 2 bit", "bits"),
        ("a smaller one: exit 3, 4 bit", "exit"),
        ("a thinner one: 20 %, 4 bit", "keep"),
        ("an older one: before more training", "older"),
    ]
    return Panel(
        "Graceful degradation: what if part of the model is lost?",
        "Measured live: real packets and weights, 400 digits; the losses are simulated, "
        f"{_DRAWS} draws each (bars: lowest to highest).",
        {
            "name": choice("Root model", _digits_roots()),
            "held": choice("Device holds", held),
            "unit": choice("Lost as a whole", _units()),
            "rate_bps": slider(
                "Rate", (1e5, 1e6, 1e7, 1e8), 1e6, lambda rate: quantity(rate, "bit/s")
            ),
            "seed": number("Seed of the losses", 0, 9999, 0),
        },
        _degradation,
        runner,
    )


def _degradation(
    *, name: str, held: str, unit: str, rate_bps: float, seed: int
) -> Iterator[Picture]:
    root, images = load_root(name), load_data("digits", limit=400)
    kept = {
        "exit": Recipe(name, exit=3, bits=4),
        "bits": Recipe(name, bits=2),
        "keep": Recipe(name, keep=0.2, bits=4),
        "older": Recipe(name, bits=4),
    }[held]
    local = derive(root, kept)
    submodel = derive(_newer(root, seed) if held == "older" else root, Recipe(name, bits=4))
    intact, alone = measure(submodel, images), measure(local, images)
    packet = pack(submodel)
    segments = segment(submodel, packet, _SEGMENT_BYTES, unit)
    link = Link(rate_bps, _DELAY_S)
    spreads: dict[str, list[figures.Spread]] = {fill: [] for fill in FILLS}
    times: list[figures.Spread] = []
    for done, loss in enumerate(_LOSSES, 1):
        seeds = [seed + 10_000 * draw for draw in range(_DRAWS if loss else 1)]
        draws = list(lossy(submodel, packet, segments, local, link, loss=loss, seeds=seeds))
        for fill in FILLS:
            accuracies = [measure(draw.networks[fill], images).accuracy for draw in draws]
            spreads[fill].append(figures.Spread(tuple(accuracies)))
        times.append(figures.Spread(tuple(draw.retransmission_s for draw in draws)))
        zero, filled = (spreads[fill][-1].mean for fill in FILLS)
        words = (
            f"With {percent(loss, 0)} of {draws[0].segments} {unit} lost: zero in their place "
            f"{percent(zero)}, filled with {kept} {percent(filled)}, all sent again "
            f"{percent(intact.accuracy)} after {times[-1].mean:.3g} s instead of "
            f"{draws[0].time_s:.3g} s. The held model alone: {percent(alone.accuracy)}."
        )
        yield Picture(
            {
                "accuracy": Chart(
                    "Accuracy of what is put together",
                    words,
                    figures.degradation(_LOSSES, spreads, intact, alone),
                ),
                "time": Chart(
                    "Time until it can be used",
                    words,
                    figures.retransmission(_LOSSES, draws[0].time_s, times),
                ),
            },
            _table(
                ("Lost", "Zero in place", f"Filled with {kept}", "All sent again after"),
                [
                    (percent(p, 0), percent(z.mean), percent(f.mean), f"{t.mean:.3g} s")
                    for p, z, f, t in zip(_LOSSES, *spreads.values(), times, strict=False)
                ],
            ),
            done / len(_LOSSES),
        )


def _newer(root: Root, seed: int) -> Root:
    """The root after more training: a version that is sent to devices with the old one."""
    newer = copy.deepcopy(root).requires_grad_(True)
    random = torch.Generator().manual_seed(seed)
    for _ in tune(newer, newer.exits, load_data("digits", "train"), _MORE, random):
        pass
    return newer.requires_grad_(False)


def customise_panel(runner: Runner = None) -> Panel:
    """A downloaded model is tuned to its user's handwriting."""
    return Panel(
        "Customisation: a model learns its user's handwriting",
        "Measured live: the user's images are held-out scans, slanted, thickened and scaled by "
        "computation; 60 to tune with, 300 others to test with. Bars: 95 % interval.",
        {
            "name": choice("Root model", _digits_roots()),
            "keep": slider("Weights downloaded", (0.2, 0.5, 1.0), 0.5, _share),
            "strength": _strength(),
            "user": number("User (seed)", 0, 9999, 3),
            "part": choice("Tuned", PARTS, "norms and biases"),
            "rate": slider("Learning rate", (5e-4, 1e-3, 2e-3, 5e-3), 2e-3, lambda r: f"{r:g}"),
            "epochs": number("Passes", 1, 200, 12),
        },
        _customise,
        runner,
    )


def _customise(
    *, name: str, keep: float, strength: float, user: int, part: str, rate: float, epochs: int
) -> Iterator[Picture]:
    handwriting = Handwriting.draw(user, strength)
    images = load_data("digits")
    owner = User.share(images, handwriting, user)
    submodel = derive(load_root(name), Recipe(name, keep=keep, bits=4))
    sample = _sample(images, handwriting)
    mine, everybody = [], []
    for tuned in customise(submodel, owner.tuning, part, Tuning(epochs, rate), user):
        mine.append(measure(tuned.network, owner.test))
        everybody.append(measure(tuned.network, owner.general))
        words = (
            f"User's images: {percent(mine[0].accuracy)} before, {percent(mine[-1].accuracy)} "
            f"after {tuned.epoch} passes ({tuned.seconds:.2g} s of tuning, "
            f"{tuned.num_tuned:,} parameters). Everybody's: {percent(everybody[0].accuracy)} "
            f"before, {percent(everybody[-1].accuracy)} after."
        )
        charts = {
            "accuracy": Chart(
                "Accuracy while it is tuned", words, figures.customisation(epochs, mine, everybody)
            )
        }
        if tuned.epoch == 0:
            charts["sample"] = sample
        yield Picture(charts, f"<p>{words}</p>", tuned.epoch / epochs)


def _sample(images: ImageSet, handwriting: Handwriting) -> Chart:
    first = [int((images.labels == label).nonzero()[0]) for label in range(8)]
    scans = images.images[first]
    paper = float(scans.min())
    pair = [
        torch.cat(list(torch.nn.functional.pad(rows, (1, 1, 1, 1), value=paper)[:, 0]), dim=1)
        for rows in (scans, handwriting.write(scans))
    ]
    text = (
        f"The digits 0 to 7 as scanned, and as this user writes them: slant "
        f"{handwriting.slant:+.2f}, thickness {handwriting.thickness:+.2f}, scale "
        f"{handwriting.scale:.2f}."
    )
    spec = figures.images(torch.cat(pair).tolist(), ("scanned", "the user's"))
    return Chart("The user's handwriting", text, spec)


def evolve_panel(runner: Runner = None) -> Panel:
    """A downloaded model is evolved for its user: adapters inserted, blocks cloned or removed."""
    return Panel(
        "Evolution: insert, clone and remove blocks",
        "Measured live, in the manner of muNet: each child is trained on 40 of the user's images, "
        "selected on 20 others, and tested on 300 that no selection has seen.",
        {
            "name": choice("Root model", _digits_roots()),
            "strength": _strength(),
            "user": number("User (seed)", 0, 9999, 3),
            "generations": number("Generations", 0, 20, 3),
            "children": number("Children in each", 1, 12, 4),
            "price": slider("Price of owning", (0.0, 0.02, 0.1, 0.5), 0.02, _price),
        },
        _evolve,
        runner,
    )


def _evolve(
    *, name: str, strength: float, user: int, generations: int, children: int, price: float
) -> Iterator[Picture]:
    owner = User.share(load_data("digits"), Handwriting.draw(user, strength), user)
    count = len(owner.tuning) * 2 // 3
    own, held_out = torch.arange(len(owner.tuning)).tensor_split([count])
    images, selection = owner.tuning.take(own), owner.tuning.take(held_out)
    root, total = load_root(name), 1 + generations * children
    before = measure(root, owner.test)
    tuning = Tuning(epochs=5, rate=3e-3)
    born: list[Child] = []
    tests: list[float] = []
    stream = evolve(
        root,
        images,
        selection,
        generations=generations,
        children=children,
        tuning=tuning,
        price=price,
        seed=user,
    )
    for child in stream:
        born.append(child)
        tests.append(measure(child.individual, owner.test).accuracy)
        parents = select(born, children)
        cloud, path = figures.evolution(
            [
                figures.Born(
                    one.individual.origin,
                    one.individual.num_owned,
                    one.estimate.accuracy,
                    test,
                    any(one is parent for parent in parents),
                )
                for one, test in zip(born, tests, strict=True)
            ]
        )
        best = born.index(parents[0])
        chosen = born[best].individual
        words = (
            f"As downloaded: {percent(before.accuracy)} on the user's test images. Only the head "
            f"tuned: {percent(tests[0])}. Selected after {len(born)} of {total} "
            f"({chosen.origin}, {len(chosen.genes)} blocks): {percent(tests[best])}, "
            f"{chosen.num_parameters:,} parameters, {chosen.num_owned:,} of them the user's own."
        )
        yield Picture(
            {
                "cloud": Chart("Accuracy against what the user must keep", words, cloud),
                "path": Chart("From child to child", words, path),
            },
            f"<p>{words}</p>",
            len(born) / total,
        )


def federated_panel(runner: Runner = None) -> Panel:
    """Devices improve an under-trained root together; their updates are packets too."""
    return Panel(
        "Federation: devices improve the root",
        f"Measured live: a root from {_YOUNG_IMAGES} images and {_YOUNG.epochs} passes; devices "
        "train on the other 900; their updates are really packed and counted. Bars: 95 %.",
        {
            "name": choice("Root model", _digits_roots()),
            "devices": number("Devices", 1, 12, 4),
            "alpha": slider("Equality of data", (0.1, 0.3, 1.0, 10.0), 1.0, lambda a: f"α = {a:g}"),
            "bits": slider("Update's weights", (1, 2, 4, 8, 32), 4, _bits),
            "keep": slider("Weights uploaded", (0.05, 0.1, 0.5, 1.0), 1.0, _share),
            "rounds": number("Rounds", 1, 30, 4),
            "seed": number("Seed", 0, 9999, 0),
        },
        _federated,
        runner,
    )


def _federated(
    *, name: str, devices: int, alpha: float, bits: int, keep: float, rounds: int, seed: int
) -> Iterator[Picture]:
    train, test = load_data("digits", "train"), load_data("digits")
    first, rest = torch.arange(len(train)).tensor_split([_YOUNG_IMAGES])
    theirs = train.take(rest)
    parts = share_out(theirs.labels, devices, alpha, seed)
    counts = [theirs.labels[part].bincount(minlength=len(theirs.classes)) for part in parts]
    text = ", ".join(f"device {i}: {len(part)} images" for i, part in enumerate(parts, 1)) + "."
    spec = figures.shares([row.tolist() for row in counts], theirs.classes)
    waiting = "<p>Training the root that is to be improved …</p>"
    yield Picture({"shares": Chart("Who has which images", text, spec)}, waiting, 0.0)
    young = young_root(name, train.take(first), _YOUNG, seed)
    federation = Federation(rounds, Tuning(1, 2e-3, 50), bits, keep)
    estimates, uplinked = [], []
    improved = young
    for step in federate(young, theirs, parts, federation, seed):
        improved = step.root
        estimates.append(measure(improved, test))
        uplinked.append(step.uplink_bits)
        expected = uplinked[-1] * rounds // step.number if step.number else 10**6
        words = (
            f"After {step.number} of {rounds} rounds: {percent(estimates[-1].accuracy)} (before: "
            f"{percent(estimates[0].accuracy)}), for {quantity(uplinked[-1], 'bit')} uplinked."
        )
        spec = figures.federation(uplinked, estimates, expected)
        yield Picture(
            {"rounds": Chart("Accuracy against bits uplinked", words, spec)},
            f"<p>{words}</p>",
            (step.number + 1) / (rounds + 2),
        )
    yield Picture({}, f"<p>{words}</p>{_offer(young, improved, test)}")


def _offer(before: Root, after: Root, test: ImageSet) -> str:
    """A table of what can be downloaded now: by exit, with accuracies before and after."""
    rows = []
    for exit_ in (before.num_exits // 2, before.num_exits - 1, None):
        recipe = Recipe(before.name, exit=exit_, bits=4)
        packets = [pack(derive(root, recipe)) for root in (before, after)]
        old, new = (measure(unpack(packet)[0], test).accuracy for packet in packets)
        place = "last exit" if exit_ is None else f"exit {exit_}"
        size = quantity(packets[1].num_bits, "bit")
        rows.append((f"{place}, 4 bit", size, percent(old), percent(new)))
    return _table(("Offered for download", "Packet", "Before", "Now"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"
        for tag, cells in [("th", head), *(("td", row) for row in rows)]
    ]
    return f"<table>{''.join(lines)}</table>"


def _digits_roots() -> Sequence[str]:
    return [name for name in _DIGITS if name in ROOTS]


def _units() -> list[tuple[str, str]]:
    first, second, third = UNITS
    return [
        (f"segments of {_SEGMENT_BYTES} B", first),
        (f"interleaved, {_SEGMENT_BYTES} B", second),
        ("layers", third),
    ]


def _strength() -> widgets.SelectionSlider:
    return slider("How unusual", (0.0, 0.25, 0.5, 0.75, 1.0), 0.75, lambda s: percent(s, 0))


def _share(keep: float) -> str:
    return percent(keep, 0)


def _bits(bits: float) -> str:
    return f"{bits:g} bit each"


def _sure(confidence: float) -> str:
    return "always asks" if confidence == 1.0 else f"{percent(confidence, 0)} sure"


def _price(price: float) -> str:
    return f"{100 * price:g} points a root"
