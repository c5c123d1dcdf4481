"""Explorer without a browser: situation -> decision -> estimate."""

import csv
import io
import json
from dataclasses import replace

import pytest

import insitu_widgets
from insitu_widgets import Link, accuracy, derive, load_data, load_root, pack, transmit, unpack
from insitu_widgets.cards import ROOTS
from insitu_widgets.estimate import Estimate
from insitu_widgets.explorer import words
from insitu_widgets.explorer.dashboard import dashboard
from insitu_widgets.explorer.live import (
    Answer,
    Delivery,
    Laboratory,
    Point,
    _batch,
    left_out,
    measurable,
    missing_images,
    picture,
)
from insitu_widgets.explorer.state import Explorer
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import load_catalogue
from insitu_widgets.network.permalink import from_query
from insitu_widgets.network.situation import PRESETS, Situation, choose
from tests.explorer.held import Held


def by_the_api(situation, recipe):
    """The same measurement, step by step with the public names."""
    sent = pack(derive(load_root(recipe.root), recipe))
    link = Link(situation.rate_bps, situation.delay_s, situation.bit_error_rate)
    submodel, report = unpack(transmit(sent, link, situation.seed), situation.guard)
    *_, last = accuracy(submodel, load_data("digits"))
    return sent, report, last


@pytest.mark.parametrize("name", PRESETS)
def test_what_it_shows_is_what_the_api_computes(name):
    situation = PRESETS[name]
    explorer = Explorer(situation)
    decision = choose(situation, load_catalogue(situation.root))
    assert explorer.decision == decision
    sent, report, estimate = by_the_api(situation, decision.recipe)
    assert explorer.estimate == estimate
    assert explorer.delivery.bits == sent.breakdown()
    assert explorer.delivery.report == report
    assert not explorer.stale
    assert explorer.done


def test_every_bit_turned_over_is_counted():
    explorer = Explorer(Situation(bit_error_rate=1e-2, bandwidth_hz=1e7))
    recipe = explorer.decision.recipe
    sent = pack(derive(load_root(recipe.root), recipe))
    arrived = transmit(sent, Link(1.0, bit_error_rate=1e-2), 0)
    differing = sum((a ^ b).bit_count() for a, b in zip(sent.body, arrived.body, strict=True))
    assert explorer.delivery.flipped == differing > 0


def test_sending_again_draws_the_channel_anew():
    explorer = Explorer(Situation(bit_error_rate=1e-2))
    first = explorer.estimate
    explorer.change(seed=1)
    _, _, expected = by_the_api(explorer.situation, explorer.decision.recipe)
    assert explorer.estimate == expected != first


def test_back_again_before_the_other_was_measured_is_as_at_first():
    """From A to B to A: A's curve is measured once more, not appended to, and B's failure goes."""
    runner = Held()
    here = Situation(recipe=Recipe("vgg-digits", 1, 0.37, 4), root="vgg-digits")
    explorer = Explorer(here, runner)
    runner.deliver()
    points = explorer.points
    assert points
    for outcome in (lambda: None, lambda: runner.fail(RuntimeError("boom"))):
        explorer.situation = replace(here, seed=1)
        outcome()
        assert explorer.stale
        explorer.situation = here
        assert explorer.problems == {}
        runner.deliver()
        assert explorer.points == points
        assert (explorer.stale, explorer.done, explorer.problems) == (False, True, {})


def test_no_value_of_a_link_is_a_formula_in_a_spreadsheet():
    situation, _ = from_query("application==HYPERLINK(1)&latency_s=0.2")
    explorer = Explorer(situation, measuring=False)
    rows = dict(csv.reader(io.StringIO(explorer.to_csv())))
    assert rows["situation.application"] == "'=HYPERLINK(1)"
    assert json.loads(explorer.to_json())["situation"]["application"] == "=HYPERLINK(1)"
    assert not [value for value in rows.values() if value.startswith(("=", "+", "@"))]


def test_a_change_that_leaves_the_packet_alone_measures_nothing_anew():
    explorer = Explorer()
    before = explorer.delivery
    explorer.change(latency_s=explorer.situation.latency_s * 1.01)
    assert explorer.delivery is before
    assert not explorer.stale


def test_nothing_fits_nothing_is_sent():
    explorer = Explorer(Situation(bandwidth_hz=1e3, latency_s=0.01))
    assert explorer.decision.recipe is None
    assert explorer.estimate is None
    assert explorer.decision.remedy


def test_after_nothing_fitted_the_same_state_is_measured_again():
    explorer = Explorer()
    expected = explorer.estimate
    explorer.change(latency_s=0.001, delay_s=0.001)
    explorer.change(latency_s=0.1, delay_s=0.005)
    assert explorer.estimate == expected
    assert explorer.done
    assert not explorer.stale


def test_waiting_is_said_until_it_measures():
    explorer = Explorer(measuring=False)
    assert explorer.stale
    assert explorer.estimate is None
    explorer.measure()
    assert not explorer.stale
    assert explorer.estimate.seen == 797


