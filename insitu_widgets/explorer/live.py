"""The measured tier: bytes, bit errors and images, as a stream of steps.

Imports torch only when the first measurement is pulled, in the thread that pulls it.
"""

from __future__ import annotations

import base64
import gc
import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from insitu_widgets import cifar100
from insitu_widgets.cards import ROOTS, Card, card_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from insitu_widgets.air.payload import Packet, Report
    from insitu_widgets.data import ImageSet
    from insitu_widgets.estimate import Estimate
    from insitu_widgets.levels.recipe import Recipe
    from insitu_widgets.roots import Root

#: Seconds between two estimates that are shown (a page redraws at most ten times a second).
PAUSE_S = 0.1
#: Images in the strip, which make one row on a wide screen; fewer where classes are words.
STRIP, STRIP_WORDS = 20, 10
#: Values in the images of one step: some 0.1 s of the largest root, a hundred digits.
STEP_VALUES = 61_440
#: Images for each point of a curve that the catalogue lacks.
CURVE_IMAGES = 1000


def missing_images(root: str) -> str:
    """Why nothing can be measured live of a root on this machine, and the remedy; else empty."""
    data = _data_of(root)
    if data == "digits" or cifar100.find() is not None:
        return ""
    words = (
        f"The images of {data} are not on this machine, so nothing is measured here; what is "
        f"expected was measured before. To measure: {cifar100.FETCH} (170 MB, once)."
    )
    return f"{words} {cifar100.misnamed()}".strip()


def _data_of(root: str) -> str:
    """The image set of a shipped root, or of its all-in-one root."""
    card = card_of(root)
    assert card is not None
    return card.data


def measurable() -> list[str]:
    """The roots whose images are on this machine."""
    return [name for name in ROOTS if not missing_images(name)]


def left_out(roots: Iterable[str] | None = None) -> str:
    """Which of these roots (all) are not offered for want of their images, and the remedy."""
    names = ROOTS if roots is None else roots
    reasons = {name: reason for name in names if (reason := missing_images(name))}
    if not reasons:
        return ""
    return f"Not offered: {', '.join(reasons)}. {' '.join(dict.fromkeys(reasons.values()))}"


@dataclass(frozen=True)
class Request:
    """What is to be measured: two equal requests have one result."""

    recipe: Recipe
    bit_error_rate: float
    guard: str
    seed: int = 0
    sweep: bool = False


@dataclass(frozen=True)
class Delivery:
    """What crossed the link, and what the receiver made of it.

    ``bits`` are by purpose and ``flipped`` counts the body's bits that arrived turned over;
    ``seconds`` is how long deriving, packing, sending and unpacking took here.
    """

    num_bits: int
    bits: dict[str, int]
    flipped: int
    report: Report
    seconds: float


@dataclass(frozen=True)
class Answer:
    """One test image (a PNG as a ``data:`` address) with the sub-model's answer."""

    picture: str
    label: str
    answer: str


@dataclass(frozen=True)
class Point:
    """A point of accuracy against bit-error rate, measured once, now."""

    guard: str
    bit_error_rate: float
    estimate: Estimate


