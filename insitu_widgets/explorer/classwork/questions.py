"""Questions that a panel asks before its controls unlock, and how it answers them itself.

A question is asked with a number, with a choice, or with a curve that is drawn by its points; the
panel's own figures, once complete with the question's settings, hold the measurement.
:data:`QUESTIONS` are the course's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from insitu_widgets.errors import in_range, one_of

#: A number, an option's text, or a curve's values.
Value = float | str | tuple[float, ...]
#: Reads a measurement out of a panel's figures (name -> {title, text, spec}); ``None``: not there.
Reads = Callable[[Mapping[str, Mapping[str, Any]]], Value | None]


@dataclass(frozen=True)
class Question:
    """What is to be predicted.

    Parameters
    ----------
    name
        Its key in the files of answers.
    text
        The question, in one or two sentences.
    reads
        Reads the measurement out of the figures.
    settings
        Control (or field of the situation) -> value, where the measurement is made.
    options
        Texts to choose from; a choice has two at least.
    ticks
        Places of a curve's points, as the axis says them; a curve has two at least.
    x_title
        The curve's axis, with its unit.
    y_title
        What is predicted, with its unit.
    low, high
        Range of a number or of a curve's points.
    unit
        Of the number; an error in per cent is one in points.
    found
        How the panel finds the answer, as the verdict says it: ``"Measured"`` or ``"Modelled"``.
    """

    name: str
    text: str
    reads: Reads
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    ticks: tuple[str, ...] = ()
    x_title: str = ""
    y_title: str = "Accuracy (%)"
    low: float = 0.0
    high: float = 100.0
    unit: str = "%"
    found: str = "Measured"

    @property
    def kind(self) -> str:
        """``"choice"``, ``"curve"`` or ``"number"``."""
        return "choice" if self.options else "curve" if self.ticks else "number"

    def checked(self, value: Any, what: str = "prediction") -> Value:
        """``value`` as a prediction or a measurement of this question.

        Raises
        ------
        ValueError
            If it is of another kind, out of range, or has another number of points.
        """
        where = f"{what} of {self.name}"
        if self.kind == "choice":
            one_of(where, value, self.options)
            return str(value)
        if self.kind == "number":
            return float(in_range(where, value, self.low, self.high, self.unit))
        whole = isinstance(value, Sequence) and not isinstance(value, str)
        if not whole or len(value) != len(self.ticks):
            msg = f"{where} must have {len(self.ticks)} points; got {value!r:.60}. Draw them all."
            raise ValueError(msg)
        return tuple(float(in_range(where, each, self.low, self.high, self.unit)) for each in value)

    def error(self, predicted: Value, measured: Value) -> float:
        """How far off: a difference, a curve's mean difference; a choice is off by 0 or 1."""
        if isinstance(predicted, str) or isinstance(measured, str):
            return float(predicted != measured)
        pairs = zip(_points(predicted), _points(measured), strict=True)
        differences = [abs(one - other) for one, other in pairs]
        return sum(differences) / len(differences)

    def said(self, value: Value) -> str:
        """A value in words."""
        if isinstance(value, str):
            return value
        return ", ".join(f"{each:.1f}" for each in _points(value)) + f" {self.unit}".rstrip()

    def verdict(self, predicted: Value, measured: Value) -> str:
        """How far off, in words."""
        off = self.error(predicted, measured)
        if self.kind == "choice":
            return "Not that one." if off else "Right."
        unit = "points" if self.unit == "%" else self.unit
        return f"Off by {off:.1f} {unit}{' on average' if self.kind == 'curve' else ''}."


def _points(value: Value) -> tuple[float, ...]:
    assert not isinstance(value, str)
    return value if isinstance(value, tuple) else (value,)


def heights(chart: str, trace: str) -> Reads:
    """Reads all heights of a figure's line."""

    def read(charts: Mapping[str, Mapping[str, Any]]) -> Value | None:
        lines = charts[chart]["spec"]["data"] if chart in charts else []
        found = next((line for line in lines if line.get("name") == trace), None)
        return tuple(map(float, found["y"])) if found and found["y"] else None

    return read


def height(chart: str, trace: str, place: int = -1) -> Reads:
    """Reads one height of a figure's line: its last, or the one at ``place``."""
    whole = heights(chart, trace)

    def read(charts: Mapping[str, Mapping[str, Any]]) -> Value | None:
        found = whole(charts)
        return found[place] if isinstance(found, tuple) and len(found) > max(place, 0) else None

    return read


def marked(chart: str, name: str) -> Reads:
    """Reads the height of what a figure draws as a shape of that name."""

    def read(charts: Mapping[str, Mapping[str, Any]]) -> Value | None:
        shapes = charts[chart]["spec"]["layout"].get("shapes", []) if chart in charts else []
        found = next((shape for shape in shapes if shape.get("name") == name), None)
        return float(found["yanchor"]) if found else None

    return read


def starred(chart: str, word: str) -> Reads:
    """Reads the place that a figure marks with a star, as ``word`` and its number."""

    def read(charts: Mapping[str, Mapping[str, Any]]) -> Value | None:
        notes = charts[chart]["spec"]["layout"].get("annotations", []) if chart in charts else []
        found = next((note for note in notes if note["text"].startswith("★")), None)
        return f"{word} {found['x']}" if found else None

    return read


_ASKED = (
    Question(
        "exits-of-the-vgg",
        "vgg-digits has an exit after each of its six blocks. How accurate is it on test images, "
        "cut at each exit? Draw the curve.",
        heights("accuracy", "exit"),
        {"network": "vgg-digits", "axis": "parameters"},
        ticks=tuple(str(exit_) for exit_ in range(1, 7)),
        x_title="Exit",
    ),
    Question(
        "best-cut",
        "resnet-digits is to classify 10 images, on a device at 10 GFLOP/s, with 1 Mbit/s down "
        "and 100 kbit/s up. After which block is the cut that takes the least time in all?",
        starred("times", "block"),
        {"network": "resnet-digits", "least": 1, "device": 1e10, "server": 1e12, "downlink": 1e6,
         "uplink": 1e5, "count": 10, "feature_bits": 4, "keep": 1.0, "bits": 4},
        options=tuple(f"block {block}" for block in range(1, 7)),
        y_title="Split point",
        found="Modelled",
    ),
    Question(
        "two-bits",
        "vgg-digits is 98.9 % accurate. What remains when each weight is rounded to 2 bits, with "
        "one step for each channel?",
        height("size", "symmetric, per channel", 1),
        {"root": "vgg-digits", "quantiser": "symmetric, per channel", "bits": 2},
    ),
    Question(
        "naked-floats",
        "All 32-bit floats of resnet-digits are sent, and one bit in ten thousand is turned over; "
        "the receiver has no guard. How accurate is what arrives?",
        marked("accuracy", "measured"),
        {"root": "resnet-digits", "guard": "none", "bit_error_rate": 1e-4, "latency_s": 10.0,
         "bandwidth_hz": 1e7, "memory_bytes": 1e9,
         "recipe": "resnet-digits · last exit · keep 100 % · 32 bit"},
    ),
)  # fmt: skip
#: Name -> question, in the order of the course.
QUESTIONS: Mapping[str, Question] = MappingProxyType({each.name: each for each in _ASKED})
