"""The paper's Fig. 3 as a panel: from the catalogue at once, measured anew on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ipywidgets as widgets

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer.course import fig3_figures as figures
from insitu_widgets.explorer.course.claims_table import claims_table
from insitu_widgets.explorer.live import missing_images
from insitu_widgets.explorer.panels import WORDS, Chart, Panel, Picture, choice, slider
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import load_finest, shipped
from insitu_widgets.network.fig3 import (
    COUNTS,
    KINDS,
    LEVELS,
    MIXED,
    PAPER_BITS,
    PAPER_RATE,
    claims,
    loss_at,
    spots,
)
from insitu_widgets.units import error_rate, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from insitu_widgets.data import ImageSet
    from insitu_widgets.network.catalogue import Measurement
    from insitu_widgets.network.fig3 import Spot

#: The root of the paper's experiment, and the one that is shown until it has been measured.
PAPERS_ROOT, ANOTHER = "resnet18-cifar100", "resnet-digits"
_RATES = (1e-5, 1e-4, PAPER_RATE, 1e-2)
#: Photographs for a point that is measured now.
FEW = 200
TITLES = {
    "depth": "Depth level: exits, float32",
    "parameter": "Parameter level: the largest weights, float32",
    "bit": "Bit level: k-bit codes, and mixed precision",
}
#: Measured now: size, accuracy and the ends of its interval, as shares.
Ring = tuple[float, float, float, float]


@dataclass(frozen=True)
class View:
    """What the panel's controls say."""

    root: str
    bit_error_rate: float
    count: str
    against: int

    def spots(self, kind: str, bit_error_rate: float = 0.0, guard: str = "none") -> Sequence[Spot]:
        """The catalogue's points of one kind of sub-model."""
        channel = bit_error_rate, guard
        catalogue = load_finest(self.root)
        return spots(catalogue, self.root, kind, channel, count=self.count, against=self.against)

    def all_spots(self, level: str) -> Sequence[Spot]:
        """The catalogue's points of one level without bit errors, of all its kinds."""
        return [spot for kind in KINDS[level] for spot in self.spots(kind)]


def fig3_panel() -> Panel:
    """Accuracy against sub-model size at three levels, and the paper's sentences beside numbers."""
    roots = shipped()
    counts = {"all bits of the packet": COUNTS[0], "parameters only (the paper's)": COUNTS[1]}
    against = {"the 4-bit model (the paper's)": PAPER_BITS, "the float32 root": 32}
    button = widgets.ToggleButton(
        description="Measure now",
        tooltip="Measure every point again, on this machine",
        layout={"width": "130px"},
    )
    return Panel(
        "Bytes on the air: the paper's Fig. 3",
        "Lines: the catalogue, measured before on test images (hover: how many, and draws); bars "
        "span the draws. Rings: measured now, one draw, 95 % interval of its images.",
        {
            "root": choice("Root model", roots, PAPERS_ROOT if PAPERS_ROOT in roots else ANOTHER),
            "bit_error_rate": slider("Bit-error rate", _RATES, PAPER_RATE, error_rate),
            "count": choice("Size counts", list(counts.items())),
            "against": choice("100 % of codes is", list(against.items())),
            "live": button,
        },
        _steps,
    )


def _steps(
    *, root: str, bit_error_rate: float, count: str, against: int, live: bool
) -> Iterator[Picture]:
    view = View(root, bit_error_rate, count, against)
    absent = missing_images(root) if live else ""
    note = f"<p>{absent}</p>" if absent else ""
    measuring = live and not absent
    charts = {level: _level(view, level, ()) for level in LEVELS}
    whole = {"receivers": _receivers(root, bit_error_rate)}
    yield Picture(
        charts | whole,
        note + _conditions(view) + _sentences(root),
        0.02 if measuring else 1.0,
        complete=(WORDS, *whole),  # they are of the catalogue; what is measured now are the rings
    )
    if measuring:
        rings: dict[str, list[Ring]] = {level: [] for level in LEVELS}
        for done, level, ring in _again(view):
            before = LEVELS[: LEVELS.index(level)]
            rings[level].append(ring)
            yield Picture({level: _level(view, level, rings[level])}, "", done, before)


def _again(view: View) -> Iterator[tuple[float, str, Ring]]:
    """Measure every point without errors and with each guard; first the share that is done."""
    from insitu_widgets.explorer.course.loaded import images_of, root_of  # noqa: PLC0415
    from insitu_widgets.network.sweep import jobs_of, measure  # noqa: PLC0415

    source, images = root_of(view.root), _few(images_of(view.root))
    channels = (0.0, view.bit_error_rate), GUARDS, (0,)
    sizes = {level: {s.row.recipe: s.size for s in view.all_spots(level)} for level in LEVELS}
    work = [(level, job) for level in LEVELS for job in jobs_of(list(sizes[level]), channels)]
    for done, (level, job) in enumerate(work, 1):
        for row in measure(job, images, source):
            estimate = Estimate(round(row.accuracy * row.images), row.images)
            ends = estimate.accuracy, estimate.low, estimate.high
            yield done / len(work), level, (sizes[level][row.recipe], *ends)


