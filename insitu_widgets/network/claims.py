"""A sentence of the paper beside a number of ours, and the four verdicts. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HOLDS, PARTLY, FAILS, OPEN = "holds", "in part", "does not hold", "not measured"


@dataclass(frozen=True)
class Claim:
    """A sentence of section 4, our number, whether it holds, and why (not)."""

    sentence: str
    number: str
    verdict: str
    why: str


def verdict(good: Sequence[bool]) -> str:
    """What follows from the parts of a sentence, each true or not; of no part, nothing."""
    if not good:
        return OPEN
    return HOLDS if all(good) else PARTLY if any(good) else FAILS
