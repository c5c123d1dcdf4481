"""Figures are valid for Plotly, and show the numbers that they were given."""

import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest

from insitu_widgets.air.rates import REFERENCE_RATES, required_rate_bps
from insitu_widgets.explorer import bars, figures
from insitu_widgets.explorer.state import Explorer
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.grids import full
from insitu_widgets.network.situation import PRESETS, Situation, candidates

SITUATIONS = {
    **PRESETS,
    "nothing fits": Situation(bandwidth_hz=1e3, latency_s=0.01),
    "hardly too slow": Situation(root="vit-digits"),
    "everything fits": Situation(bandwidth_hz=1e9, memory_bytes=1e9, latency_s=1.0),
    "no error": Situation(bit_error_rate=0.0, root="vit-digits", bandwidth_hz=1e7),
    "by hand": Situation(recipe=Recipe("resnet-digits", keep=0.5, bits=32), latency_s=0.01),
    "not in the catalogue": Situation(recipe=Recipe("resnet-digits", exit=1, keep=0.37)),
}
#: Recipes of a root, and of its all-in-one root.
OWN, ALL_IN_ONE = (len(full(name).recipes) for name in ("vit-digits", "vit-digits-nested"))


@pytest.fixture(scope="module")
def explorers():
    return {name: Explorer(situation) for name, situation in SITUATIONS.items()}


def draw(explorer):
    situation, decision = explorer.situation, explorer.decision
    live = explorer.estimate and (explorer.delivery.num_bits, explorer.estimate)
    bits = decision.expected and decision.expected.num_bits
    return {
        "accuracy": figures.accuracy_against_size(
            situation, decision, candidates(explorer.situation, explorer.catalogue), live
        ),
        "rates": figures.required_rates(situation.latency_s, (0.1, situation.rate_bps)),
        "errors": figures.accuracy_against_errors(
            situation,
            decision,
            explorer.catalogue,
            explorer.points,
            explorer.estimate and (situation.bit_error_rate, explorer.estimate),
        ),
        "bits": bars.picture(situation, explorer.delivery, bits),
    }


def trace(spec, name):
    return next(t for t in spec["data"] if t["name"].startswith(name))


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_figure_passes_plotlys_own_validation(explorers, name):
    for spec in draw(explorers[name]).values():
        go.Figure(spec)  # raises for anything that is not in Plotly's schema


@pytest.mark.parametrize("name", SITUATIONS)
def test_accuracy_against_size_divides_the_candidates_by_feasibility(explorers, name):
    explorer = explorers[name]
    spec = draw(explorer)["accuracy"]
    fits, beyond = spec["layout"]["shapes"][:2]
    own, nested = trace(spec, "candidates")["x"], trace(spec, "nested")["x"]
    assert (len(own), len(nested)) == (OWN, ALL_IN_ONE)
    sizes = own + nested
    inside = [size for size in sizes if fits["x0"] <= size <= fits["x1"] * (1 + 1e-9)]
    assert len(inside) == len(explorer.decision.feasible)
    assert beyond["visible"] is (len(inside) < len(sizes))
    assert beyond["x0"] == fits["x1"]


def notes(spec):
    return {note["text"]: note for note in spec["layout"]["annotations"] if note["visible"]}


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("nothing fits", {"does not fit"}),
        ("hardly too slow", {"does not fit"}),
        ("everything fits", {"fits"}),
        ("IoT sensor", {"fits", "does not fit"}),
    ],
)
def test_fits_is_said_only_where_something_does(explorers, name, sides):
    shown = notes(draw(explorers[name])["accuracy"])
    assert {"fits", "does not fit"} & shown.keys() == sides


@pytest.mark.parametrize("memory_bytes", [1e3, 2e4, 3e6])
def test_the_notes_of_two_limits_stand_side_by_side(explorers, memory_bytes):
    explorer = explorers["IoT sensor"]
    link = {"bandwidth_hz": 8 * memory_bytes, "spectral_efficiency_bps_hz": 1.0, "latency_s": 1.0}
    at = replace(explorer.situation, memory_bytes=memory_bytes, delay_s=0.0, **link)
    spec = figures.accuracy_against_size(
        at, explorer.decision, candidates(explorer.situation, explorer.catalogue), None
    )
    limits = [note for text, note in notes(spec).items() if "fit" not in text or "memory" in text]
    assert len({(note["x"], note["xshift"]) for note in limits}) == len(limits) == 2
    assert len({note["xanchor"] for note in limits}) == 1


def test_the_choice_and_the_measurement_stand_where_they_were_measured(explorers):
    explorer = explorers["IoT sensor"]
    star, diamond = draw(explorer)["accuracy"]["layout"]["shapes"][-2:]
    expected, estimate = explorer.decision.expected, explorer.estimate
    assert (star["xanchor"], star["yanchor"]) == (expected.num_bits / 8, 100 * expected.accuracy)
    assert diamond["xanchor"] == explorer.delivery.num_bits / 8
    assert diamond["path"].startswith(f"M0,{100 * estimate.low:.3f}L0,{100 * estimate.high:.3f}M")
    assert f"M-5,{100 * estimate.accuracy:.3f}L" in diamond["path"]


