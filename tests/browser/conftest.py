"""A served page and a browser that looks at it.

A test that uses ``page`` fails when the page writes an error to the console, throws one, or asks
another machine for anything. Warnings are let pass: Voilà bundles JupyterLab 4.2 and warns of each
module that a newer JupyterLab would share ("Unsatisfied version 4.2.5 ...").
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from insitu_widgets import serve
from tests.browser import chromium

ROOT = Path(__file__).parents[2]
READY = "The explorer is ready: "
ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HERE = {"127.0.0.1", "localhost"}
INLINE = {"about", "blob", "data", "file"}


def pytest_collection_modifyitems(items):
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.browser)


@contextmanager
def serving(notebook: Path, log: Path) -> Iterator[str]:
    """Serve ``notebook`` as ``make dashboard`` does, writing to ``log``; yields the address."""
    command = [sys.executable, "-m", "insitu_widgets.serve", "--notebook", str(notebook)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(serve._free_port())],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while READY not in (text := log.read_text()):
            assert process.poll() is None, text
            time.sleep(0.1)
        yield text.split(READY)[1].split()[0]
    finally:
        process.terminate()
        status = process.wait(30)
    assert status == 0, log.read_text()


@contextmanager
def serving_cell(source: str, folder: Path) -> Iterator[str]:
    """Serve a notebook with one cell, written to ``folder`` beside the log; yields the address."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source)],
        metadata={"kernelspec": {"name": "python3", "display_name": "3", "language": "python"}},
    )
    path = folder / "cell.ipynb"
    nbformat.write(notebook, path)
    with serving(path, folder / "log") as url:
        yield url


@pytest.fixture(scope="session")
def voila_server(tmp_path_factory):
    """The address of the dashboard, served once for all tests."""
    with serving(ROOT / serve.NOTEBOOK, tmp_path_factory.mktemp("voila") / "log") as url:
        yield url


def require_chromium() -> str:
    """The browser's program; without one the test is skipped, or fails where ``CI=true``."""
    program = chromium.find_chromium()
    if program is None:
        end = pytest.fail if chromium.browser_is_required() else pytest.skip
        end(chromium.MISSING)
    return program


@pytest.fixture(scope="module")  # while it is open, asyncio.run() is barred in this thread
def browser() -> Iterator[Browser]:
    program = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, headless=True, args=list(ARGS)
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser) -> Iterator[Page]:
    """A page of a lecture room's projector, which must stay free of errors."""
    faults: list[str] = []
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.set_default_timeout(60_000)
    _watch(page, faults)
    yield page
    page.close()
    if faults:
        pytest.fail("The page is at fault:\n" + "\n".join(faults), pytrace=False)


def _watch(page: Page, faults: list[str]) -> None:
    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            faults.append(f"console: {message.text} ({message.location.get('url')})")

    def on_address(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in INLINE and parts.hostname not in HERE:
            faults.append(f"asked another machine: {url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: faults.append(f"thrown: {error}"))
    page.on("request", lambda request: on_address(request.url))
    page.on("websocket", lambda websocket: on_address(websocket.url))
