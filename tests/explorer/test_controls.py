"""Controls without a browser: each sets the situation, and shows what it has become."""

import html
import re
from dataclasses import replace
from threading import Thread

import pytest

from insitu_widgets.explorer import live, words
from insitu_widgets.explorer.charts import Charts
from insitu_widgets.explorer.controls import CUSTOM, OWN_SIZE, Controls, say, stops
from insitu_widgets.explorer.dashboard import dashboard
from insitu_widgets.explorer.runner import Inline
from insitu_widgets.explorer.state import Explorer
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.permalink import from_query
from insitu_widgets.network.situation import MOST_SEED, NUMBERS, PRESETS, Situation
from tests.explorer.held import Held


@pytest.fixture
def explorer():
    return Explorer(measuring=False)


@pytest.fixture
def controls(explorer):
    return Controls(explorer, lambda call: call())


def test_the_sliders_span_what_the_issue_of_the_day_needs():
    assert stops("latency_s")[0] == 1e-3
    assert stops("latency_s")[-1] == 10.0
    rates = stops("bit_error_rate")
    assert (rates[0], rates[1], rates[-1]) == (0.0, 1e-7, 0.1)
    for name in NUMBERS:
        limits = NUMBERS[name].metadata
        assert all(limits["low"] <= stop <= limits["high"] for stop in stops(name))


@pytest.mark.parametrize("name", NUMBERS)
def test_every_slider_sets_its_field_and_says_a_unit(explorer, controls, name):
    slider = controls.numbers[name]
    label, value = slider.options[3]
    slider.value = value
    assert getattr(explorer.situation, name) == value
    unit = NUMBERS[name].metadata["unit"]
    assert label.endswith(unit)
    assert label == say(name, value)


def test_controls_follow_the_situation(explorer, controls):
    explorer.situation = PRESETS["Car"]
    controls.show()
    assert controls.preset.value == "Car"
    assert controls.guard.value == "zero"
    assert controls.numbers["latency_s"].value == 0.05
    assert "500 kbit/s" in controls.rate.value


def test_a_value_between_two_stops_gets_a_stop_of_its_own(explorer, controls):
    explorer.change(latency_s=0.123)
    controls.show()
    assert controls.numbers["latency_s"].label == "123 ms"
    assert explorer.situation.latency_s == 0.123


def test_sending_again(explorer, controls):
    controls.again.click()
    assert explorer.situation == Situation(seed=1)


def test_nothing_can_be_sent_again_where_nothing_is_sent(explorer, controls):
    explorer.change(bandwidth_hz=1e3)
    controls.show()
    assert controls.again.disabled
    explorer.change(bandwidth_hz=1e6)
    controls.show()
    assert not controls.again.disabled


def test_presets_and_reset(explorer, controls):
    controls.preset.value = "AR headset"
    assert explorer.situation == PRESETS["AR headset"]
    controls.reset.click()
    assert explorer.situation == Situation()
    assert controls.preset.value == CUSTOM


def test_a_presets_description_goes_and_comes_with_the_preset(explorer, controls):
    controls.preset.value = "Car"
    text = PRESETS["Car"].application
    assert explorer.situation.application == text
    controls.numbers["latency_s"].value = 0.1
    assert explorer.situation.application == ""
    assert controls.application.value == ""
    assert controls.preset.value == CUSTOM
    controls.numbers["latency_s"].value = 0.05
    assert explorer.situation == PRESETS["Car"]
    explorer.change(application="my own")
    controls.numbers["latency_s"].value = 0.1
    assert explorer.situation.application == "my own"


def test_by_hand_and_back(explorer, controls):
    assert all(cut.disabled for cut in controls.cuts.values())
    chosen = explorer.decision.recipe
    controls.mode.value = "hand"
    assert explorer.situation.recipe == chosen
    assert not any(cut.disabled for cut in controls.cuts.values())
    controls.cuts["exit"].value = 6
    controls.cuts["keep"].value = 0.2
    controls.cuts["bits"].value = 16
    assert explorer.situation.recipe == Recipe("resnet-digits", keep=0.2, bits=16)
    controls.cuts["recalibrated"].value = True
    expected = Recipe("resnet-digits", keep=0.2, bits=16, recalibrated=True)
    assert explorer.situation.recipe == expected
    controls.cuts["bits"].value = 8
    assert explorer.situation.recipe == replace(expected, bits=8)
    controls.cuts["recalibrated"].value = False
    assert not explorer.situation.recipe.recalibrated
    controls.mode.value = "network"
    assert explorer.situation.recipe is None


