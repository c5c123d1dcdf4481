"""Human units for labels: SI inside, prefixes outside."""

from __future__ import annotations

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
_LONG = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """A value with the prefix that suits it: ``quantity(2.5e6, "bit/s")`` is ``'2.5 Mbit/s'``."""
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0.0:
        return f"0 {unit}"
    scale, prefix = next(
        ((s, p) for s, p in _PREFIXES if abs(rounded) >= s * (1 - 1e-12)), _PREFIXES[-1]
    )
    return f"{float(f'{rounded / scale:.{digits}g}'):g} {prefix}{unit}"


def time_unit(longest_s: float) -> tuple[float, str]:
    """The unit in which times up to the longest are read, in seconds, and its symbol.

    From two minutes on minutes, from two hours on hours, from two days on days.
    """
    return next(((unit, name) for unit, name in _LONG if longest_s >= 2 * unit), (1.0, "s"))


def duration(time_s: float, digits: int = 3) -> str:
    """A time in the unit that suits it: ``duration(409e3)`` is ``'4.73 d'``, not kiloseconds."""
    unit, name = time_unit(time_s)
    if name == "s":
        return quantity(time_s, name, digits)
    return f"{float(f'{time_s / unit:.{digits}g}'):g} {name}"


def percent(share: float, digits: int = 1) -> str:
    """A share in per cent."""
    return f"{100 * share:.{digits}f} %"


def error_rate(value: float) -> str:
    """A bit-error rate: ``'0'``, or ``'2 × 10⁻⁴'``."""
    if value == 0.0:
        return "0"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    factor = f"{float(mantissa):g}"
    return power if factor == "1" else f"{factor} × {power}"
