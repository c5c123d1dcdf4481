"""Human units for labels: SI inside, prefixes outside."""

from __future__ import annotations

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
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
