"""Take the README's picture of the dashboard: ``python -m tests.browser.screenshot``."""

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.situation import Situation, to_query
from tests.browser.conftest import ARGS, ROOT, require_chromium, serving

#: A state in which every picture has something to say: floats, guarded, on a bad link.
STATE = Situation(
    root="vgg-digits",
    recipe=Recipe("vgg-digits", keep=0.5, bits=32),
    bandwidth_hz=1e6,
    bit_error_rate=1e-3,
    latency_s=4.0,
)
OUTPUT = ROOT / "docs" / "dashboard.png"


def main() -> None:
    """Serve the dashboard, wait until it is complete, and photograph it."""
    program = require_chromium()
    log = Path(tempfile.mkdtemp()) / "log"
    with serving(ROOT / "notebooks" / "dashboard.ipynb", log) as url, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(ARGS))
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(f"{url}?{to_query(STATE)}")
        page.wait_for_function("document.body.dataset.insituReady === 'yes'")
        page.wait_for_function(
            "!document.querySelector('.insitu-tile progress, .insitu-stale')", polling=500
        )
        page.screenshot(path=OUTPUT)
        browser.close()
    print(f"{OUTPUT.relative_to(ROOT)}: {OUTPUT.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
