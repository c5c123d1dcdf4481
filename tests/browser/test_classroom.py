"""The classroom as a visitor sees it: the door, a dead kernel, an exception, a closed tab."""

import json
import shutil

import pytest

from tests.browser.conftest import ROOT
from tests.browser.test_dashboard import check_against_python, press, settle, wait_for_situation
from tests.classroom.test_app import PASSWORD, SECRET, opened, wait_until
from tests.test_serve import write_notebook

FAILING = f"""
import ipywidgets
button = ipywidgets.Button(description="fail").add_class("my-button")
shown = ipywidgets.HTML("not yet").add_class("my-text")
def fail(_):
    shown.value = "failing"
    raise RuntimeError({SECRET!r})
button.on_click(fail)
ipywidgets.VBox([button, shown])
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    write_notebook(folder, FAILING).rename(folder / "failing.ipynb")
    shutil.copy(ROOT / "notebooks" / "dashboard.ipynb", folder / "ok.ipynb")
    with opened(folder, "--Classroom.pool=1") as room:
        yield room


def forked(room):
    return [kernel for kernel in room.kernels() if kernel.name().startswith("kernel-")]


def test_a_visitor_enters_works_loses_the_kernel_and_goes_on(page, room):
    page.goto(f"http://127.0.0.1:{room.port}/?latency_s=0.5")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_function("document.body?.dataset.insituReady === 'yes'")
    settle(page)
    assert page.url.endswith("/voila/render/ok.ipynb?latency_s=0.5")
    before = f"?{page.url.partition('?')[2]}"
    press(page, "bit_error_rate", "ArrowRight")
    wait_for_situation(page, before)
    check_against_python(page)

    name = json.loads(page.inner_text("#jupyter-config-data"))["kernelId"][:8]
    next(kernel for kernel in forked(room) if kernel.name() == f"kernel-{name}").kill()
    page.wait_for_function(
        "document.querySelector('.insitu-banner').textContent.includes('Reload')"
    )
    page.reload()
    page.wait_for_function("document.body?.dataset.insituReady === 'yes'")
    settle(page)
    check_against_python(page)
    page.goto("about:blank")  # as a closed tab: only the kernel that waits is left
    wait_until(lambda: len(forked(room)) == 1)


def test_an_exception_in_a_callback_is_in_the_log_and_nowhere_else(page, room):
    frames = []

    def hear(frame):
        frames.append(frame if isinstance(frame, str) else frame.decode("latin-1"))

    page.on("websocket", lambda socket: socket.on("framereceived", hear))
    page.goto(f"http://127.0.0.1:{room.port}/voila/render/failing.ipynb?token={PASSWORD}")
    page.locator(".my-button").click()
    page.wait_for_function("document.querySelector('.my-text').innerText.includes('failing')")
    room.wait_for_log(f"RuntimeError: {SECRET}")
    while not any("Something went wrong here" in frame for frame in frames):  # instead of it
        page.wait_for_timeout(50)
    assert not any(SECRET in frame for frame in frames)
