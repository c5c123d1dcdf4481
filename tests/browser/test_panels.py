"""A panel's figures on a page: each as wide as its card, and one message where it fails."""

import pytest

from tests.browser.conftest import serving_cell

SOURCE = """
from insitu_widgets.explorer.course.bits_figures import losses
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice

def steps(kind):
    if kind == "fails":
        raise ValueError("planted for a test")
    names = ["first"] if kind == "one" else ["first", "second"]
    curve = losses({"falling": [3.0, 2.0, 1.0]}, 3)
    yield Picture({name: Chart("Loss", "It falls.", curve) for name in names}, "<p>Done.</p>")

Panel("Two", "Planted.", {"kind": choice("Kind", ["one", "two", "fails"], "one")}, steps)
"""
WIDTHS = """() => [...document.querySelectorAll(".insitu-card")].map((card) => [
  card.clientWidth, card.querySelector(".main-svg").getBoundingClientRect().width])"""


@pytest.fixture
def panel(page, tmp_path):
    with serving_cell(SOURCE, tmp_path) as url:
        page.goto(url)
        page.wait_for_selector(".insitu-first .main-svg")
        yield page
        page.goto("about:blank")  # before its server goes


def test_a_figure_makes_room_for_one_that_comes_later(panel):
    ((whole, drawn),) = panel.evaluate(WIDTHS)
    assert whole / 2 < drawn <= whole
    panel.get_by_label("Kind").select_option("two")
    panel.wait_for_selector(".insitu-second .main-svg")
    panel.wait_for_timeout(500)
    for card, figure in panel.evaluate(WIDTHS):
        assert card < 0.6 * whole
        assert 0.8 * card < figure <= card


def test_what_failed_is_told_once(panel):
    panel.get_by_label("Kind").select_option("fails")
    panel.wait_for_selector(".insitu-words .insitu-notice")
    assert panel.inner_text(".insitu-panel").count("planted for a test") == 1
