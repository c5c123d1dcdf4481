"""Labels in human units."""

import pytest

from insitu_widgets.units import duration, error_rate, percent, quantity


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"),
        (0.1, "s", "100 ms"),
        (1.0, "s", "1 s"),
        (0.9999, "s", "1 s"),
        (2.5e6, "bit/s", "2.5 Mbit/s"),
        (3.15e4, "Hz", "31.5 kHz"),
        (1e15, "B", "1000 TB"),
        (5e-7, "s", "0.5 µs"),
    ],
)
def test_quantity(value, unit, text):
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1e-4, "10⁻⁴"), (2e-4, "2 × 10⁻⁴"), (0.1, "10⁻¹")]
)
def test_error_rate(value, text):
    assert error_rate(value) == text


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (0.0, "0 s"),
        (0.445, "445 ms"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (4720.0, "78.7 min"),
        (7200.0, "2 h"),
        (409e3, "4.73 d"),
        (16.1e6, "186 d"),
    ],
)
def test_a_long_time_is_told_in_minutes_hours_and_days(time_s, text):
    assert duration(time_s) == text


def test_percent():
    assert percent(0.9824) == "98.2 %"
    assert percent(0.2, 0) == "20 %"