def test_a_bad_value_changes_nothing():
    explorer = Explorer()
    before = explorer.situation
    with pytest.raises(ValueError, match=r"latency_s must be a number from 0\.001 to 10 s; got -1"):
        explorer.change(latency_s=-1.0)
    assert explorer.situation is before


def test_by_hand_starts_from_what_is_chosen():
    explorer = Explorer()
    chosen = explorer.decision.recipe
    explorer.by_hand()
    assert explorer.decision.recipe == chosen
    explorer.by_hand(bits=8)
    expected = replace(chosen, root=explorer.situation.root, bits=8, mixed=False)
    assert explorer.decision.recipe == expected
    assert explorer.measured.recipe == expected


@pytest.mark.parametrize(
    "text",
    [
        "vgg-digits-nested · exit 3 · keep 50 % · 3 bit",
        "vgg-digits · exit 3 · keep 50 % · 3 bit mixed",
    ],
)
def test_a_link_to_what_the_controls_do_not_offer_works(text):
    recipe = Recipe.parse(text)
    before = Explorer(Situation(root="vgg-digits", recipe=recipe), measuring=False)
    explorer = Explorer(from_query(before.permalink())[0])
    assert explorer.problems == {}
    assert explorer.decision.recipe == recipe
    _, _, estimate = by_the_api(explorer.situation, recipe)
    assert explorer.estimate == estimate
    assert text in words.plain(words.sentence(explorer))
    assert dashboard(explorer.situation).explorer.situation == explorer.situation
    explorer.by_hand(keep=0.2)
    assert explorer.situation.recipe == Recipe("vgg-digits", 3, 0.2, 3)


def test_a_recipe_the_catalogue_lacks_is_swept_now():
    recipe = Recipe("vgg-digits", exit=2, keep=0.37, bits=32)
    explorer = Explorer(Situation(root="vgg-digits", recipe=recipe, bit_error_rate=1e-3))
    assert explorer.decision.expected is None
    assert explorer.decision.fits is None
    assert {point.guard for point in explorer.points} == {"none", "clamp", "zero"}
    now = [p for p in explorer.points if (p.guard, p.bit_error_rate) == ("clamp", 1e-3)]
    assert [p.estimate for p in now] == [explorer.estimate]


def test_a_failure_is_told_and_the_next_measurement_works(monkeypatch):
    explorer = Explorer()

    def fail(self, request):
        raise OSError("weights are gone")
        yield request

    with monkeypatch.context() as patch:
        patch.setattr("insitu_widgets.explorer.live.Laboratory.steps", fail)
        explorer.change(bit_error_rate=1e-2)
        assert "weights are gone" in explorer.problems["live"]
        assert explorer.stale
    explorer.change(bit_error_rate=1e-3)
    assert explorer.problems == {}
    assert explorer.done


def test_the_permalink_leads_back():
    explorer = Explorer(PRESETS["Car"], measuring=False)
    explorer.by_hand(keep=0.2)
    assert from_query(explorer.permalink()) == (explorer.situation, ())
    assert Explorer(measuring=False).permalink() == ""


def test_json_and_csv_hold_state_and_results():
    explorer = Explorer(PRESETS["IoT sensor"])
    record = json.loads(explorer.to_json())
    assert record["situation"]["bandwidth_hz"] == explorer.situation.bandwidth_hz
    assert record["decision"]["recipe"] == str(explorer.decision.recipe)
    assert record["measured"]["correct"] == explorer.estimate.correct
    assert record["measured"]["complete"]
    rows = dict(csv.reader(io.StringIO(explorer.to_csv())))
    assert rows["measured.accuracy"] == str(explorer.estimate.accuracy)
    assert rows["situation.guard"] == "none"


def test_json_tells_the_whole_page_and_what_made_it():
    explorer = Explorer(Situation(guard="zero", bandwidth_hz=1e7))
    record = json.loads(explorer.to_json())
    recipe = explorer.decision.recipe
    assert record["sentence"].startswith(f"The network sends {recipe}: ")
    assert record["arrival_s"] == explorer.situation.link.time_s(explorer.delivery.num_bits)
    assert record["expected"]["guard"] == "none"
    assert record["expected"]["remark"].startswith("Guard zero was asked for. No guard acts on")
    curve = record["accuracy_against_bit_error_rate"]
    rows = explorer.catalogue.curve(recipe, "zero")
    assert [point["accuracy"] for point in curve] == [row.accuracy for row in rows]
    assert {point["guard"] for point in curve} == {"every"}
    assert record["versions"]["insitu_widgets"] == insitu_widgets.__version__
    assert record["versions"]["torch"][0].isdigit()
    assert "begun: " in record["versions"]["catalogue"]
    rows = dict(csv.reader(io.StringIO(explorer.to_csv())))
    key = "accuracy_against_bit_error_rate.0.accuracy"
    assert float(rows[key]) == curve[0]["accuracy"]
    explorer.change(bandwidth_hz=1e3)
    record = explorer.results()
    assert (record["arrival_s"], record["expected"]) == (None, None)
    assert record["accuracy_against_bit_error_rate"] == []