class Laboratory:
    """Loads roots and images once, and measures requests.

    Parameters
    ----------
    root, images
        A user's own root and its images, if there is one.
    """

    def __init__(self, root: Root | None = None, images: ImageSet | None = None) -> None:
        self.card = None if root is None or images is None else _card(root, images)
        self._roots: dict[str, Root] = {} if root is None else {root.name: root}
        self._own = images
        self._images: dict[str, ImageSet] = {}
        self._packet: tuple[Recipe, Packet] | None = None
        self._strips: dict[str, tuple[ImageSet, tuple[str, ...]]] = {}

    def num_images(self, root: str) -> int:
        """Images that a root is measured on."""
        from insitu_widgets.data import count_of  # noqa: PLC0415

        if self._own is not None and self._own_root(root):
            return len(self._own)
        return count_of(_data_of(root))

    def has_batch_norms(self, root: str) -> bool:
        """Whether a root has norms that can be recalibrated."""
        own = self._own_root(root)
        if own is not None:
            return any(True for name, _ in own.named_buffers() if name.endswith("running_mean"))
        card = card_of(root)
        return card is not None and card.has_batch_norms

    def steps(self, request: Request) -> Iterator[Delivery | tuple[Answer, ...] | Estimate | Point]:
        """Measure one request: the delivery, the strip, a stream of estimates, then any sweep.

        Where the images are not on this machine, the delivery is all; nothing is downloaded.
        """
        import torch  # noqa: PLC0415  (the cheap tier has been on the page for long)

        from insitu_widgets.air.channel import Link, transmit  # noqa: PLC0415
        from insitu_widgets.air.payload import unpack  # noqa: PLC0415
        from insitu_widgets.data import balanced  # noqa: PLC0415
        from insitu_widgets.evaluate import accuracy  # noqa: PLC0415

        torch.set_num_threads(1)  # a page is one of many kernels on its machine
        if not gc.get_freeze_count():  # else each full collection walks through all of torch, and
            gc.freeze()  # the page waits for a tenth of a second
        start = time.perf_counter()
        packet = self._sent(request.recipe)
        link = Link(1.0, bit_error_rate=request.bit_error_rate)
        arrived = transmit(packet, link, request.seed)
        own = self._own_root(request.recipe.root)
        submodel, report = unpack(arrived, request.guard, own)
        yield Delivery(
            packet.num_bits,
            packet.breakdown(),
            _turned_over(packet.body, arrived.body),
            report,
            time.perf_counter() - start,
        )
        if own is None and missing_images(request.recipe.root):
            return
        images = self._data(request.recipe.root)
        strip, pictures = self._strip(request.recipe.root)
        with torch.inference_mode():
            answers = submodel(strip.images).argmax(dim=1)
        yield tuple(
            Answer(picture, images.classes[label], images.classes[answer])
            for picture, label, answer in zip(
                pictures, strip.labels.tolist(), answers.tolist(), strict=True
            )
        )
        yield from _thinned(accuracy(submodel, images, _batch(images)))
        if request.sweep:
            few = len(images) <= CURVE_IMAGES
            some = images if few else images.take(balanced(images.labels, CURVE_IMAGES))
            yield from self._curve(request, packet, some)

    def _curve(self, request: Request, packet: Packet, images: ImageSet) -> Iterator[Point]:
        """Accuracy at every bit-error rate of the catalogue's grid, one channel draw each."""
        from insitu_widgets.air.channel import GUARDS, Link, transmit  # noqa: PLC0415
        from insitu_widgets.air.payload import unpack  # noqa: PLC0415
        from insitu_widgets.evaluate import accuracy  # noqa: PLC0415
        from insitu_widgets.network.grids import BIT_ERROR_RATES  # noqa: PLC0415

        own = self._own_root(request.recipe.root)
        for guard in (request.guard, *(guard for guard in GUARDS if guard != request.guard)):
            for error_rate in BIT_ERROR_RATES:
                arrived = transmit(packet, Link(1.0, bit_error_rate=error_rate), request.seed)
                model = unpack(arrived, guard, own)[0]
                *_, last = accuracy(model, images, _batch(images))
                yield Point(guard, error_rate, last)

    def _sent(self, recipe: Recipe) -> Packet:
        from insitu_widgets.air.payload import pack  # noqa: PLC0415
        from insitu_widgets.levels.derive import derive  # noqa: PLC0415

        if self._packet is None or self._packet[0] != recipe:
            images = self._own if self._own_root(recipe.root) else None
            self._packet = (recipe, pack(derive(self._root(recipe.root), recipe, images=images)))
        return self._packet[1]

    def _own_root(self, name: str) -> Root | None:
        return self._roots[name] if self.card is not None and name == self.card.name else None

    def _root(self, name: str) -> Root:
        from insitu_widgets.roots import load_root  # noqa: PLC0415

        if name not in self._roots:
            self._roots[name] = load_root(name)
        return self._roots[name]

    def _data(self, root: str) -> ImageSet:
        from insitu_widgets.data import load_data  # noqa: PLC0415

        if self._own is not None and self._own_root(root):
            return self._own
        name = _data_of(root)
        if name not in self._images:
            self._images[name] = load_data(name)
        return self._images[name]

    def _strip(self, root: str) -> tuple[ImageSet, tuple[str, ...]]:
        from insitu_widgets.data import balanced  # noqa: PLC0415

        if root not in self._strips:
            images = self._data(root)
            count = STRIP if all(len(name) <= 2 for name in images.classes) else STRIP_WORDS
            each = balanced(images.labels, min(len(images), max(count, len(images.classes))))
            strip = images.take(each[:: max(1, len(each) // count)][:count])
            self._strips[root] = (strip, tuple(picture(image) for image in strip.images))
        return self._strips[root]


def _card(root: Root, images: ImageSet) -> Card:
    """A card for a user's own root; what its exits achieve is not known."""
    from insitu_widgets.levels.derive import derive  # noqa: PLC0415
    from insitu_widgets.levels.recipe import Recipe  # noqa: PLC0415

    cuts = [derive(root, Recipe(root.name, number)) for number in range(1, root.num_exits + 1)]
    return Card(
        root.name,
        family="own",
        data="own",
        classes=len(images.classes),
        parameters=root.num_parameters,
        exit_parameters=tuple(cut.num_parameters for cut in cuts),
        accuracy=(float("nan"),) * root.num_exits,
    )


def _batch(images: ImageSet) -> int:
    """Images a step, so that a step is short whatever their size."""
    return max(1, min(100, STEP_VALUES // images.images[0].numel()))


def _thinned(estimates: Iterator[Estimate]) -> Iterator[Estimate]:
    """The first estimate, then one every :data:`PAUSE_S`, and the last."""
    shown, last = -PAUSE_S, None
    for estimate in estimates:
        last = estimate
        if time.perf_counter() - shown >= PAUSE_S:
            shown, last = time.perf_counter(), None
            yield estimate
        # A request that has been overtaken is dropped between two steps; this one is a step.
    if last is not None:
        yield last


def _turned_over(sent: bytes, arrived: bytes) -> int:
    import numpy as np  # noqa: PLC0415

    if sent is arrived:
        return 0
    difference = np.frombuffer(sent, np.uint8) ^ np.frombuffer(arrived, np.uint8)
    return int(np.bitwise_count(difference).sum())


def picture(image: Tensor) -> str:
    """An image ``[C, H, W]`` (one or three channels) as a PNG in a ``data:`` address."""
    from PIL import Image  # noqa: PLC0415

    low, high = image.min(), image.max()
    levels = (255 * (image - low) / (high - low).clamp(min=1e-6)).round().byte()
    array = levels.permute(1, 2, 0).squeeze(-1).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