def _few(images: ImageSet) -> ImageSet:
    from insitu_widgets.data import balanced  # noqa: PLC0415

    photographs = images.images.shape[1] == 3
    return images.take(balanced(images.labels, FEW)) if photographs else images


def _level(view: View, level: str, rings: Sequence[Ring]) -> Chart:
    rate = view.bit_error_rate
    lines = {"no bit error": view.spots(level)}
    if level == "bit":
        lines[f"codes at {error_rate(rate)}"] = view.spots(level, rate)
        on = _other_images(view)
        lines[f"mixed, no bit error{on}"] = view.spots(MIXED)
        lines[f"mixed at {error_rate(rate)}{on}"] = view.spots(MIXED, rate)
    else:
        lines |= {f"guard {guard}": view.spots(level, rate, guard) for guard in GUARDS}
    short = level == "bit" and view.against == PAPER_BITS
    what = f"its {PAPER_BITS}-bit model" if short else "the float32 root"
    spec = figures.level({name: row for name, row in lines.items() if row}, what, rings)
    return Chart(TITLES[level], _said(view, level), spec)


def _other_images(view: View) -> str:
    """What a name adds if mixed codes were measured on other images than those of one width."""
    one, mixed = ({spot.row.images for spot in view.spots(kind)} for kind in KINDS["bit"])
    return "" if one == mixed else f" ({_numbers(mixed)} images)"


def _said(view: View, level: str) -> str:
    points = view.all_spots(level)
    if not points:
        return "Not measured yet."
    ends = ", ".join(
        f"{percent(spot.size)} of the size{' mixed' if spot.row.recipe.mixed else ''}: "
        f"{percent(spot.row.accuracy)}"
        for spot in points
    )
    catalogue, losses = load_finest(view.root), []
    names = {("bit", "none"): "", (MIXED, "none"): " mixed"}
    names |= {(level, guard): f" with guard {guard}" for guard in GUARDS if level != "bit"}
    for kind, guard in (key for key in names if key[0] in KINDS[level]):
        loss = loss_at(catalogue, view.root, kind, (view.bit_error_rate, guard))
        if loss is not None:
            losses.append(f"{100 * loss:.1f} points{names[kind, guard]}")
    at = error_rate(view.bit_error_rate)
    lost = f" Mean loss at {at}: {', '.join(losses)}." if losses else ""
    return f"{TITLES[level]}. Without bit errors, {ends}.{lost}"


def _conditions(view: View) -> str:
    """On how many images and draws each kind of sub-model was measured (HTML)."""
    said = []
    for kind in (kind for kinds in KINDS.values() for kind in kinds):
        guards = ("none",) if kind in KINDS["bit"] else GUARDS
        clean = view.spots(kind)
        noisy = [spot for guard in guards for spot in view.spots(kind, view.bit_error_rate, guard)]
        images = _numbers({spot.row.images for spot in (*clean, *noisy)})
        draws = _numbers({spot.row.seeds for spot in noisy})
        if images:
            said.append(f"{_KIND[kind]} {images} images" + (f", draws: {draws}" if draws else ""))
    return (
        f"<p>Measured on: {'; '.join(said)}. Accuracies on different images are shown side by "
        "side, but not subtracted.</p>"
        if said
        else ""
    )


_KIND = {"depth": "exits", "parameter": "largest weights", "bit": "codes", MIXED: "mixed precision"}


def _numbers(found: set[int]) -> str:
    return " and ".join(f"{number:,}" for number in sorted(found))


def _receivers(root: str, bit_error_rate: float) -> Chart:
    catalogue = load_finest(root)
    curves = {f"guard {guard}": catalogue.curve(Recipe(root), guard) for guard in GUARDS}
    curves["codes of 4 bit"] = catalogue.curve(Recipe(root, bits=PAPER_BITS), "none")
    known = {name: rows for name, rows in curves.items() if rows}
    said = "; ".join(f"{name}: {_rates_said(rows)}" for name, rows in known.items())
    spec = figures.receivers(known, bit_error_rate)
    return Chart("The whole root, float32 by guard, and as 4-bit codes", f"{said}.", spec)


def _rates_said(rows: Sequence[Measurement]) -> str:
    return ", ".join(f"{percent(r.accuracy)} at {error_rate(r.bit_error_rate)}" for r in rows)


def _sentences(root: str) -> str:
    return claims_table(claims(load_finest(root), root), f"measured: {root}")
