"""What happens on a device: answers, phases of downloads, swaps; and what it comes to.

Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

#: What happens to a packet on its way into service.
PHASES = ("receive", "unpack", "load", "warm")


@dataclass(frozen=True)
class Answer:
    """One frame, answered by one complete model.

    Attributes
    ----------
    frame : int
        Its number in the stream.
    due_s, answered_s : float
        When the camera took it and when its answer was there, since the stream began.
    accelerator, model : int
        Which accelerator answered, and with which model: 0 is the first, n the n-th download.
    label : int
        The answer, a class.
    confidence : float
        How sure the model was, in [0, 1].
    """

    frame: int
    due_s: float
    answered_s: float
    accelerator: int
    model: int
    label: int
    confidence: float


@dataclass(frozen=True)
class Phase:
    """One of :data:`PHASES` of a download; ``ends_s`` is now while it lasts."""

    name: str
    model: int
    accelerator: int
    begins_s: float
    ends_s: float


@dataclass(frozen=True)
class Swap:
    """What became of a download: whether it is in service, and what is to be said of it."""

    model: int
    switched: bool
    ends_s: float
    said: str


@dataclass(frozen=True)
class Log:
    """What has happened on a device until ``now_s``, or until its stream ended.

    ``asked`` frames have been taken by the camera; those in ``lost`` found its buffer full, or
    were left when the stream ended without a model.
    """

    now_s: float
    asked: int
    answers: tuple[Answer, ...]
    lost: tuple[int, ...]
    phases: tuple[Phase, ...]
    swaps: tuple[Swap, ...]

    @property
    def longest_gap_s(self) -> float:
        """The longest time without an answer."""
        times = [0.0, *(answer.answered_s for answer in self.answers), self.now_s]
        return max(b - a for a, b in pairwise(times))

    def seconds(self, *names: str) -> float:
        """How long these phases have taken, over all downloads."""
        return sum(p.ends_s - p.begins_s for p in self.phases if p.name in names)
