"""An accuracy with its interval. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from insitu_widgets.errors import in_range

#: Normal quantile of a 95 % interval.
Z_95 = 1.959964


def paired_interval(gained: float, lost: float, seen: int) -> tuple[float, float, float]:
    """Accuracy that one network gains on another over the same images, with its 95 % interval.

    Parameters
    ----------
    gained, lost
        Images that it alone answers rightly, and that the other one alone does.
    seen
        Images, at least 1. The interval is normal.
    """
    middle = (gained - lost) / seen
    half = Z_95 * (((gained + lost) / seen - middle**2) / seen) ** 0.5
    return middle, middle - half, middle + half


@dataclass(frozen=True)
class Estimate:
    """Accuracy after ``seen`` images of which ``correct`` were right.

    ``low`` and ``high`` are Wilson's 95 % interval (E. B. Wilson, JASA 22, 1927): what the seen
    images say of images like them.
    """

    correct: int
    seen: int

    def __post_init__(self) -> None:
        in_range("seen", self.seen, 0, 10**18, "images")
        in_range("correct", self.correct, 0, self.seen, "images")

    @property
    def accuracy(self) -> float:
        """Share of right answers; 0 before the first image."""
        return self.correct / self.seen if self.seen else 0.0

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self._wilson()[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self._wilson()[1]

    def _wilson(self) -> tuple[float, float]:
        if self.seen == 0:
            return 0.0, 1.0
        share, z2 = self.accuracy, Z_95**2
        centre = (share + z2 / (2 * self.seen)) / (1 + z2 / self.seen)
        spread = share * (1 - share) / self.seen + z2 / (4 * self.seen**2)
        half = Z_95 * spread**0.5 / (1 + z2 / self.seen)
        # The ends meet the share where all or none are right, but for a rounding error.
        return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
