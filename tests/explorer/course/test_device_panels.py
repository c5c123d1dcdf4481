"""The panels of the device and the trigger: drawn as it happens, every control asks anew."""

import threading
from itertools import islice

import plotly.graph_objects as go
import pytest

from insitu_widgets.explorer.course import device_panels, trigger_panels
from insitu_widgets.explorer.course.device_panels import swap_panel
from insitu_widgets.explorer.course.trigger_panels import trigger_panel
from insitu_widgets.explorer.runner import Inline

pytestmark = pytest.mark.realtime


class Kept(Inline):
    """Run the request to its end, or a part of it, and keep every picture."""

    def __init__(self, most=None):
        super().__init__()
        self.pictures, self._most = [], most

    def request(self, steps, on_step, on_end):
        self.pictures = []

        def keep(step):
            self.pictures.append(step)
            on_step(step)

        super().request(lambda: islice(steps(), self._most), keep, on_end)


def check(panel, names):
    assert panel.charts.errors == {}, panel.words.value
    assert set(panel.charts.charts) == names
    for chart in panel.charts.charts.values():
        figure = go.Figure(chart["spec"])
        assert figure.layout.xaxis.title.text
        assert len(chart["text"]) > 40
        assert "nan" not in chart["text"]


@pytest.fixture(scope="module", autouse=True)
def hurried():
    """Shorter streams than a reader sees."""
    patch = pytest.MonkeyPatch()
    patch.setattr(device_panels, "_BEFORE_S", 0.2)
    patch.setattr(device_panels, "_AFTER_S", 0.2)
    patch.setattr(trigger_panels, "_CHANGE", 60)
    patch.setattr(trigger_panels, "_AFTER_SWAP_S", 0.3)
    patch.setattr(trigger_panels, "_STREAMS", 20)
    patch.setattr(trigger_panels, "_FALSE_STREAMS", 5)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def swap():
    runner = Kept()
    return swap_panel(runner), runner.pictures


def test_two_memories_answer_while_one_stands_still(swap):
    panel, _ = swap
    check(panel, {"timeline", "waits"})
    rows = panel.charts.charts["timeline"]["spec"]["data"][-2]["y"]
    assert set(rows) == {"one memory", "two: memory 1", "two: memory 2"}
    arriving = panel.charts.charts["timeline"]["spec"]["data"][0]
    assert arriving["y"] == ["two: memory 2", "one memory"]
    assert min(arriving["x"]) > 1.0
    assert panel.words.value.count("in service") == 2


def test_it_is_drawn_as_it_happens(swap):
    _, pictures = swap
    answered = [len(picture.charts["timeline"].spec["data"][-2]["x"]) for picture in pictures]
    assert len(pictures) > 10
    assert answered == sorted(answered)
    assert answered[0] < answered[-1] / 4
    arriving = [picture.charts["timeline"].spec["data"][0]["x"] for picture in pictures]
    begun = [spans[0] for spans in arriving if spans]
    assert begun[0] < begun[3] < begun[-1], "the bar grows"


@pytest.mark.parametrize(
    ("arrival", "words"),
    [("late", "deadline_s: late"), ("body", "body: damaged"), ("header", "header: damaged")],
)
def test_a_bad_arrival_is_said_and_the_model_stays(swap, arrival, words):
    panel, _ = swap
    panel.controls["rate_bps"].value = 1e7
    panel.controls["arrival"].value = arrival
    check(panel, {"timeline", "waits"})
    assert panel.words.value.count(words) == 2
    assert "Model 0 stays in service." in panel.words.value
    assert "No model is left" in panel.words.value


def test_every_control_of_the_swap_asks_anew():
    panel = swap_panel(Kept(3))
    for name, value in (
        ("first", "resnet-digits"),
        ("following", "vgg-digits"),
        ("rate_bps", 1e8),
        ("frame_rate_hz", 60.0),
        ("seed", 1),
    ):
        before = panel.charts.charts
        panel.controls[name].value = value
        assert panel.charts.charts is not before
        check(panel, {"timeline", "waits"})
    running = [thread.name for thread in threading.enumerate()]
    assert not [name for name in running if name.startswith("inference")], "it was stopped early"


def test_a_change_is_detected_and_met():
    runner = Kept()
    panel = trigger_panel(runner)
    check(panel, {"sure", "delays", "live"})
    assert list(runner.pictures[0].charts) == ["sure"], "something is shown at once"
    assert "Calibrated on 399 images" in panel.words.value
    marks = [note["text"] for note in panel.charts.charts["live"]["spec"]["layout"]["annotations"]]
    assert marks == ["change", "alarm", "model for inverted"]
    for curve in panel.charts.charts["delays"]["spec"]["data"]:
        assert curve["y"] == sorted(curve["y"])
        assert curve["y"][-1] <= 100
    shares = [sum(curve["y"]) for curve in panel.charts.charts["sure"]["spec"]["data"]]
    assert shares == pytest.approx([100] * 4)


def test_every_control_of_the_trigger_asks_anew():
    panel = trigger_panel(Kept(3))
    for name, value in (
        ("name", "resnet-digits"),
        ("context", "noisy"),
        ("apart", 1000),
        ("rate_bps", 1e7),
        ("frame_rate_hz", 120.0),
        ("seed", 7),
    ):
        before = panel.charts.charts
        panel.controls[name].value = value
        assert panel.charts.charts is not before
        check(panel, {"sure", "delays"})