def test_nothing_measured_and_nothing_chosen_are_not_drawn(explorers):
    situation = explorers["nothing fits"].situation
    decision = explorers["nothing fits"].decision
    assert decision.recipe is None
    spec = figures.accuracy_against_size(situation, decision, (), None)
    assert [shape["visible"] for shape in spec["layout"]["shapes"][-2:]] == [False, False]


def test_the_rates_are_fig_4s():
    spec = figures.required_rates(1.0)
    vgg = trace(spec, "VGG-16")
    at = dict(zip(vgg["x"], vgg["y"], strict=True))
    assert at[20.0] == pytest.approx(required_rate_bps(135e6, 0.2, 1.0))
    lines = [shape["y0"] for shape in spec["layout"]["shapes"] if shape["type"] == "line"]
    assert lines == [line.rate_bps for line in REFERENCE_RATES]
    sources = [note["hovertext"] for note in spec["layout"]["annotations"]]
    assert all(
        (source and "ITU" in source) or "paper" in source or "TS" in source for source in sources
    )


def test_guards_are_drawn_apart_for_floats_and_together_for_codes(explorers):
    floats = draw(explorers["by hand"])["errors"]
    assert [t["name"] for t in floats["data"]][:3] == ["guard: none", "guard: clamp", "guard: zero"]
    codes = draw(explorers["IoT sensor"])["errors"]
    assert [t["name"] for t in codes["data"]] == [
        "every guard (codes stay in range)",
        "measured",
    ]


def test_a_bit_error_rate_of_zero_has_a_place_on_the_axis(explorers):
    spec = draw(explorers["no error"])["errors"]
    now, diamond = spec["layout"]["shapes"]
    assert now["x0"] == now["x1"] == diamond["xanchor"] == figures.ZERO
    assert spec["layout"]["xaxis"]["ticktext"][0] == "0"


def test_points_measured_now_stand_in_for_a_missing_catalogue(explorers):
    explorer = explorers["not in the catalogue"]
    clamp = trace(draw(explorer)["errors"], "guard: clamp")
    mine = [p for p in explorer.points if p.guard == "clamp"]
    assert clamp["y"] == [100 * p.estimate.accuracy for p in mine]


def test_the_bars_as_a_figure_are_those_of_the_page(explorers):
    explorer = explorers["Car"]
    situation, delivery = explorer.situation, explorer.delivery
    spec = draw(explorer)["bits"]
    page = bars.bits_and_time(situation, delivery, delivery.num_bits)
    said = re.findall(r"</i>(.*?)</li>", page)
    assert [t["name"] for t in spec["data"]] == said
    purposes = [t["x"][0] for t in spec["data"] if t["y"] == ["B"]]
    assert 8 * sum(purposes) == delivery.num_bits
    times = [t["x"][0] for t in spec["data"] if t["y"] == ["s"]]
    assert sum(times) == pytest.approx(situation.link.time_s(delivery.num_bits))


def test_the_text_alternatives_state_the_present_numbers(explorers):
    explorer = explorers["AR headset"]
    texts = figures.describe(explorer.situation, explorer.decision, explorer.estimate)
    assert texts.keys() == draw(explorer).keys()
    assert f"{100 * explorer.estimate.accuracy:.1f} % measured" in texts["accuracy"]
    assert "4 Mbit/s" in texts["rates"]


def test_no_line_goes_from_0_over_rates_that_nobody_measured():
    line = {
        "x": [figures.ZERO, 1e-5, 1e-4],
        "y": [90.0, 80.0, 20.0],
        "error_y": {"type": "data", "array": [1, 2, 3], "arrayminus": [4, 5, 6]},
    }
    apart = figures.apart_from_zero(line)
    assert apart["x"] == [figures.ZERO, None, 1e-5, 1e-4]
    assert apart["y"] == [90.0, None, 80.0, 20.0]
    assert apart["error_y"]["array"] == [1, None, 2, 3]
    assert apart["error_y"]["arrayminus"] == [4, None, 5, 6]
    go.Figure({"data": [{"type": "scatter", **apart}]})
    for whole in ({**line, "x": [figures.ZERO, 1e-7, 1e-4]}, {**line, "x": [1e-6, 1e-5, 1e-4]}):
        assert figures.apart_from_zero(whole) == whole


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([0.002, 30.0], ["10 ms", "100 ms", "1 s", "10 s"]),
        ([2.0, 900.0], ["10 s", "1 min", "10 min"]),
        ([4000.0, 9000.0], ["1 h", "2 h"]),
        ([0.5, 3e6], ["1 s", "10 s", "1 min", "10 min", "1 h", "10 h", "1 d", "10 d"]),
    ],
)
def test_a_logarithmic_axis_says_long_times_as_people_do(times, said):
    axis = figures.log_axis(times, "Time", "s")
    assert [text.replace("\u202f", " ") for text in axis["ticktext"]] == said
    assert axis["tickvals"] == sorted(axis["tickvals"])
    for value in axis["tickvals"]:
        assert 10 ** axis["range"][0] <= value <= 10 ** axis["range"][1]
