"""The dashboard in a real browser: what the page shows is what the Python API computes."""

import json
import re
from dataclasses import replace
from html import unescape
from urllib.parse import urlencode, urlsplit

import psutil
import pytest

from insitu_widgets.explorer import bars, controls, figures, words
from insitu_widgets.explorer.state import Explorer
from insitu_widgets.network.permalink import from_query, to_query
from insitu_widgets.network.situation import PRESETS, Situation
from insitu_widgets.units import percent, quantity
from tests.browser.conftest import serving_cell

COMPLETE = """() => {
  const tile = document.querySelector(".insitu-tile-measured");
  return tile && !tile.querySelector("progress") && !document.querySelector(".insitu-stale");
}"""
SLIDERS = ("bandwidth_hz", "spectral_efficiency_bps_hz", "latency_s", "delay_s", "memory_bytes",
           "bit_error_rate")  # fmt: skip


def open_page(page, url, situation=None):
    page.goto(url if situation is None else f"{url}?{to_query(situation)}")
    page.wait_for_selector(".insitu-plot .main-svg")
    page.wait_for_function("document.body?.dataset.insituReady === 'yes'")
    settle(page)


def settle(page):
    """Wait until the page has been complete, under one address, for half a second."""
    page.wait_for_function(
        f"""() => {{
          const complete = ({COMPLETE})();
          if (!complete || window.insituSeen !== location.search) window.insituSince = Date.now();
          window.insituSeen = location.search;
          return complete && Date.now() - window.insituSince > 500;
        }}""",
        polling=50,
    )


def situation_of(page):
    situation, problems = from_query(urlsplit(page.url).query)
    assert problems == ()
    return situation


def wait_for_situation(page, before):
    """Wait until the address says another situation than ``before``."""
    page.wait_for_function("old => location.search !== old", arg=before)
    settle(page)


def plain(html):
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def text(page, selector):
    return " ".join(page.inner_text(selector).split())


def points(page, chart, name):
    """x and y of a drawn trace whose name begins with ``name``."""
    return page.evaluate(
        """([chart, name]) => {
          const plot = document.querySelector(`.insitu-${chart} .js-plotly-plot`);
          const trace = plot._fullData.find((t) => t.name.startsWith(name));
          return trace && [Array.from(trace.x), Array.from(trace.y)];
        }""",
        [chart, name],
    )


def shapes(page, chart, name):
    """The visible shapes of a drawn chart that bear a name, as Plotly has them."""
    return page.evaluate(
        """([chart, name]) => {
          const plot = document.querySelector(`.insitu-${chart} .js-plotly-plot`);
          return plot._fullLayout.shapes.filter((shape) => shape.visible && shape.name === name)
            .map(({ xanchor, yanchor, x1, path }) => ({ xanchor, yanchor, x1, path }));
        }""",
        [chart, name],
    )


def check_against_python(page):
    """Compare everything on the page with what the Python API says of the same situation."""
    explorer = Explorer(situation_of(page))
    decision, estimate = explorer.decision, explorer.estimate
    assert text(page, ".insitu-sentence") == plain(words.sentence(explorer))
    assert text(page, ".insitu-tile-rate b") == quantity(explorer.situation.rate_bps, "bit/s")
    if decision.recipe is None:
        assert text(page, ".insitu-tile-measured b") == "–"
        return explorer
    assert text(page, ".insitu-tile-measured b") == percent(estimate.accuracy)
    size = explorer.delivery.num_bits / 8
    (diamond,) = shapes(page, "accuracy", "measured")
    expected = figures.measured(size, estimate)
    assert (diamond["xanchor"], diamond["path"]) == (pytest.approx(size), expected["path"])
    if decision.expected:
        assert text(page, ".insitu-tile-expected b") == percent(decision.expected.accuracy)
    (region,) = shapes(page, "accuracy", "fits")
    sizes = [x for kind in ("candidates", "nested") for x in points(page, "accuracy", kind)[0]]
    fitting = [x for x in sizes if x <= region["x1"] * (1 + 1e-9)]
    assert len(fitting) == len(decision.feasible)
    (diamond,) = shapes(page, "errors", "measured")
    assert diamond["path"] == expected["path"]
    parts = page.eval_on_selector_all("[data-bits]", "parts => parts.map((p) => +p.dataset.bits)")
    assert parts == [explorer.delivery.bits.get(purpose, 0) for purpose in bars.PURPOSES]
    assert sum(parts) == explorer.delivery.num_bits
    (here,) = shapes(page, "rates", "star")
    assert here["yanchor"] == pytest.approx(explorer.situation.rate_bps)
    images = page.locator(".insitu-image").all_inner_texts()
    assert [" ".join(image.split()) for image in images] == [
        f"{'✓' if a.label == a.answer else '✗'} {a.answer}" for a in explorer.answers
    ]
    return explorer


