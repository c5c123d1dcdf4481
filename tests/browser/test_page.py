"""The page itself, with a notebook of four widgets: what our Voilà template promises."""

import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

import nbformat
import pytest

from insitu_widgets import serve
from tests.browser.conftest import ROOT, serving

CODE = """
import ipywidgets
slider = ipywidgets.IntSlider(value=3, max=10)
text = ipywidgets.HTML("value 3")
slider.observe(lambda change: setattr(text, "value", f"value {change['new']}"), "value")
slider.add_class("my-slider")
text.add_class("my-text")
ipywidgets.VBox([slider, text, ipywidgets.Button(icon="check"), ipywidgets.HTMLMath("$a_1$")])
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    path = tmp_path_factory.mktemp("notebook") / "widgets.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_markdown_cell("Formula $x^2$"), nbformat.v4.new_code_cell(CODE)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture(scope="module")
def url(notebook, tmp_path_factory):
    with serving(notebook, tmp_path_factory.mktemp("serve") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def jupyter_url(notebook, tmp_path_factory):
    """The same notebook on a Jupyter server with our configuration, as on Binder."""
    folder = tmp_path_factory.mktemp("jupyter")
    config = [sys.executable, "-m", "insitu_widgets.serve", "--print-config"]
    written = subprocess.run(config, cwd=ROOT, check=True, capture_output=True)
    (folder / "jupyter_server_config.json").write_bytes(written.stdout)
    port = serve._free_port()
    traits = {"port": port, "port_retries": 0, "root_dir": notebook.parent, "open_browser": False}
    with (folder / "log").open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter_server", "--allow-root"),
                *(f"--ServerApp.{name}={value}" for name, value in traits.items()),
                "--IdentityProvider.token=",
            ],
            env={**os.environ, "JUPYTER_CONFIG_DIR": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    while serve._bind_fault(port) is None:
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/voila/render/{notebook.name}"
    process.terminate()
    process.wait(30)


def check_page(page, url):
    page.goto(url)
    handle = page.locator(".my-slider .noUi-handle").first
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.my-text').innerText.includes('value 4')")
    assert page.title() == "In-situ Explorer"
    assert page.evaluate("document.documentElement.lang") == "en"
    # Formulas and icons need no other machine (the fixture watches): they come with the widgets.
    page.wait_for_function("document.querySelectorAll('mjx-container').length == 2")
    page.wait_for_function("document.fonts.check('900 12px \"Font Awesome 5 Free\"')")
    assert page.locator("text=import ipywidgets").count() == 0
    assert page.locator("#loading").count() == 0


def test_the_explorer_serves_a_page_that_needs_no_other_machine(page, url):
    check_page(page, url)


def test_a_jupyter_server_renders_the_same_page(page, jupyter_url):
    check_page(page, jupyter_url)


def test_the_page_says_in_words_that_it_is_opening(url):
    _, html = serve._request(urlsplit(url).port, "GET", "/")
    assert "Opening the explorer…" in html
    assert "Executing" not in html.partition("<body")[2].partition("function")[0]
