"""The table of Fig. 4's sentences, without a browser."""

from html import unescape

import pytest

from insitu_widgets.explorer.course.fig4_panels import fig4_panel
from insitu_widgets.network.fig4 import claims


@pytest.mark.parametrize("counting", ["paper", "exact"])
def test_it_shows_every_sentence_with_its_number_and_verdict(counting):
    panel = fig4_panel()
    panel.controls["counting"].value = counting
    assert not panel.running
    shown = unescape(panel.words.value)
    assert shown.count("<tr>") == 1 + len(claims(counting))
    assert f"<th>computed: {counting} counts</th>" in shown
    for each in claims(counting):
        for text in (each.sentence, each.number, each.verdict, each.why):
            assert f"<td>{text}</td>" in shown