def press(page, control, key, times=1):
    page.locator(f".insitu-{control} .noUi-handle").focus()
    for _ in range(times):
        page.keyboard.press(key)


def test_the_page_opens_complete_and_agrees_with_python(page, voila_server):
    open_page(page, voila_server)
    explorer = check_against_python(page)
    assert explorer.situation == Situation()


@pytest.mark.parametrize("name", SLIDERS)
def test_each_slider_by_keyboard(page, voila_server, name):
    open_page(page, voila_server)
    press(page, name, "ArrowRight", 2)
    wait_for_situation(page, "")
    situation = situation_of(page)
    stops = controls.stops(name)
    assert getattr(situation, name) == stops[stops.index(getattr(Situation(), name)) + 2]
    assert text(page, f".insitu-{name} .widget-readout") == controls.say(
        name, getattr(situation, name)
    )
    check_against_python(page)


def test_sliders_have_a_name_and_say_their_value(page, voila_server):
    open_page(page, voila_server)
    for name in SLIDERS:
        handle = page.locator(f".insitu-{name} .noUi-handle")
        assert handle.get_attribute("aria-label")
        assert handle.get_attribute("aria-valuetext") == text(
            page, f".insitu-{name} .widget-readout"
        )


def test_a_readout_is_not_typed_into_and_is_never_a_bare_number(page, voila_server):
    """ipywidgets lets it be edited, takes nothing of that, and shows it for ever."""
    open_page(page, voila_server)
    page.evaluate("""() => {
      window.heard = new Set();
      const handle = document.querySelector(".insitu-latency_s .noUi-handle");
      const hear = () => { heard.add(handle.getAttribute("aria-valuetext")); setTimeout(hear, 0); };
      hear();
    }""")
    readout = page.locator(".insitu-latency_s .widget-readout")
    readout.click()
    page.keyboard.type("7")
    assert readout.inner_text() == "100 ms"
    press(page, "latency_s", "ArrowRight", 3)
    wait_for_situation(page, "")
    assert set(page.evaluate("[...heard]")) <= {"100 ms", "125 ms", "160 ms", "200 ms"}
    readouts = page.locator(".insitu .widget-readout")
    assert readouts.count() == 9
    for each in readouts.all():
        assert each.get_attribute("contenteditable") == "false"
    guards = page.locator(".insitu-guard")
    assert guards.get_attribute("aria-label") == "Guard"
    pressed = [b.get_attribute("aria-pressed") for b in guards.locator("button").all()]
    assert pressed == ["false", "true", "false"]
    assert page.locator(".insitu-latency_s .noUi-base").bounding_box()["width"] >= 130


