"""Menus: which sub-models a service offers, and a fast :func:`choose`. Needs no torch."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from insitu_widgets.errors import in_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from insitu_widgets.levels.recipe import Recipe
    from insitu_widgets.network.catalogue import Measurement


class Staircase:
    """What :func:`~insitu_widgets.choose` answers at one bit-error rate and guard, by size alone.

    Of all candidates only those matter that are more accurate than every smaller one; among these
    the largest that fits is the choice. A test holds that both agree.

    Attributes
    ----------
    sizes : list[int]
        Bits, ascending.
    rows : list[Measurement]
        The candidates of these sizes, of ascending accuracy.
    """

    def __init__(self, rows: Iterable[Measurement]) -> None:
        self.rows: list[Measurement] = []
        for row in sorted(rows, key=lambda row: (row.num_bits, -row.accuracy)):
            if not self.rows or row.accuracy > self.rows[-1].accuracy:
                self.rows.append(row)
        self.sizes = [row.num_bits for row in self.rows]
        self.accuracies = [row.accuracy for row in self.rows]

    def best(self, num_bits: float) -> int:
        """Place of the most accurate candidate of at most ``num_bits`` bits; -1 if none is."""
        return bisect_right(self.sizes, num_bits) - 1

    def worth(self, num_bits: float, price_per_bit: float) -> int:
        """Place of the candidate of at most ``num_bits`` bits that is worth most after its price.

        -1 where none is worth its price, in accuracy a bit.
        """
        best, most = -1, 0.0
        for place in range(self.best(num_bits) + 1):
            value = self.accuracies[place] - price_per_bit * self.sizes[place]
            if value > most:
                best, most = place, value
        return best


def best_sizes(
    limits: NDArray[np.float64],
    rows: Sequence[Sequence[Measurement]],
    count: int,
    least_accuracy: float = 0.0,
) -> tuple[Recipe, ...]:
    """The few recipes that serve many devices best, taken one by one, each for the greatest gain.

    Parameters
    ----------
    limits
        float ``[groups, devices]``: the most bits that each device can take, by group.
    rows
        For each group (a bit-error rate and a guard) the same recipes as measured there.
    count
        How many recipes, at least 1.
    least_accuracy
        Less than this is of no use to a device.

    Returns
    -------
    tuple[Recipe, …]
        In the order in which they were taken; fewer than ``count`` where no other adds anything.

    Raises
    ------
    ValueError
        If there is nothing to choose from.
    """
    in_range("count", count, 1, 10_000)
    if not rows or not rows[0]:
        msg = "rows must hold at least one measurement; got none. Give a catalogue's rows."
        raise ValueError(msg)
    sizes = np.array([row.num_bits for row in rows[0]])
    merits = np.array([[row.accuracy for row in group] for group in rows])
    merits[merits < least_accuracy] = 0.0
    gets = np.where(sizes <= limits[:, :, None], merits[:, None, :], 0.0)
    gets = gets.reshape(-1, sizes.size)  # [groups * devices, recipes]
    had = np.zeros(len(gets))
    taken: list[int] = []
    for _ in range(count):
        totals = np.maximum(gets, had[:, None]).sum(0)
        best = int(totals.argmax())
        if taken and totals[best] <= had.sum() + 1e-9:
            break
        taken.append(best)
        had = np.maximum(had, gets[:, best])
    return tuple(rows[0][i].recipe for i in taken)