def test_a_float_recipe_has_a_curve_for_each_guard_and_no_remark():
    recipe = Recipe("resnet-digits", keep=0.2, bits=16)
    explorer = Explorer(Situation(recipe=recipe, bit_error_rate=1e-3), measuring=False)
    record = explorer.results()
    curve = record["accuracy_against_bit_error_rate"]
    assert {point["guard"] for point in curve} == {"none", "clamp", "zero"}
    assert "remark" not in record["expected"]


def test_what_is_stale_is_not_exported():
    explorer = Explorer(measuring=False)
    assert explorer.results()["measured"] is None


def test_the_records_of_the_measured_tier():
    explorer = Explorer()
    assert isinstance(explorer.delivery, Delivery)
    assert len(explorer.answers) == 20
    assert all(isinstance(answer, Answer) for answer in explorer.answers)
    two_each = load_data("digits", limit=20)
    assert [a.label for a in explorer.answers] == [str(n) for n in two_each.labels.tolist()]
    assert explorer.answers[0].picture == picture(two_each.images[0])
    assert not any(isinstance(point, Point) for point in explorer.points)


def test_a_measurement_under_way_tells_how_far_it_is():
    explorer = Explorer(measuring=False)
    assert explorer.num_images == 797
    explorer.measure()
    assert "progress" not in words.tiles(explorer)
    explorer.done, explorer.estimate = False, Estimate(90, 100)
    tiles = words.tiles(explorer)
    assert "measured on 100 of 797 images" in tiles
    assert '<progress aria-label="measuring" value="100" max="797">' in tiles
    explorer.estimate = None
    assert '<progress aria-label="measuring">' in words.tiles(explorer)


# What may be missing on a machine


def test_a_root_without_a_catalogue_is_measured_by_hand(monkeypatch):
    monkeypatch.setattr("insitu_widgets.explorer.state.shipped", lambda: ("resnet-digits",))
    explorer = Explorer(Situation(root="vgg-digits"))
    assert explorer.decision.recipe is None
    assert explorer.estimate is None
    sentence = words.sentence(explorer)
    assert "Nothing is known." in sentence
    assert "python -m insitu_widgets.network.sweep vgg-digits" in sentence
    assert "measuring" not in words.tiles(explorer)
    explorer.by_hand(bits=4)
    assert explorer.measured.recipe == Recipe("vgg-digits", bits=4)
    assert explorer.estimate.seen == 797
    assert explorer.decision.fits is None
    assert len(explorer.points) == 3 * 8
    assert dashboard(explorer) is not None


def test_without_its_images_a_root_is_packed_and_not_measured(monkeypatch):
    reason = "The images are not on this machine. To measure: fetch them."
    for place in ("live", "state"):
        monkeypatch.setattr(f"insitu_widgets.explorer.{place}.missing_images", lambda root: reason)
    explorer = Explorer(Situation(root="vgg-digits", bit_error_rate=1e-2))
    assert explorer.delivery.flipped > 0
    assert explorer.estimate is None
    assert explorer.done
    assert explorer.problems == {}
    assert reason in words.strip(explorer)
    tiles = words.tiles(explorer)
    assert "not measured: the images are not here" in tiles
    assert "progress" not in tiles
    assert explorer.decision.expected is not None
    assert explorer.results()["measured"] is None


def test_a_machine_without_photographs_says_how_to_get_them(monkeypatch):
    cards = {"photos": Photos, **ROOTS}
    monkeypatch.setattr("insitu_widgets.explorer.live.ROOTS", cards)
    monkeypatch.setattr("insitu_widgets.explorer.live.card_of", cards.get)
    monkeypatch.setattr("insitu_widgets.cifar100.find", lambda: None)
    monkeypatch.delenv("INSITU_DATA", raising=False)
    assert missing_images("resnet-digits") == ""
    assert missing_images("photos").endswith(
        "python -m insitu_widgets.data cifar100 (170 MB, once)."
    )
    monkeypatch.setenv("INSITU_DATA", "/no/such/folder")
    assert "INSITU_DATA names /no/such/folder, which is no folder:" in missing_images("photos")
    assert "photos" not in measurable()
    assert left_out().startswith("Not offered: photos, resnet18-cifar100, vgg16-cifar100, ")
    assert left_out().count("python -m insitu_widgets.data cifar100") == 1
    assert left_out(["resnet-digits"]) == ""
    monkeypatch.setattr("insitu_widgets.cifar100.find", lambda: "cifar100.npz")
    assert missing_images("photos") == ""
    assert measurable()[0] == "photos"
    assert left_out() == ""


class Photos:
    data = "cifar100"


def test_a_step_is_short_and_a_strip_is_mixed_for_photographs(noise):
    """Sorted by class, the first images of CIFAR-100 are all apples."""
    assert _batch(load_data("digits")) == 100
    assert _batch(noise) == 20
    laboratory = Laboratory()
    laboratory._images["cifar100"] = noise
    with_card = {"photos": Photos, **ROOTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("insitu_widgets.explorer.live.card_of", with_card.get)
        strip, pictures = laboratory._strip("photos")
    assert len(strip) == len(pictures) == len(set(strip.labels.tolist())) == 10
    assert strip.images.shape[1:] == (3, 32, 32)
