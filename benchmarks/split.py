"""Split inference: two halves beside the whole network, and what the uplink adds."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.packet import side_by_side
from benchmarks.table import DIGITS_ROOTS, Row
from insitu_widgets import ROOTS, Link, Root, load_data, load_root
from insitu_widgets.levels.confidence import answer
from insitu_widgets.levels.split import split
from insitu_widgets.network.split import Cooperation, Uplink

BATCH = 100
LINK = Link(1e6, bit_error_rate=1e-3)
FEATURE_BITS = 4


def run(*, quick: bool) -> Iterator[Row]:
    """Every root, cut in its middle, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = 5 if quick else 25
    try:
        for name in DIGITS_ROOTS:
            root = load_root(name)
            yield _halves(root, times)
            yield _with_uplink(root, times)
            yield _exits(root, 3 if quick else 9)
    finally:
        torch.set_num_threads(threads)


def _whole(root: Root, images: torch.Tensor) -> Callable[[], object]:
    def forward() -> object:
        with torch.inference_mode():
            return root(images)

    return forward


def _halves(root: Root, times: int) -> Row:
    """The floor is the same network, not divided."""
    point = root.num_exits // 2
    halves, images = split(root, point), load_data(ROOTS[root.name].data, limit=BATCH).images
    whole = _whole(root, images)

    def ours() -> object:
        with torch.inference_mode():
            return halves.server(halves.device(images))

    what = f"device half + server half at split {point}, {BATCH} images, against the whole"
    wrong = "" if torch.equal(ours(), whole()) else "the halves do not make the whole"  # type: ignore[arg-type]
    row = side_by_side(f"{what} network (floor 1): {root.name}", ours, lambda: whole, times)
    return Row(row.what, row.figure, wrong=wrong)


def _with_uplink(root: Root, times: int) -> Row:
    """Packing, sending with bit errors and unpacking the features comes on top."""
    point = root.num_exits // 2
    images = load_data(ROOTS[root.name].data, limit=BATCH).images
    uplink = Uplink(FEATURE_BITS, LINK, np.random.default_rng(0))
    together = Cooperation(split(root, point), uplink)

    def ours() -> object:
        with torch.inference_mode():
            return together(images)

    what = f"the same with {FEATURE_BITS}-bit features over an uplink at BER 1e-3"
    return side_by_side(f"{what} (floor 1): {root.name}", ours, lambda: _whole(root, images), times)


def _exits(root: Root, times: int) -> Row:
    """All exits' confidences from one pass; the floor is one pass to the last exit."""
    images = load_data(ROOTS[root.name].data, limit=4 * BATCH)

    def peer() -> None:
        with torch.inference_mode():
            for part in images.images.split(2 * BATCH):
                root(part)

    what = f"answers of all exits on {len(images)} images against one forward pass"
    ours = lambda: answer(root.exits, images)  # noqa: E731
    return side_by_side(f"{what} (floor 1): {root.name}", ours, lambda: peer, times)
