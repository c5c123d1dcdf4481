"""An audit with axe-core: no serious or critical violation on any kind of page; all by keyboard."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import ROOT, serving

SEVERE = {"serious", "critical"}
#: axe fetches style sheets once more, which a page from a file may not.
OPTIONS = {"preload": False}


def violations(page):
    found = Axe().run(page, options=OPTIONS).response
    assert found["passes"]  # it did look
    return [
        (each["id"], node["target"], node["failureSummary"])
        for each in found["violations"]
        if each["impact"] in SEVERE
        for node in each["nodes"]
    ]


@pytest.fixture(scope="module")
def course_url(tmp_path_factory):
    notebook = ROOT / "notebooks" / "01_root_models.ipynb"
    with serving(notebook, tmp_path_factory.mktemp("course") / "log") as url:
        yield url


def wait_for_names(page):
    """Sliders get their names when they are there; the page looks for them every three seconds."""
    page.wait_for_function(
        "[...document.querySelectorAll('.noUi-handle')].every(h => h.hasAttribute('aria-label'))"
    )


def test_the_audit_finds_what_is_wrong(page):
    page.set_content("<html><body><img src='data:,'><p style='color: #ccc'>pale</p></body></html>")
    assert {"image-alt", "color-contrast"} <= {name for name, _, _ in violations(page)}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_dashboard(page, voila_server, theme):
    page.goto(voila_server)
    page.wait_for_function("document.body?.dataset.insituReady === 'yes'")
    page.wait_for_selector(".insitu-errors .main-svg")
    page.locator(".insitu-theme select").select_option(label=theme)
    page.wait_for_function(
        "dark => document.body.classList.contains('insitu-dark') === dark", arg=theme == "dark"
    )
    page.wait_for_function("!document.querySelector('.insitu-tile progress, .insitu-stale')")
    wait_for_names(page)
    assert violations(page) == []


def test_a_course_notebook_by_keyboard_before_and_after_a_prediction(page, course_url):
    page.goto(course_url)
    page.locator(".insitu-commit").wait_for()
    wait_for_names(page)
    assert violations(page) == []
    assert page.locator(".insitu-accuracy").is_hidden()
    assert page.get_by_label("Network").is_disabled()
    handles = page.locator(".insitu-points .noUi-handle")
    assert handles.count() == 6
    assert handles.first.get_attribute("aria-label") == "Exit 1"
    handles.first.focus()
    page.keyboard.press("ArrowDown")
    for _ in range(12):  # six values that can be typed, five other points, the button
        page.keyboard.press("Tab")
    assert "Lock in" in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('.insitu-verdict').innerText.includes('Measured: 44.5')"
    )
    page.wait_for_selector(".insitu-accuracy .main-svg")
    assert "Measured: 44.5" in page.locator(".insitu-prediction .insitu-plot").get_attribute(
        "aria-label"
    )
    page.wait_for_function("!document.querySelector('.insitu-stale')")
    assert page.get_by_label("Network").is_enabled()
    assert violations(page) == []


def test_a_course_notebook_grows_with_the_projector(page, course_url):
    """Text, controls and the figures' letters together; on a laptop they stay as they are."""
    page.goto(course_url)
    page.locator(".insitu-commit").wait_for()
    texts = (".jp-RenderedMarkdown p", ".insitu-ask", ".insitu-provenance", ".insitu-knobs select")

    def zooms():
        zoom = "element => element.currentCSSZoom"
        return [page.locator(text).first.evaluate(zoom) for text in texts]

    assert zooms() == pytest.approx([1.0] * 4)
    page.set_viewport_size({"width": 1920, "height": 1080})
    assert zooms() == pytest.approx([1.3] * 4)
