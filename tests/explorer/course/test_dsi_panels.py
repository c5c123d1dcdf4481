"""The panel of devices' messages: edited, answered, refused; one malformed harms no other."""

import json

import plotly.graph_objects as go
import pytest

from insitu_widgets import PRESETS
from insitu_widgets.explorer.course.dsi_panels import _WRONG, dsi_panel


@pytest.fixture(scope="module")
def panel():
    return dsi_panel()


def shown(panel):
    assert panel.charts.errors == {}
    spec = panel.charts.charts["arrivals"]["spec"]
    go.Figure(spec)
    return set(spec["data"][0]["y"])


@pytest.mark.parametrize("wrong", _WRONG)
def test_one_malformed_message_is_refused_with_its_reason_and_harms_no_other(panel, wrong):
    panel.controls["wrong"].value = wrong
    assert shown(panel) == {"yours", *PRESETS}
    assert "7 messages, 1 refused; 0 of the other answers differ" in panel.words.value
    assert "must be" in panel.words.value


def test_an_edited_message_is_answered_or_refused(panel):
    edited = json.loads(panel.controls["message"].value)
    for memory, sentence in ((-1, "refused. memory_bytes must be"), (1e3, "nothing fits")):
        edited["memory_bytes"] = memory
        panel.controls["message"].value = json.dumps(edited)
        assert sentence in panel.words.value
        assert "yours" not in shown(panel)
    panel.controls["message"].value = "<b>hello"
    assert "must be JSON" in panel.words.value
    assert "<b>hello" not in panel.words.value
    panel.children[1].children[0].value = "Car"
    assert "Your message: answered with" in panel.words.value
    assert shown(panel) == {"yours", *PRESETS}