def test_norms_are_recalibrated_where_there_are_norms_and_images(explorer, controls, monkeypatch):
    controls.mode.value = "hand"
    controls.cuts["recalibrated"].value = True
    controls.root.value = "vgg-digits"
    assert explorer.situation.recipe.recalibrated
    controls.root.value = "vit-digits"  # layer norms
    assert controls.cuts["recalibrated"].disabled
    assert not explorer.situation.recipe.recalibrated
    assert not controls.cuts["bits"].disabled
    controls.root.value = "vgg-digits"
    assert not controls.cuts["recalibrated"].disabled
    controls.cuts["recalibrated"].value = True
    monkeypatch.setattr(live.cifar100, "find", lambda: None)
    controls.root.value = "resnet18-cifar100"
    assert controls.cuts["recalibrated"].disabled
    assert not explorer.situation.recipe.recalibrated
    explorer.change(recipe=Recipe("resnet18-cifar100", bits=8, recalibrated=True))  # by a link
    controls.show()
    controls.cuts["recalibrated"].value = False
    assert explorer.situation.recipe == Recipe("resnet18-cifar100", bits=8)
    assert controls.cuts["recalibrated"].disabled


def test_another_root_is_measured_once_with_its_norms_recalibrated():
    requested = []

    class Counting(Inline):
        def request(self, steps, on_step, on_end):
            requested.append(explorer.request.recipe)

    start = Situation(recipe=Recipe("resnet-digits", bits=8, recalibrated=True))
    explorer = Explorer(start, Counting(), measuring=False)
    controls = Controls(explorer, lambda call: call())
    explorer.measure()
    controls.root.value = "vgg-digits"
    assert requested == [start.recipe, Recipe("vgg-digits", bits=8, recalibrated=True)]


def test_another_root_takes_the_cut_along_as_far_as_it_has_exits(explorer, controls):
    controls.mode.value = "hand"
    controls.cuts["exit"].value = 6
    controls.cuts["bits"].value = 8
    controls.root.value = "vgg-digits"
    assert explorer.situation.recipe == Recipe("vgg-digits", bits=8)
    assert controls.mode.value == "hand"
    assert {row.root for row in explorer.decision.reasons} <= {"vgg-digits", "vgg-digits-nested"}


def test_an_older_answer_takes_no_newer_wish_back(explorer):
    """Two presses before the first is carried out: showing the first must not undo the second."""
    calls = []
    controls = Controls(explorer, calls.append)
    slider = controls.numbers["latency_s"]
    first, second = slider.options[5][1], slider.options[6][1]
    slider.value = first
    slider.value = second
    calls.pop(0)()
    assert slider.value == second
    calls.pop(0)()
    assert slider.value == explorer.situation.latency_s == second


def test_after_the_last_draw_comes_the_first(explorer, controls):
    explorer.change(seed=MOST_SEED)
    controls.again.click()
    assert explorer.situation.seed == 0


def test_a_preset_stays_itself_when_it_is_sent_again(explorer, controls):
    controls.preset.value = "Car"
    controls.again.click()
    assert explorer.situation.seed == 1
    assert controls.preset.value == "Car"


@pytest.mark.parametrize("name", [*PRESETS, "nothing", "broken"])
def test_the_sentence_names_the_choice_and_the_reason(name):
    situation = {
        **PRESETS,
        "nothing": Situation(bandwidth_hz=1e3),
        "broken": Situation(recipe=Recipe("resnet-digits"), latency_s=0.01),
    }[name]
    explorer = Explorer(situation, measuring=False)
    text = words.sentence(explorer)
    if name == "nothing":
        assert "Nothing fits" in text
        assert "latency budget" in text
    elif name == "broken":
        assert "breaks the latency budget and the device's memory</b>" in html.unescape(text)
        explorer.change(memory_bytes=1e8)
        assert "breaks the latency budget</b>" in words.sentence(explorer)
    else:
        assert str(explorer.decision.recipe) in text
        assert ("no limit binds" in text) == (explorer.decision.next_better is None)


def test_where_nothing_fits_nothing_of_an_older_choice_remains(explorer):
    explorer.measure()
    page = dashboard(explorer)
    explorer.change(root="vit-digits")
    assert explorer.decision.recipe is None
    column = page.children[0].children
    cuts = [w for w in column if getattr(w, "description", "") in ("Exit", "Keep", "Bits")]
    assert [cut.layout.visibility for cut in cuts] == ["hidden"] * 3
    assert "not complete yet" not in column[-1].value
    explorer.change(latency_s=1.0)
    assert [cut.layout.visibility for cut in cuts] == ["visible"] * 3


def test_what_was_measured_at_another_error_rate_is_no_bound():
    between = Explorer(Situation(bit_error_rate=3e-4), measuring=False)
    text = words.tiles(between)
    assert "catalogue at BER 10⁻³ (next measured), 5 draws" in text
    assert "at least" not in text


def told(page):
    """What stands above the charts."""
    return "".join(each.value for each in page.children[1].children[0].children)


def test_the_page_shows_the_state(explorer):
    page = dashboard(explorer)
    charts = next(w for w in page.children[1].children if isinstance(w, Charts))
    assert set(charts.charts) == {"accuracy", "rates", "errors", "bits"}
    assert set(charts.stale) == {"accuracy", "errors", "bits"}
    explorer.measure()
    assert charts.stale == {}
    head = told(page)
    assert f"{100 * explorer.estimate.accuracy:.1f} %" in head
    assert charts.permalink == explorer.permalink()


