"""Bars: every bit and every second is somewhere in them."""

import re
from dataclasses import replace

import pytest

from insitu_widgets.explorer import bars
from insitu_widgets.explorer.state import Explorer
from insitu_widgets.network.situation import PRESETS, Situation


def widths(html):
    return [float(width) for width in re.findall(r"width:([\d.]+)%", html)]


@pytest.fixture(scope="module")
def explorer():
    return Explorer(PRESETS["Car"])


def test_the_parts_are_the_packets_own(explorer):
    html = bars.bits_bar(explorer.delivery, None)
    bits = [int(count) for count in re.findall(r'data-bits="(\d+)"', html)]
    assert sum(bits) == explorer.delivery.num_bits
    assert sum(widths(html)) == pytest.approx(100, abs=0.01)
    assert set(explorer.delivery.bits) <= set(bars.PURPOSES)


def test_before_anything_is_sent_only_the_size_is_said():
    html = bars.bits_bar(None, 8_000_000)
    assert "1 MB in all" in html
    assert "data-bits" not in html


def test_in_time_and_too_late():
    situation = Situation(bandwidth_hz=1e6, spectral_efficiency_bps_hz=1.0, latency_s=1.0)
    early = bars.time_line(situation, 500_000)
    assert "too late" not in early
    assert sum(widths(early)) == pytest.approx(
        100 * situation.link.time_s(500_000) / 1.04, abs=0.01
    )
    late = bars.time_line(replace(situation, latency_s=0.1), 855_000_000)
    assert "too late" in late
    times = replace(situation, latency_s=0.1).link.time_s(855_000_000) / 0.1
    assert f"{times:,.0f} × the budget" in late
    assert sum(widths(late)) == pytest.approx(100 / 1.04, abs=0.01)


def test_nothing_is_sent_and_nothing_is_promised():
    html = bars.bits_and_time(Situation(), None, None, nothing=True)
    assert "Nothing is sent." in html
    assert "known once" not in html
    assert bars.picture(Situation(), None, None)["data"] == []


def test_a_size_that_is_not_known_yet_is_not_nothing():
    html = bars.bits_and_time(Situation(), None, None)
    assert "Nothing is sent" not in html
    assert html.count("known once") == 2
    assert "What the bits are for" in html
