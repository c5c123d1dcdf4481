"""What a threshold makes of a set of images (paper, section 2.1); needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from insitu_widgets.estimate import Estimate


@dataclass(frozen=True)
class Routing:
    """What a threshold makes of a set of images: where they leave, and how many are right.

    ``left[e - 1]`` images leave at exit e.
    """

    threshold: float
    left: tuple[int, ...]
    estimate: Estimate

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the images that leave at each exit."""
        return tuple(count / self.estimate.seen for count in self.left)

    def mean(self, costs: Sequence[float]) -> float:
        """Mean over the images of a cost by exit: operations, or seconds."""
        return sum(share * cost for share, cost in zip(self.shares, costs, strict=True))
