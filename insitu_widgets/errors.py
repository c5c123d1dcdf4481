"""The checks that every value from outside passes: a range, a choice, a type.

Each error names the field, what is allowed, what came and what to do.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

Number = TypeVar("Number", int, float)


def in_range(field: str, value: Number, low: float, high: float, unit: str = "") -> Number:
    """Return ``value`` if it is a number in [low, high]; where both are int, only an int will do.

    Raises
    ------
    ValueError
        Otherwise; a bool, a string or NaN is not a number in the range.
    """
    whole = isinstance(low, int) and isinstance(high, int)
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # NaN is in no range
        kind = "a whole number" if whole else "a number"
        suffix = f" {unit}" if unit else ""
        msg = (
            f"{field} must be {kind} from {low:g} to {high:g}{suffix}; got {value!r}. "
            f"Give a value in that range."
        )
        raise ValueError(msg)
    return value if isinstance(value, (int, float)) else type(low)(value)  # numpy's numbers too


def of_type(field: str, value: object, kind: type, remedy: str) -> None:
    """Check that ``value`` is a ``kind``.

    Raises
    ------
    TypeError
        Otherwise, with the remedy.
    """
    if not isinstance(value, kind):
        shown = f"{value!r:.60}" if isinstance(value, (str, int, float)) else type(value).__name__
        msg = f"{field} must be of type {kind.__name__}; got {shown}. {remedy}"
        raise TypeError(msg)


def one_of(field: str, value: object, allowed: Iterable[object]) -> None:
    """Check that ``value`` is one of ``allowed``.

    Raises
    ------
    ValueError
        Otherwise, naming the choices.
    """
    choices = list(allowed)
    alike = [c for c in choices if isinstance(value, type(c)) and not isinstance(value, bool)]
    if value not in alike:  # True is not 1, and 4.0 is not 4
        listed = ", ".join(str(choice) for choice in choices)
        msg = f"{field} must be one of {listed}; got {value!r}. Choose one of these."
        raise ValueError(msg)