def test_cutting_by_hand(page, voila_server):
    open_page(page, voila_server)
    page.locator(".insitu-mode button", has_text="hand").click()
    wait_for_situation(page, "")
    for name, key in (("exit", "End"), ("keep", "ArrowLeft"), ("bits", "End")):
        before = page.evaluate("location.search")
        press(page, name, key)
        wait_for_situation(page, before)
    recipe = situation_of(page).recipe
    assert (recipe.exit, recipe.keep, recipe.bits) == (None, 0.5, 32)
    check_against_python(page)
    assert "breaks the latency budget" in text(page, ".insitu-sentence")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_then_reset(page, voila_server, name):
    open_page(page, voila_server)
    page.locator(".insitu-preset select").select_option(label=name)
    wait_for_situation(page, "")
    assert situation_of(page) == PRESETS[name]
    check_against_python(page)
    page.locator(".insitu-reset").click()
    page.wait_for_function("location.search === ''")
    settle(page)
    assert situation_of(page) == Situation()


@pytest.mark.parametrize("root", ["vgg-digits", "vit-digits"])
def test_other_roots_and_guards(page, voila_server, root):
    situation = Situation(
        root=root, guard="none", bit_error_rate=1e-3, bandwidth_hz=1e7, latency_s=1.0
    )
    open_page(page, voila_server, replace(situation, guard="clamp"))
    page.locator(".insitu-guard button", has_text="none").click()
    wait_for_situation(page, f"?{to_query(replace(situation, guard='clamp'))}")
    assert situation_of(page) == situation
    check_against_python(page)


def test_a_permalink_opens_the_same_page_with_values_between_the_stops(page, voila_server):
    situation = Situation(latency_s=0.123, bandwidth_hz=3.21e6, bit_error_rate=3e-4)
    open_page(page, voila_server, situation)
    assert situation_of(page) == situation
    assert text(page, ".insitu-latency_s .widget-readout") == "123 ms"
    link = page.locator("a.insitu-permalink").get_attribute("href")
    assert from_query(link) == (situation, ())
    check_against_python(page)


def test_a_bad_value_in_a_permalink_is_told_and_replaced(page, voila_server):
    bad = urlencode({"latency_s": "-3", "guard": "<img src=x>", "memory_bytes": "2000"})
    page.goto(f"{voila_server}?{bad}")
    page.wait_for_selector(".insitu-notice")
    settle(page)
    notice = text(page, ".insitu-notice")
    assert "The link's latency budget (latency_s=-3) must be a number from 1 ms to 10 s" in notice
    assert "The link's guard (guard=<img src=x>) must be one of none, clamp, zero." in notice
    assert situation_of(page) == Situation(memory_bytes=2000.0)
    check_against_python(page)


def test_sending_again_draws_the_channel_anew(page, voila_server):
    open_page(page, voila_server, Situation(bit_error_rate=1e-2))
    page.locator(".insitu-again").click()
    wait_for_situation(page, f"?{to_query(Situation(bit_error_rate=1e-2))}")
    assert situation_of(page).seed == 1
    check_against_python(page)


def test_nothing_fits_is_an_answer_too(page, voila_server):
    open_page(page, voila_server, Situation(bandwidth_hz=1e3, latency_s=0.05))
    assert "Nothing fits" in text(page, ".insitu-sentence")
    check_against_python(page)
    page.locator(".insitu-preset select").select_option(label="6G phone")
    page.wait_for_function("location.search.includes('bandwidth_hz=100000000')")
    settle(page)
    check_against_python(page)


def test_what_is_out_of_date_wears_a_cue_until_it_is_not(page, voila_server):
    open_page(page, voila_server)
    page.evaluate("""() => {
      window.cues = [];
      const note = () => {
        const badge = document.querySelector(".insitu-accuracy .insitu-badge").textContent;
        if (window.cues.at(-1) !== badge) window.cues.push(badge);
      };
      note();
      new MutationObserver(note).observe(document.querySelector(".insitu-charts"),
        { subtree: true, childList: true, characterData: true });
    }""")
    press(page, "bit_error_rate", "End")
    wait_for_situation(page, "")
    assert page.evaluate("window.cues") == ["", "out of date: measuring …", ""]


