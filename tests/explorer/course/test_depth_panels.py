"""The depth level's panels without a browser: every control moved, every figure checked."""

import html
import re
from itertools import islice

import plotly.graph_objects as go
import pytest

from insitu_widgets import load_data
from insitu_widgets.explorer.course import depth_live as live
from insitu_widgets.explorer.course import depth_panels, loaded
from insitu_widgets.explorer.course.depth_panels import (
    _split_steps,
    exits_panel,
    privacy_panel,
    progressive_panel,
    split_panel,
)
from insitu_widgets.network.catalogue import condition
from insitu_widgets.network.depth_rows import (
    EXITS,
    PRIVACY,
    PROGRESSIVE,
    SPLITS,
    download_of,
    exits_of,
    heard_of,
    split_of,
)
from tests.conftest import PHOTO_ROOTS


def check(panel):
    assert panel.charts.errors == {}
    assert panel.charts.stale == {}
    assert panel.charts.charts
    for chart in panel.charts.charts.values():
        go.Figure(chart["spec"])
        assert chart["text"].endswith(".")
        assert "nan" not in chart["text"]
    return panel


def charts(panel):
    return check(panel).charts.charts


@pytest.fixture(scope="module", autouse=True)
def fewer_images():
    """A hundred images for each measurement instead of all: these tests are of the panels."""
    cached = (live.together, live.answers_of, live.attack_on)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "images_of", lambda _, part="test": load_data("digits", part, 100))
        yield
    for measurement in cached:
        measurement.cache_clear()


@pytest.fixture(scope="module")
def split():
    return split_panel()


def test_the_split_panel_measures_every_split_that_may_be(split):
    split.controls["least"].value = 1
    measured = charts(split)["accuracy"]["spec"]["data"][0]
    assert measured["x"] == [1, 2, 3, 4, 5, 6]
    assert min(measured["y"]) > 95
    split.controls["least"].value = 0
    assert charts(split)["accuracy"]["spec"]["data"][0]["x"][0] == 0


def test_the_best_split_moves_with_the_images(split):
    split.controls["least"].value = 1
    split.controls["count"].value = 1
    few = charts(split)["times"]["text"]
    split.controls["count"].value = 100_000
    assert "fastest split is 1:" in few
    assert "fastest split is 6: device" in charts(split)["times"]["text"]


def test_splits_that_are_as_good_as_equal_are_both_named_and_starred(split):
    """862 and 863 ms: the times are modelled, and do not tell such a pair apart."""
    split.controls["count"].value = 20
    times = charts(split)["times"]
    assert times["text"].startswith(
        "For 20 images splits 1 and 3 are as good as equal; split 1: 862 ms, of which"
    )
    assert "split 3: 863 ms, of which" in times["text"]
    notes = times["spec"]["layout"]["annotations"]
    assert [note["x"] for note in notes if note["text"].startswith("★")] == [1, 3]


def test_every_bar_is_as_long_as_its_time_and_in_a_unit_that_is_read(split):
    split.controls["network"].value, split.controls["least"].value = "ResNet-50", 0
    split.controls["count"].value = 500_000
    times = charts(split)["times"]["spec"]
    heights = [sum(parts) for parts in zip(*(bar["y"] for bar in times["data"]), strict=True)]
    assert times["layout"]["yaxis"]["title"]["text"] == "Time for 500,000 images (d)"
    for note, height in zip(times["layout"]["annotations"], heights, strict=True):
        assert note["y"] == pytest.approx(height)
        assert note["text"].removeprefix("★ ") == f"{float(f'{height:.3g}'):g} d"
    assert max(heights) / min(heights) > 30
    split.controls["network"].value, split.controls["count"].value = "resnet-digits", 20


def test_a_split_that_sends_the_image_is_said_not_to_count_where_it_may_not(split):
    split.controls["least"].value = 1
    assert "No image may go up, so split 0: server does not count" in charts(split)["times"]["text"]
    split.controls["least"].value = 0
    assert "does not count" not in charts(split)["times"]["text"]
    split.controls["least"].value = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", 1e6),
        ("server", 1e9),
        ("downlink", 1e9),
        ("uplink", 1e9),
        ("feature_bits", 1),
        ("bit_error_rate", 0.1),
        ("keep", 0.05),
        ("bits", 1),
        ("network", "VGG-16"),
    ],
)
def test_every_control_of_the_split_panel_changes_something(split, name, value):
    before = {key: dict(chart) for key, chart in split.charts.charts.items()}
    split.controls[name].value = value
    assert charts(split) != before


def test_a_large_network_has_no_accuracy_and_says_why(split):
    for name in ("ResNet-50", "MobileNet-V2", "ConvNeXt-Tiny"):
        split.controls["network"].value = name
        shown = charts(split)
        assert shown["accuracy"]["spec"]["data"] == []
        assert "No weights" in shown["accuracy"]["text"]


def test_the_first_picture_comes_before_any_image_is_classified(split):
    split.controls["network"].value = "resnet-digits"
    first = next(islice(_split_steps(**split.values), 1))
    assert set(first.charts) == {"sizes", "times", "total"}