def test_what_does_not_change_is_not_told_again(explorer):
    """A screen reader reads what is made anew: a notice, or the sentence, with each estimate."""
    page = dashboard(explorer)
    explorer.notice = "guard must be one of none, clamp, zero"
    anew = []
    for each in page.children[1].children[0].children:
        each.observe(lambda change: anew.append(change["new"]), "value")
    explorer.measure()
    assert anew
    assert not [text for text in anew if "guard must be" in text or "insitu-sentence" in text]


def test_what_was_measured_last_stays_at_its_bit_error_rate():
    runner = Held()
    explorer = Explorer(Situation(bit_error_rate=1e-4), runner)
    page = dashboard(explorer)
    charts = next(w for w in page.children[1].children if isinstance(w, Charts))
    runner.deliver()
    explorer.change(bit_error_rate=1e-2)
    (mark,) = (
        shape
        for shape in charts.charts["errors"]["spec"]["layout"]["shapes"]
        if shape.get("name") == "measured"
    )
    assert mark["xanchor"] == 1e-4
    assert "errors" in charts.stale
    runner.deliver()
    assert charts.stale == {}


def test_outside_voila_a_state_is_told_as_code(explorer):
    explorer.change(latency_s=0.2)
    page = dashboard(explorer)
    links = page.children[0].children[-1].value
    code = html.unescape(links.partition("<pre>")[2].partition("</pre>")[0])
    first, _, second = code.partition("\n")
    assert first == "from insitu_widgets.network.permalink import from_query"
    query = re.fullmatch(r"dashboard\(from_query\('(.*)'\)\[0\]\)", second)[1]
    assert from_query(query)[0] == explorer.situation


def test_a_wish_that_another_thread_tells_of_while_the_page_shows_counts(explorer):
    """JupyterLab delivers a moved slider in a thread of its own, also in the midst of a drawing."""
    posted = []
    controls = Controls(explorer, posted.append)
    slider, put, moved = controls.numbers["latency_s"], controls._put, []

    def slow(widget, *given):
        if not moved:
            moved.append(Thread(target=slider.set_trait, args=("value", 0.5)))
            moved[0].start()
            moved[0].join()
        put(widget, *given)

    controls._put = slow
    controls.show()
    (wish,) = posted
    wish()
    assert explorer.situation.latency_s == slider.value == 0.5


def test_a_saved_picture_says_what_it_belongs_to(explorer):
    page = dashboard(explorer)
    charts = next(w for w in page.children[1].children if isinstance(w, Charts))
    assert charts.caption == (
        f"{explorer.decision.recipe}; 1 Mbit/s, latency 100 ms (delay 5 ms), memory 1 MB, "
        "BER 10⁻⁴, guard clamp, draw 0"
    )
    explorer.change(root="vit-digits", as_if="ViT-Large")
    assert charts.caption.startswith("vit-digits, nothing sent, sized as ViT-Large; 1 Mbit/s")


def test_a_figure_that_fails_says_so_beside_itself_and_the_others_go_on(explorer, monkeypatch):
    page = dashboard(explorer)
    charts = next(w for w in page.children[1].children if isinstance(w, Charts))

    def fail(*_):
        raise ArithmeticError("no logarithm of a negative number")

    monkeypatch.setattr("insitu_widgets.explorer.figures.required_rates", fail)
    explorer.change(latency_s=2.0)
    assert "no logarithm" in charts.errors["rates"]
    assert set(charts.errors) == {"rates"}
    assert "budget 2 s" in charts.charts["bits"]["html"]


def test_what_a_link_says_is_shown_as_text_not_as_markup(explorer):
    page = dashboard(explorer)
    charts = next(w for w in page.children[1].children if isinstance(w, Charts))
    charts._handle_custom_msg({"type": "hello", "query": "?guard=<script>&latency_s=0.2"}, [])
    head = told(page)
    assert "<script>" not in head
    assert "&lt;script&gt;" in head
    assert explorer.situation.latency_s == 0.2
    assert explorer.estimate is not None


def test_another_size_is_for_the_link_only_and_says_so(explorer, controls):
    explorer.change(bandwidth_hz=1e9, memory_bytes=1e9, latency_s=1.0)
    before = explorer.decision.expected
    controls.as_if.value = "ResNet-50"
    assert explorer.situation.as_if == "ResNet-50"
    after = explorer.decision.expected
    assert after.accuracy <= before.accuracy
    sentence = words.sentence(explorer)
    assert "as if this root had the size of ResNet-50" in sentence
    assert "every accuracy is resnet-digits's own, not ResNet-50's" in html.unescape(sentence)
    assert "of the root as large as ResNet-50" in words.tiles(explorer)
    charts = dashboard(explorer).children[1].children[1].charts
    assert charts["accuracy"]["title"].endswith("sizes as if ResNet-50, accuracy resnet-digits's")
    assert from_query(explorer.permalink())[0] == explorer.situation
    controls.as_if.value = OWN_SIZE
    assert explorer.situation.as_if == ""
    assert "as if" not in words.sentence(explorer)
