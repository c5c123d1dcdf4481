"""The panel of the root models, without a browser."""

import plotly.graph_objects as go
import pytest

from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer.course.roots_panels import roots_panel
from tests.conftest import DIGITS_ROOTS


def check(panel):
    assert panel.charts.errors == {}
    for chart in panel.charts.charts.values():
        go.Figure(chart["spec"])
        assert chart["text"].endswith(".")
    return panel.charts.charts


def test_it_measures_what_the_card_says():
    panel = roots_panel()
    for name in DIGITS_ROOTS:
        card = ROOTS[name]
        panel.controls["network"].value = name
        line = check(panel)["accuracy"]["spec"]["data"][0]
        assert line["x"] == list(card.exit_parameters)
        assert line["y"] == pytest.approx([100 * share for share in card.accuracy], abs=1e-3)
    panel.controls["axis"].value = "operations"
    assert check(panel)["accuracy"]["spec"]["data"][0]["x"][-1] == 12_288 + 6 * 2_617_728 + 1920
    assert panel.words.value.count("<tr>") == 7