def test_a_wrong_value_is_told_beside_the_figures(split):
    split._steps = lambda **values: _split_steps(**{**values, "downlink": -1.0})
    split.run()
    assert "rate_bps must be" in split.words.value
    split._steps = _split_steps


def test_the_exits_panel():
    panel = check(exits_panel())
    assert "98.0 %" in panel.words.value
    for name, value in (
        ("measure", "entropy"),
        ("target", 0.9),
        ("source", "train"),
        ("device", 1e6),
        ("server", 1e9),
        ("uplink", 1e4),
        ("feature_bits", 1),
        ("point", 0),
        ("threshold", 0.5),
        ("axis", "operations"),
        ("network", "resnet-digits"),
    ):
        before = (panel.words.value, dict(charts(panel)))
        panel.controls[name].value = value
        assert (panel.words.value, charts(panel)) != before, name
    shares = charts(panel)["shares"]["spec"]["data"]
    assert sum(y for bar in shares for y in bar["y"]) == pytest.approx(100)
    assert shares[0]["x"] == []  # point 0: no exit is on the device


def test_a_target_that_no_threshold_reaches_and_a_split_beyond_the_last_are_told():
    panel = exits_panel()
    panel.controls["point"].value = 0
    panel.controls["feature_bits"].value = 1
    panel.controls["target"].value = 0.995
    check(panel)
    told = re.search(
        r"No threshold reaches 99\.5\s% on the 50 test images put aside, the most is ([\d.]+)\s%",
        panel.words.value,
    )
    assert 50 < float(told[1]) < 99.5
    panel.controls["target"].value = 0.4
    check(panel)
    assert "No threshold" not in panel.words.value
    panel.controls["target"].value = 0.995
    panel.controls["point"].value = 8
    assert "must be a whole number from 0 to 6; got 8" in panel.charts.errors["curve"]
    panel.controls["point"].value = 2
    check(panel)


def test_the_progressive_panel():
    panel = check(progressive_panel())
    assert "before" in panel.children[0].value
    for name, value in (
        ("rate", 1e4),
        ("keep", 0.5),
        ("bits", 32),
        ("bit_error_rate", 1e-2),
        ("seed", 1),
        ("guard", "none"),
        ("network", "resnet-digits"),
    ):
        before = panel.charts.charts["arriving"]["text"], panel.words.value
        panel.controls[name].value = value
        assert (charts(panel)["arriving"]["text"], panel.words.value) != before, name
    line, exits, whole = panel.charts.charts["arriving"]["spec"]["data"]
    assert len(exits["x"]) == 6
    assert exits["x"] == sorted(exits["x"])
    assert line["y"] == sorted(line["y"])
    assert whole["x"][0] < exits["x"][-1]


def test_the_privacy_panel():
    panel = check(privacy_panel())
    assert panel.words.value.count("<img") == 1
    assert "split 5" in panel.words.value
    for name, value in (("feature_bits", 1), ("network", "vgg-digits")):
        before = panel.charts.charts["fidelity"]["text"]
        panel.controls[name].value = value
        assert charts(panel)["fidelity"]["text"] != before, name


@pytest.fixture
def without_images(monkeypatch):
    """A machine that has the digits, as all have, and no photographs."""

    def never(*_):
        raise AssertionError("photographs were asked for")

    monkeypatch.setattr("insitu_widgets.cifar100.find", lambda: None)
    monkeypatch.setattr("insitu_widgets.cifar100.read", never)
    whole = loaded.images_of
    monkeypatch.setattr(
        loaded, "images_of", lambda n, *part: never() if n in PHOTO_ROOTS else whole(n, *part)
    )


PANELS = {exits_panel: EXITS, progressive_panel: PROGRESSIVE, privacy_panel: PRIVACY}


@pytest.mark.parametrize("make", PANELS)
def test_without_photographs_their_roots_are_shown_from_the_shipped_tables(make, without_images):
    panel = check(make())
    assert "Shipped measurement" not in panel.words.value
    assert "Not offered" not in panel.children[0].value
    for root in PHOTO_ROOTS:
        panel.controls["network"].value = root
        check(panel)
        told = html.unescape(panel.words.value)
        assert f"Shipped measurement, on {condition(root, PANELS[make])[8:]}" in told
        assert "The images of cifar100 are not on this machine" in told
        assert "-m insitu_widgets.data cifar100" in told


def test_the_exits_of_a_table_are_chosen_as_those_of_images_are(without_images):
    panel, root = exits_panel(), "vgg16-cifar100"
    panel.controls["network"].value = root
    panel.controls["target"].value = 0.64
    held = exits_of(root, bits=4, point=2, measure="probability", source="aside")
    found = held.cheapest(0.64)
    routing = held.route(found.threshold)
    told = check(panel).words.value
    assert "lowest threshold that reaches 64.0 % on the 500 test images put aside" in told
    assert f"Threshold {found.threshold:.3g}: {100 * routing.estimate.accuracy:.1f}" in told
    line, alone, _ = charts(panel)["curve"]["spec"]["data"]
    assert len(line["x"]) == len(held.reported)
    assert alone["y"] == [100 * each.accuracy for each in held.alone]
    for name, value in (
        ("measure", "entropy"),
        ("device", 1e6),
        ("uplink", 1e4),
        ("point", 0),
        ("feature_bits", 32),
        ("source", "train"),
        ("threshold", 0.35),
        ("axis", "operations"),
        ("point", 5),
    ):
        before = (panel.words.value, dict(charts(panel)))
        panel.controls[name].value = value
        assert (panel.words.value, charts(panel)) != before, name
    panel.controls["feature_bits"].value = 4  # at the last split nothing goes up
    check(panel)
    panel.controls["point"].value = 3
    assert "Got 4 bit, 3 on the device" in panel.charts.errors["curve"]
    assert panel.charts.stale["curve"]