def test_figures_stay_in_their_place_while_it_measures(page, voila_server):
    open_page(page, voila_server)
    page.evaluate("""() => {
      window.tops = new Set();
      const note = () => {
        tops.add(Math.round(document.querySelector(".insitu-charts").getBoundingClientRect().top));
        requestAnimationFrame(note);
      };
      note();
    }""")
    for key, times in (("ArrowRight", 2), ("End", 1)):
        before = page.evaluate("location.search")
        press(page, "bit_error_rate", key, times)
        wait_for_situation(page, before)
    assert len(page.evaluate("[...tops]")) == 1


def test_downloads_hold_what_is_on_the_page(page, voila_server):
    open_page(page, voila_server, PRESETS["Car"])
    explorer = Explorer(PRESETS["Car"])
    with page.expect_download() as download:
        page.locator("a[download='insitu.json']").click()
    record = json.loads(download.value.path().read_text(encoding="utf-8"))
    expected = explorer.results()
    for results in (record, expected):
        results["measured"].pop("seconds", None)
    assert record == json.loads(json.dumps(expected))
    with page.expect_download() as download:
        page.locator("a[download='insitu.csv']").click()
    assert download.value.path().read_text(encoding="utf-8") == explorer.to_csv()


def test_each_figure_saves_as_png(page, voila_server):
    open_page(page, voila_server)
    names = set()
    for chart in ("accuracy", "rates", "errors", "bits", "images"):
        button = page.locator(f".insitu-{chart}:not(.widget-slider)").locator(
            ".modebar-btn, .insitu-png:visible"
        )
        names.add(button.get_attribute("aria-label"))
        shown = page.locator(f".insitu-{chart}:not(.widget-slider)").bounding_box()
        with page.expect_download() as download:
            button.click()
        assert download.value.suggested_filename == f"insitu-{chart}.png"
        picture = download.value.path().read_bytes()
        assert picture.startswith(b"\x89PNG")
        height = int.from_bytes(picture[20:24], "big")
        assert height > 2 * shown["height"]  # twice as fine, and with a title
    assert len(names) == 5


def test_two_hundred_moves_end_with_the_last_state_on_the_screen(page, voila_server):
    open_page(page, voila_server)
    for turn in range(10):
        for name in SLIDERS:
            press(page, name, "ArrowRight" if turn % 3 else "ArrowLeft", 4)
    settle(page)
    check_against_python(page)


def test_light_and_dark(page, voila_server):
    open_page(page, voila_server)

    def ground():
        return page.evaluate("getComputedStyle(document.querySelector('.insitu')).backgroundColor")

    light = ground()
    page.locator(".insitu-theme select").select_option(label="dark")
    page.wait_for_function("document.body.classList.contains('insitu-dark')")
    assert ground() != light
    page.locator(".insitu-theme select").select_option(label="light")
    page.wait_for_function("!document.body.classList.contains('insitu-dark')")
    assert ground() == light


def test_everything_is_on_one_screen_of_a_projector(page, voila_server):
    open_page(page, voila_server)
    for selector in (".insitu-controls", ".insitu-charts", ".insitu-strip"):
        box = page.locator(selector).bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 768
        assert box["x"] + box["width"] <= 1366


@pytest.mark.parametrize(("width", "height"), [(1093, 614), (683, 384)])
def test_controls_stay_beside_the_figures_in_a_zoomed_page(page, voila_server, width, height):
    """A window of 1366 pixels at 125 and at 200 per cent: every slider with the last figure."""
    page.set_viewport_size({"width": width, "height": height})
    open_page(page, voila_server)
    page.locator(".insitu-strip").scroll_into_view_if_needed()
    chart = page.locator(".insitu-card.insitu-bits")
    for name in SLIDERS:
        slider = page.locator(f".insitu-{name} .noUi-handle")
        slider.scroll_into_view_if_needed()
        handle, seen = slider.bounding_box(), chart.bounding_box()
        assert 0 <= handle["y"] <= height - handle["height"]
        assert seen["y"] < height
        assert seen["y"] + seen["height"] > 0
        assert handle["x"] + handle["width"] < seen["x"]
    assert page.evaluate("document.querySelector('#rendered_cells').scrollTop") > 0


