"""The handout, opened from a file: complete, interactive, offline, free of errors and barriers."""

import shutil
import subprocess
import sys

import pytest

from tests.browser.conftest import ROOT
from tests.browser.test_accessibility import violations

NAMES = ("00_start_here", "01_root_models", "07_rates", "dashboard")
#: Page -> its figures.
PAGES = {"index": 1, "01_root_models": 2, "07_rates": 1, "dashboard": 2, "glossary": 0}


@pytest.fixture(scope="module")
def handout(tmp_path_factory):
    notebooks, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("handout")
    for name in NAMES:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", notebooks)
    command = [sys.executable, "-m", "insitu_widgets.explorer.handout"]
    where = ["--notebooks", str(notebooks), "--out", str(out)]
    subprocess.run([*command, *where], cwd=ROOT, check=True, capture_output=True)
    assert {path.stem for path in out.glob("*.html")} == set(PAGES)
    return out


def open_page(page, handout, name):
    page.goto((handout / name).as_uri())
    page.wait_for_selector("[data-handout-ready]", state="attached")
    for summary in page.locator("summary").all():
        summary.click()


@pytest.mark.parametrize(("name", "figures"), PAGES.items())
def test_a_page_opens_from_a_file_with_all_its_figures(page, handout, name, figures):
    open_page(page, handout, f"{name}.html")
    plots = page.locator(".insitu-plot")
    assert plots.count() == figures
    assert page.locator(".insitu-plot.js-plotly-plot").count() == figures
    assert all(len(plot.get_attribute("aria-label")) > 20 for plot in plots.all())
    assert page.locator("h1").count() == 1
    assert page.locator("[aria-current=page]").count() == 1
    assert violations(page) == []


def test_links_lead_to_pages_that_are_there(handout, page):
    for path in sorted(handout.glob("*.html")):
        page.goto(path.as_uri())
        for link in page.locator("a[href]").all():
            target, _, anchor = link.get_attribute("href").partition("#")
            assert (handout / (target or path.name)).is_file(), (path.name, target)
            if target == "glossary.html" and anchor:
                assert f'id="{anchor}"' in (handout / target).read_text()
    assert "03_parameter_pruning_and_nesting.html" not in (handout / "index.html").read_text()


def test_a_question_stands_before_its_measured_panel(page, handout):
    page.goto((handout / "01_root_models.html").as_uri())
    assert page.locator("text=Predict first").is_visible()
    assert page.locator(".insitu-plot").first.is_hidden()
    page.locator("summary", has_text="written down").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".insitu-plot .main-svg")
    heights = page.evaluate("document.querySelector('.insitu-plot')._fullData[0].y")
    assert [round(height, 1) for height in heights][:2] == [44.5, 96.9]


def test_the_catalogue_answers_without_a_kernel(page, handout):
    open_page(page, handout, "dashboard.html")
    before = page.inner_text(".insitu-sentence")
    page.get_by_label("Situation").select_option("IoT sensor")
    page.get_by_label("Root model").select_option("vgg-digits")
    assert "vgg-digits" in page.inner_text(".insitu-sentence") != before
    text = page.locator("[data-chart=accuracy] .insitu-plot").get_attribute("aria-label")
    assert "vgg-digits" in text


def test_formulas_are_there_without_a_script(page, handout):
    open_page(page, handout, "07_rates.html")
    assert page.locator("math[display=block] mfrac").count() == 1
    assert "$" not in page.inner_text("main")
