"""The downlink–uplink trade-off (paper, section 2.1): which split is fastest for n images.

A deeper split takes longer to download and, where features shrink, less time to upload: what is
downloaded is paid once, what is uploaded is paid for every image. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from insitu_widgets.air.channel import Link
from insitu_widgets.errors import in_range, of_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from insitu_widgets.levels.split import Costs

MOST_FLOPS_PER_S = 1e20
MOST_IMAGES = 10**12
#: Modelled times that differ by less, as a share of the shorter one, are as good as equal.
EQUAL = 0.01


@dataclass(frozen=True)
class Terms:
    """How fast a device, a server and the links between them are.

    Parameters
    ----------
    device_flops_per_s, server_flops_per_s
        Operations a second that each sustains, above 0.
    downlink, uplink
        Server to device, and device to server.

    Raises
    ------
    ValueError
        For a speed out of its range.
    TypeError
        For something else than links.
    """

    device_flops_per_s: float
    server_flops_per_s: float
    downlink: Link
    uplink: Link

    def __post_init__(self) -> None:
        for name in ("device_flops_per_s", "server_flops_per_s"):
            in_range(name, getattr(self, name), 1.0, MOST_FLOPS_PER_S, "FLOP/s")
        for name in ("downlink", "uplink"):
            of_type(name, getattr(self, name), Link, f"Make one: {name}=Link(rate_bps).")


@dataclass(frozen=True)
class SplitTime:
    """Where the time goes at one split point: once for the download, the rest for each image."""

    point: int
    download_s: float
    device_s: float
    upload_s: float
    server_s: float

    @property
    def image_s(self) -> float:
        """Seconds for one image, after the download."""
        return self.device_s + self.upload_s + self.server_s

    def total_s(self, images: int) -> float:
        """Seconds from the request until the last of ``images`` images is classified, in turn."""
        return self.download_s + in_range("images", images, 1, MOST_IMAGES) * self.image_s


def split_times(
    terms: Terms, costs: Costs, download_bits: Sequence[int], upload_bits: Sequence[int]
) -> tuple[SplitTime, ...]:
    """The time at every split point.

    Parameters
    ----------
    terms
        Speeds and links.
    costs
        Counted operations of the network.
    download_bits, upload_bits
        Bits down once and up for one image, at split points 0 … n; where there are none, the
        link's delay is not paid either. The class that the server sends back is not counted.

    Raises
    ------
    ValueError
        If there is not one number of bits for each split point.
    """
    points = range(costs.last + 1)
    for name, given in (("download_bits", download_bits), ("upload_bits", upload_bits)):
        if len(given) != len(points):
            msg = (
                f"{name} must hold one number for each of the split points 0 to {costs.last}; got "
                f"{len(given)}. Give {len(points)}."
            )
            raise ValueError(msg)
    return tuple(
        SplitTime(
            point,
            _time_s(terms.downlink, download_bits[point]),
            costs.device_flops(point) / terms.device_flops_per_s,
            _time_s(terms.uplink, upload_bits[point]),
            costs.server_flops(point) / terms.server_flops_per_s,
        )
        for point in points
    )


def _time_s(link: Link, num_bits: int) -> float:
    return link.time_s(num_bits) if num_bits else 0.0


def best_split(times: Sequence[SplitTime], images: int) -> SplitTime:
    """The split that finishes ``images`` images first; of equals, the one nearest the server."""
    return min(times, key=lambda time: time.total_s(images))


def best_splits(times: Sequence[SplitTime], images: int) -> tuple[SplitTime, ...]:
    """The best split and those that are as good as equal to it (:data:`EQUAL`), by their place."""
    most_s = (1 + EQUAL) * best_split(times, images).total_s(images)
    return tuple(time for time in times if time.total_s(images) <= most_s)


def changes(times: Sequence[SplitTime], most_images: int) -> tuple[tuple[int, int], ...]:
    """Where the best split moves: (images from which on, split point), the first from 1 on.

    The total is a straight line in the number of images, so the best split follows the lower
    envelope of the lines: it only ever moves to one with less time an image.
    """
    in_range("images", most_images, 1, MOST_IMAGES)
    at, best = 1, best_split(times, 1)
    steps = [(at, best.point)]
    while True:
        quicker = [time for time in times if time.image_s < best.image_s]
        meets = [
            ((time.download_s - best.download_s) / (best.image_s - time.image_s), time)
            for time in quicker
        ]
        if not meets:
            return tuple(steps)
        crossing, following = min(meets, key=lambda pair: (pair[0], pair[1].image_s))
        at = max(at, int(crossing) + 1)
        if at > most_images:
            return tuple(steps)
        best = following
        if steps[-1][0] == at:  # between two whole numbers it moved more than once
            steps.pop()
        steps.append((at, best.point))


def exit_times_s(terms: Terms, costs: Costs, point: int, upload_bits: int) -> tuple[float, ...]:
    """Seconds until an image's answer at exit 1 … n, every head on its way having been asked.

    Exits up to ``point`` are on the device; behind it, the feature (at split point 0 the image)
    goes up, and the server goes on.
    """
    in_range("split point", point, 0, costs.last)
    before = costs.exit_flops(point) if point else 0
    up = before / terms.device_flops_per_s + terms.uplink.time_s(upload_bits)
    return tuple(
        costs.exit_flops(exit_) / terms.device_flops_per_s
        if exit_ <= point
        else up + (costs.exit_flops(exit_) - before) / terms.server_flops_per_s
        for exit_ in range(1, costs.last + 1)
    )
