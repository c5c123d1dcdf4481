"""A dashboard served as ``make dashboard`` serves it, and pages of it in a headless Chromium."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from insitu_widgets import serve
from insitu_widgets.network.permalink import to_query
from insitu_widgets.network.situation import Situation
from tests.browser import chromium, conftest

ROOT = Path(__file__).parents[1]
PROBE = Path(__file__).with_name("probe.js")
#: A projector in a lecture room.
VIEWPORT = {"width": 1366, "height": 768}
LIMIT_MS = 60_000
REST_LIMIT_S = 90.0
#: A kernel that has torch, and so has measured, is larger than this; one that has not is smaller.
WITH_TORCH_BYTES = 250e6
COMPLETE = """() => {
  const tile = document.querySelector(".insitu-tile-measured");
  return tile && !tile.querySelector("progress") && !document.querySelector(".insitu-stale")
    && document.body?.dataset.insituReady === "yes";
}"""
#: Complete, under one address, for half a second.
SETTLED = f"""() => {{
  const complete = ({COMPLETE})();
  if (!complete || window.probeSeen !== location.search) window.probeSince = Date.now();
  window.probeSeen = location.search;
  return complete && Date.now() - window.probeSince > 500;
}}"""


class Server:
    """Voilà with the dashboard, and the kernels that it has started."""

    def __init__(self, port: int, process: psutil.Process, *, preheat: bool) -> None:
        self.port = port
        self.process = process
        self.preheat = preheat
        self.url = f"http://{serve.HOST}:{port}/"

    def kernels(self) -> list[psutil.Process]:
        """The kernels that live now."""
        return [child for child in self.process.children() if "ipykernel_launcher" in _line(child)]

    def kernel(self, page: Page) -> psutil.Process:
        """The kernel behind a page."""
        name = kernel_id(page.content())
        return next(kernel for kernel in self.kernels() if name in _line(kernel))

    def shut_down(self, html: str) -> None:
        """End the kernel behind a page's HTML, as closing its tab would, could Voilà tell."""
        serve._shut_down_kernel(self.port, html)  # noqa: SLF001  (the one way to find and end it)

    def rest(self) -> None:
        """Wait until the next visitor finds what the first one found.

        The pool is full (a pre-heated kernel has run the notebook and, four seconds later, has
        taken torch in and measured, which its resident memory tells), and neither Voilà nor any
        kernel has used a twentieth of a second of processor time for a second.
        """
        limit = time.monotonic() + REST_LIMIT_S
        spent = -1.0
        while time.monotonic() < limit:
            kernels = self.kernels()
            now = sum(map(_seconds, [self.process, *kernels]))
            ready = [kernel for kernel in kernels if _resident(kernel) > WITH_TORCH_BYTES]
            if now - spent < 0.05 and len(ready) >= self.preheat:
                return
            spent = now
            time.sleep(1.0)
        msg = f"The pool was not full and at rest within {REST_LIMIT_S:.0f} s."
        raise TimeoutError(msg)


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it ended while we looked
        return ""


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def kernel_id(html: str) -> str:
    """The kernel that a page names."""
    found = re.search(r'"kernelId": ?"([\w-]+)"', html)
    assert found, "the page names no kernel"
    return found[1]


@contextmanager
def served(*, preheat: bool = True) -> Iterator[Server]:
    """Serve the dashboard as ``python -m insitu_widgets.serve`` does, without its words."""
    port = serve._free_port()  # noqa: SLF001
    voila = serve._Voila(port, ROOT / serve.NOTEBOOK, preheat=preheat)  # noqa: SLF001
    try:
        server = Server(port, psutil.Process(voila._process.pid), preheat=preheat)  # noqa: SLF001
        server.shut_down(voila.first_page())
        server.rest()
        yield server
    finally:
        voila.stop()


@contextmanager
def browsing() -> Iterator[Browser]:
    """A headless Chromium, as the tests start it."""
    program = chromium.find_chromium()  # which asks Playwright itself, so before it is started
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, headless=True, args=list(conftest.ARGS)
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(browser: Browser, server: Server, faults: list[str]) -> Iterator[Page]:
    """A blank page of a visitor who has never been here; its kernel ends with it."""
    context = browser.new_context(viewport=VIEWPORT)
    context.set_default_timeout(LIMIT_MS)
    context.add_init_script(path=PROBE)
    page = context.new_page()
    conftest._watch(page, faults)  # noqa: SLF001  (console errors, exceptions, other machines)
    try:
        yield page
        html = page.content()
    finally:
        context.close()
    server.shut_down(html)


def open_page(page: Page, server: Server, situation: Situation | None = None) -> None:
    """Open the dashboard in a situation and wait until it is complete."""
    query = to_query(situation) if situation else ""
    page.goto(f"{server.url}?{query}" if query else server.url)
    page.wait_for_selector(".insitu-accuracy .main-svg")
    settle(page)


def settle(page: Page) -> None:
    """Wait until the page has been complete, under one address, for half a second."""
    page.wait_for_function(SETTLED, polling=50)


def press(page: Page, control: str, key: str) -> None:
    """Press a key on the handle of a slider."""
    page.locator(f".insitu-{control} .noUi-handle").focus()
    page.keyboard.press(key)