def test_the_download_of_a_table_takes_any_rate_and_no_other_setting(without_images):
    panel, root = progressive_panel(), "resnet18-cifar100"
    panel.controls["network"].value = root
    held = download_of(root, keep=1.0, bits=4, bit_error_rate=0.0, guard="clamp", seed=0)
    for rate in (1e6, 5e7):
        panel.controls["rate"].value = rate
        _, exits, whole = charts(panel)["arriving"]["spec"]["data"]
        assert exits["x"] == [num_bits / rate for num_bits, _ in held.exits]
        assert exits["y"] == [100 * estimate.accuracy for _, estimate in held.exits]
        assert whole["y"] == [100 * held.whole[1].accuracy]
    panel.controls["bits"].value = 3
    assert "Got 100 % of the weights · 3 bit" in panel.charts.errors["arriving"]
    assert "20 % of the weights · 4 bit · no bit errors" in panel.words.value
    panel.controls["bits"].value = 32
    check(panel)


def test_the_attacks_of_a_table_have_no_pictures_and_say_what_is_missing(without_images):
    panel, root = privacy_panel(), "resnet18-cifar100"
    panel.controls["network"].value = root
    line, *_ = charts(panel)["fidelity"]["spec"]["data"]
    assert line["y"] == list(heard_of(root, bits=4, attacker="ridge").psnr_db.values())
    assert "<img" not in panel.words.value
    assert "Pictures are not shown" in panel.words.value
    assert "less with every block" in panel.words.value
    panel.controls["attacker"].value = "network"
    line = charts(panel)["fidelity"]["spec"]["data"][0]
    places = zip(line["x"], line["y"], strict=True)  # a gap, and no line over it
    assert [place for place, value in places if value is None] == [1, 2, 3, 4]
    assert panel.words.value.count("not measured") == 4
    assert "less at every deeper split that was measured" in panel.words.value
    panel.controls["feature_bits"].value = 8
    assert "Got network on 8 bit" in panel.charts.errors["fidelity"]


def test_without_photographs_a_split_is_as_accurate_as_it_was_measured(without_images):
    panel, root = split_panel(), "vit-cifar100"
    panel.controls["network"].value = root
    sent = {"keep": 1.0, "bits": 4, "feature_bits": 4}
    for least, rate in ((1, 0.0), (0, 1e-2)):
        panel.controls["least"].value = least
        panel.controls["bit_error_rate"].value = rate
        held = split_of(root, **sent, bit_error_rate=rate).estimates
        shown = charts(panel)
        line = shown["accuracy"]["spec"]["data"][0]
        assert list(line["x"]) == list(held)[least:]
        assert line["y"] == pytest.approx([100 * held[p].accuracy for p in line["x"]], abs=0.05)
        assert len(shown["times"]["spec"]["data"][0]["x"]) == 7
        told = html.unescape(panel.words.value)
        assert f"Shipped measurement, on {condition(root, SPLITS)[8:]}" in told
        assert "-m insitu_widgets.data cifar100" in told
    panel.controls["keep"].value = 0.3
    shown = charts(panel)
    assert shown["accuracy"]["spec"]["data"] == []
    assert "Got 30 % at 4 bit · features 4 bit" in shown["accuracy"]["text"]
    told = html.unescape(panel.words.value)
    assert "; 20 % at 4 bit · features 4 bit · bit-error rate 0;" in told
    assert len(shown["times"]["spec"]["data"][0]["x"]) == 7


def test_without_photographs_and_without_a_table_a_split_says_how_to_classify(
    without_images, monkeypatch
):
    monkeypatch.setattr(depth_panels, "shipped", lambda _: ())
    panel = split_panel()
    panel.controls["network"].value = "vit-cifar100"
    shown = charts(panel)
    assert shown["accuracy"]["spec"]["data"] == []
    assert "-m insitu_widgets.data cifar100" in shown["accuracy"]["text"]
    assert len(shown["times"]["spec"]["data"][0]["x"]) == 7


def test_a_table_that_is_missing_leaves_a_root_out(without_images, monkeypatch):
    monkeypatch.setattr(depth_panels, "shipped", lambda suffix: ("vit-cifar100",))
    panel = check(progressive_panel())
    assert panel.controls["network"].options[-2:] == ("vit-digits", "vit-cifar100")
    assert "Not offered: resnet18-cifar100, vgg16-cifar100." in panel.children[0].value
