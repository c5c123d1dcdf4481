"""Take every picture of README.md and docs/ anew: ``make screenshots``."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.permalink import to_query
from insitu_widgets.network.situation import Situation
from tests.browser.conftest import ARGS, ROOT, require_chromium, serving

#: A state in which every picture has something to say: floats, guarded, on a bad link.
STATE = Situation(
    root="vgg-digits",
    recipe=Recipe("vgg-digits", keep=0.5, bits=32),
    bandwidth_hz=1e6,
    bit_error_rate=1e-3,
    latency_s=4.0,
)
#: A curve that somebody might draw, in presses of the arrow key from the middle.
DRAWN = (-10, 10, 25, 35, 42, 46)


def the_dashboard(page: Page, url: str) -> None:
    """The dashboard in :data:`STATE`, complete."""
    page.goto(f"{url}?{to_query(STATE)}")
    page.wait_for_function("document.body?.dataset.insituReady === 'yes'")
    page.wait_for_function(
        "!document.querySelector('.insitu-tile progress, .insitu-stale')", polling=500
    )


def a_prediction(page: Page, url: str) -> None:
    """A curve that was drawn first, beside what was measured then."""
    page.goto(url)
    handles = page.locator(".insitu-points .noUi-handle")
    handles.last.wait_for()
    for number, presses in enumerate(DRAWN):
        handles.nth(number).focus()
        for _ in range(abs(presses)):
            page.keyboard.press("ArrowUp" if presses > 0 else "ArrowDown")
    page.locator(".insitu-commit").click()
    page.wait_for_function(
        "document.querySelector('.insitu-verdict').innerText.includes('Measured:')"
    )
    page.locator(".insitu-verdict").evaluate("box => box.scrollIntoView()")
    settle(page)


def a_challenge(page: Page, url: str) -> None:
    """A challenge that has been met, after two tries."""
    page.goto(url)
    panel = page.locator(".insitu-panel", has_text="Challenges").first
    panel.wait_for()
    panel.get_by_label("Root model").select_option(label="vgg-digits")
    for name, key, times in (("Exit", "ArrowLeft", 4), ("Bits a weight", "ArrowLeft", 5)):
        handle = panel.locator(".widget-slider", has_text=name).locator(".noUi-handle")
        handle.focus()
        for _ in range(times):
            page.keyboard.press(key)
    panel.get_by_text("✓ Met").wait_for()
    panel.evaluate("box => box.scrollIntoView()")
    settle(page)


def settle(page: Page) -> None:
    """Wait until nothing on the page is out of date, and a second more for what is being drawn."""
    page.wait_for_function("!document.querySelector('.insitu-stale')", polling=500)
    page.wait_for_timeout(1000)


#: Picture -> notebook, and what is to be seen of it.
PICTURES: dict[str, tuple[str, Callable[[Page, str], None]]] = {
    "dashboard": ("dashboard", the_dashboard),
    "predict-first": ("01_root_models", a_prediction),
    "challenges": ("08_from_situation_to_submodel", a_challenge),
}


def take(browser: Browser, name: str) -> Path:
    """Serve a notebook, bring it to its state, photograph it."""
    notebook, prepare = PICTURES[name]
    output = ROOT / "docs" / f"{name}.png"
    log = Path(tempfile.mkdtemp()) / "log"
    with serving(ROOT / "notebooks" / f"{notebook}.ipynb", log) as url:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(120_000)
        prepare(page, url)
        page.screenshot(path=output)
        page.close()
    return output


def main() -> None:
    """Take them all."""
    program = require_chromium()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(ARGS))
        for name in PICTURES:
            output = take(browser, name)
            print(f"{output.relative_to(ROOT)}: {output.stat().st_size / 1e3:.0f} kB", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