@pytest.mark.parametrize("width", [390, 1200, 1280])
def test_nothing_is_cut_off_at_the_right(page, voila_server, width):
    """A telephone, and laptops on which twenty test images do not fit a row as they are."""
    page.set_viewport_size({"width": width, "height": 844})
    open_page(page, voila_server)
    parts = ".insitu-controls > *, .insitu-card, .insitu-tile, .insitu-image"
    for each in page.locator(parts).all():
        box = each.bounding_box()
        assert box is None or box["x"] + box["width"] <= width
    assert page.evaluate(
        "(page => page.scrollWidth <= page.clientWidth)(document.querySelector('#rendered_cells'))"
    )


def test_legends_stay_above_the_figures_when_a_window_goes_to_the_projector(page, voila_server):
    """For a second: Plotly draws more than once when letters and size change together."""
    open_page(page, voila_server)
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.wait_for_function(
        """() => {
          const plot = document.querySelector(".insitu-accuracy .js-plotly-plot");
          const legend = plot?.querySelector(".legend")?.getBoundingClientRect();
          const layout = plot?._fullLayout;
          const top = plot?.getBoundingClientRect().top + layout?._size?.t;
          const above = layout?.font.size > 15 && legend?.bottom <= top + 1;
          if (!above || !window.insituAbove) window.insituAbove = Date.now();
          return above && Date.now() - window.insituAbove > 1000;
        }""",
        polling=50,
    )


def kernels_of(page):
    """The processes of the page's own kernel."""
    config = json.loads(page.inner_text("#jupyter-config-data"))
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(config["kernelId"] in word for word in process.info["cmdline"] or [])
    ]


def test_a_page_that_is_left_takes_its_kernel_along(page, voila_server):
    """By a reload, and by closing; and its word of it is no error on the console."""
    open_page(page, voila_server)
    left = kernels_of(page)
    page.reload()
    page.wait_for_selector(".insitu-accuracy .main-svg")
    left += kernels_of(page)
    page.goto("about:blank")
    assert len(left) == 2
    gone, alive = psutil.wait_procs(left, timeout=30)
    assert (len(gone), alive) == (2, [])


def test_a_dead_kernel_is_told(page, voila_server):
    open_page(page, voila_server)
    assert text(page, ".insitu-banner") == ""
    (kernel,) = kernels_of(page)
    kernel.kill()
    page.wait_for_function(
        "document.querySelector('.insitu-banner').textContent.includes('Reload')"
    )
    page.locator(".insitu-latency_s .noUi-handle").focus(timeout=1000)
    assert page.evaluate("document.activeElement === document.body")  # nothing pretends to work
    page.locator("a.insitu-permalink").focus()
    assert page.evaluate("document.activeElement.className") == "insitu-permalink"
    again = page.context.browser.new_page()
    open_page(again, voila_server)
    check_against_python(again)
    again.close()


def test_an_exception_stays_beside_its_figure(page, tmp_path):
    source = """
from insitu_widgets import dashboard
from insitu_widgets.explorer import figures
draw = figures.required_rates
def fail_above_one_second(latency_s, *rest):
    if latency_s > 1.0:
        raise ArithmeticError("planted for a test")
    return draw(latency_s, *rest)
figures.required_rates = fail_above_one_second
dashboard()
"""
    with serving_cell(source, tmp_path) as url:
        open_page(page, url)
        press(page, "latency_s", "End")
        page.wait_for_function(
            "document.querySelector('.insitu-rates .insitu-error').textContent.includes('planted')"
        )
        settle(page)
        assert text(page, ".insitu-accuracy .insitu-error") == ""
        press(page, "latency_s", "Home")
        page.wait_for_function("!document.querySelector('.insitu-rates .insitu-error').textContent")
        settle(page)
        check_against_python(page)
        page.goto("about:blank")  # before its server goes
