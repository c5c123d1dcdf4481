"""The dashboard in JupyterLab, whose panels leave it less room, and whose address is its own."""

import os
import shutil
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from insitu_widgets import serve
from tests.browser.conftest import ROOT

#: How far each part of the page reaches to the right, beside the cell that it is in.
REACH = """() => {
    const right = (selector) => document.querySelector(selector).getBoundingClientRect().right;
    const parts = [".insitu-head", ".insitu-charts", ".insitu-strip .insitu-image:last-child"];
    return parts.map((part) => right(part) - right(".jp-Cell:has(.insitu) .jp-Cell-outputWrapper"));
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab with the dashboard's notebook."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "notebooks" / "dashboard.ipynb", folder)
    port = serve._free_port()
    options = [f"--port={port}", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token="]
    own = {
        f"JUPYTER{name}_DIR": str(folder) for name in ("_CONFIG", "LAB_WORKSPACES", "LAB_SETTINGS")
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *options],
            cwd=folder, env={**os.environ, **own}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://{serve.HOST}:{port}/lab"
    try:
        while True:
            try:
                urlopen(url).close()
                break
            except URLError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_the_dashboard_keeps_within_its_cell_and_tells_its_state_as_code(browser, lab):
    thrown = []
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: thrown.append(str(error)))
    page.goto(f"{lab}/tree/dashboard.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.locator(".insitu-accuracy .js-plotly-plot").wait_for()
    page.locator(".insitu-strip .insitu-image").nth(19).wait_for()
    assert max(page.evaluate(REACH)) <= 0, "beside the list of files"
    page.keyboard.press("Control+b")
    page.locator(".jp-DirListing").wait_for(state="hidden")
    assert max(page.evaluate(REACH)) <= 0
    page.locator(".insitu-latency_s .noUi-handle").press("ArrowRight")
    page.get_by_text("This state as code").click()
    page.locator(".insitu-call pre", has_text="dashboard(from_query(").wait_for()
    assert not page.locator("a.insitu-permalink").is_visible()
    assert page.url == f"{lab}/tree/dashboard.ipynb"
    page.close()
    assert thrown == []
