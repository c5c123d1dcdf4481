"""Recipe: what to cut out of a root, and the one key by which a sub-model is known.

Needs no torch. The order of combination is the paper's three levels (section 2, Fig. 1): depth,
then parameter, then bit; :func:`insitu_widgets.levels.derive.derive` carries it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import total_ordering
from numbers import Real
from typing import Self

from insitu_widgets.cards import NESTED_ROOTS, ROOTS, card_of
from insitu_widgets.errors import in_range, one_of

#: Bits a parameter may be sent with: k-bit integers, half precision, single precision.
BITS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)
#: The widest integer code; wider parameters are floats. A code of so few bits cannot leave its
#: range, so no receiver guard acts on it.
WIDEST_CODE = 8
#: What a mixed recipe may have as bits a weight on average: at 1 there is nothing to distribute.
MIXED_BITS = tuple(range(2, WIDEST_CODE + 1))
#: More exits than any network has blocks.
MOST_EXITS = 1000
_TEXT = re.compile(
    r"(?P<root>.+?) · (?:exit (?P<exit>\d+)|last exit)"
    r" · keep (?P<keep>\d+(?:\.\d+)?) % · (?P<bits>\d+) bit(?P<mixed> mixed)?"
    r"(?P<recalibrated> · recalibrated)?"
)


@total_ordering
@dataclass(frozen=True)
class Recipe:
    """Which sub-model to cut out of a root.

    Parameters
    ----------
    root
        The root's name.
    exit
        Exit 1 … n: keep the blocks up to it and its head (depth level, section 2.1). ``None`` is
        the last one, and the last exit of a shipped root is written ``None``, so that one
        sub-model has one key.
    keep
        Fraction of the weights kept, in (0, 1]: the largest in magnitude over the whole
        sub-model (parameter level, section 2.2).
    bits
        Bits for each weight: 1 … 8 (uniform, per channel), 16 or 32 (bit level, section 2.3).
    mixed
        Mixed precision (section 2.3, the paper's [11]): each layer has its own width, 1 … 8 bits,
        and ``bits`` (2 … 8) is what the weights that are kept take at most on average.
    recalibrated
        Batch norms with the statistics of the sub-model's own features
        (:mod:`insitu_widgets.levels.recalibrate`) instead of the whole root's.

    Raises
    ------
    ValueError
        Naming the field, what is allowed, what came and what to do.

    Examples
    --------
    >>> str(Recipe("resnet-digits", exit=3, keep=0.2, bits=4))
    'resnet-digits · exit 3 · keep 20 % · 4 bit'
    >>> str(Recipe("resnet-digits", exit=3, keep=0.2, bits=3, mixed=True))
    'resnet-digits · exit 3 · keep 20 % · 3 bit mixed'
    >>> str(Recipe("resnet-digits", keep=0.1, recalibrated=True))
    'resnet-digits · last exit · keep 10 % · 32 bit · recalibrated'
    """

    root: str
    exit: int | None = None
    keep: float = 1.0
    bits: int = 32
    mixed: bool = False
    recalibrated: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.root, str) or not self.root:
            msg = f"root must be a root's name; got {self.root!r}. Try one of {', '.join(ROOTS)}."
            raise ValueError(msg)
        one_of("bits", self.bits, BITS)
        for field in ("mixed", "recalibrated"):
            _check_flag(field, getattr(self, field))
        self._check_mixed()
        keep: object = self.keep
        number = isinstance(keep, Real) and not isinstance(keep, bool)
        if not number or not 0 < self.keep <= 1:
            msg = (
                f"keep must be a number above 0, up to 1; got {self.keep!r}. Give the share of the "
                f"weights to keep: 0.5 keeps 50 %."
            )
            raise ValueError(msg)
        card = card_of(self.root)
        if self.recalibrated and card and not card.has_batch_norms:
            msg = (
                f"recalibrated must be False for {self.root}; got True. It has layer norms, which "
                f"keep no statistics: there is nothing to recalibrate."
            )
            raise ValueError(msg)
        if self.exit is not None:
            last = card.num_exits if card else MOST_EXITS
            wanted: int | None = in_range(f"exit of {self.root}", self.exit, 1, last)
            object.__setattr__(self, "exit", None if card and wanted == last else wanted)
        object.__setattr__(self, "keep", float(self.keep))

    def _check_mixed(self) -> None:
        if self.mixed and self.bits not in MIXED_BITS:
            msg = (
                f"bits of a mixed recipe must be one of {', '.join(map(str, MIXED_BITS))}, the "
                f"average that its layers' widths of 1 to {WIDEST_CODE} bits keep; got "
                f"{self.bits}. Choose one of these, or one width for all layers: mixed=False."
            )
            raise ValueError(msg)

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits that a weight may have: :attr:`bits`, or any width of a code where it is mixed."""
        return tuple(range(1, WIDEST_CODE + 1)) if self.mixed else (self.bits,)

    def __lt__(self, other: Self) -> bool:
        if not isinstance(other, Recipe):
            return NotImplemented
        return self._order < other._order

    @property
    def _order(self) -> tuple[str, float, float, int, bool, bool]:
        depth = self.exit or float("inf")
        return (self.root, depth, self.keep, self.bits, self.mixed, self.recalibrated)

    def __str__(self) -> str:
        place = "last exit" if self.exit is None else f"exit {self.exit}"
        percent = (Decimal(repr(self.keep)) * 100).normalize()  # exact: the text is a key too
        width = f"{self.bits} bit{' mixed' if self.mixed else ''}"
        norms = " · recalibrated" if self.recalibrated else ""
        return f"{self.root} · {place} · keep {percent:f} % · {width}{norms}"

    @property
    def cut(self) -> str:
        """Its text without the root's name, but told where it is an all-in-one root's."""
        text = str(self).removeprefix(f"{self.root} · ")
        return f"all-in-one · {text}" if self.root in NESTED_ROOTS else text

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a recipe back from its ``str``.

        Raises
        ------
        ValueError
            If the text is not a recipe.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            msg = (
                f"recipe must read like 'resnet-digits · exit 3 · keep 20 % · 4 bit'; got "
                f"{text!r}. Copy one from str(recipe)."
            )
            raise ValueError(msg)
        place = match["exit"]
        return cls(
            match["root"],
            exit=None if place is None else int(place),
            keep=float(Decimal(match["keep"]) / 100),
            bits=int(match["bits"]),
            mixed=match["mixed"] is not None,
            recalibrated=match["recalibrated"] is not None,
        )


def _check_flag(field: str, value: object) -> None:
    if not isinstance(value, bool):
        msg = f"{field} must be True or False; got {value!r}. Give one of them."
        raise ValueError(msg)  # noqa: TRY004  (every bad field of a recipe is a ValueError)
