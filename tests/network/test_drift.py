"""The trigger: seldom wrong, soon right, and followed by the model that fits."""

import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from insitu_widgets.air.channel import Link
from insitu_widgets.air.payload import pack
from insitu_widgets.data import ImageSet, load_data
from insitu_widgets.levels.confidence import confidence
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.contexts import CONTEXTS, Offer, halves, moved, offers
from insitu_widgets.network.device import Device
from insitu_widgets.network.device_log import Answer, Log, Swap
from insitu_widgets.network.drift import (
    LEAST_FRAMES,
    TOLERANCES,
    TOLERATED,
    Trigger,
    Watch,
    alarms,
    calibrate,
    delays,
    lateness,
)

SURE = np.random.default_rng(0).normal(0.9, 0.05, 400)
UNSURE = SURE - 0.3


def random(seed=1):
    return np.random.default_rng(seed)


def test_a_fall_is_seen_and_a_rise_is_not():
    assert alarms([0.9] * 50 + [0.4] * 20, 1.0) >= 1
    assert alarms([0.4] * 50 + [0.9] * 50, 1.0) == 0


def test_the_sum_is_that_of_page_and_hinkley():
    """After n sure frames, the m-th unsure one raises the sum above the threshold; by hand."""
    threshold, before, after, n = 1.0, 0.9, 0.4, 60
    total, mean, least = 0.0, 0.0, 0.0
    trigger = Trigger(threshold)
    for count, value in enumerate([before] * n + [after] * 20, 1):
        mean += (value - mean) / count
        total = (1 - 1e-4) * total + mean - value - TOLERATED
        least = min(least, total)
        expected = count >= LEAST_FRAMES and total - least > threshold
        assert trigger.update(value) == expected
        if expected:
            return
    pytest.fail("no alarm")


def test_false_alarms_are_as_seldom_as_was_asked_for():
    for apart in (500, 5000):
        threshold = calibrate(SURE, apart, random())
        stream = random(2).choice(SURE, 40 * apart).tolist()
        assert 20 <= alarms(stream, threshold) <= 60  # 40 ± 3 standard deviations


def test_a_quieter_trigger_is_later():
    hasty, patient = (
        delays(SURE, UNSURE, calibrate(SURE, apart, random()), random(), streams=60)
        for apart in (200, 5000)
    )
    assert hasty.within(0.5) < patient.within(0.5) < 30
    assert hasty.early > patient.early
    for found in (hasty, patient):
        assert len(found.frames) + found.missed + found.early == 60


def test_without_a_change_nothing_is_detected():
    found = delays(SURE, SURE, calibrate(SURE, 10_000, random()), random(), streams=20, most=50)
    assert found.missed == 20
    assert found.within(0.95) == np.inf


@pytest.mark.parametrize("context", CONTEXTS[1:])
@pytest.mark.parametrize("name", ["vgg-digits", "resnet-digits", "vit-digits"])
def test_every_root_is_less_sure_where_it_was_not_trained(roots, digits, name, context):
    model = derive(roots[name], Recipe(name, bits=8))
    with torch.inference_mode():
        before, after = (
            confidence(model(moved(digits, place).images)).mean()
            for place in (CONTEXTS[0], context)
        )
    assert after < before - 0.05


def test_what_chooses_and_what_reports_are_all_images_and_none_twice(digits):
    chooses, reports = halves(digits)
    assert len(chooses) + len(reports) == len(digits)
    assert torch.equal(chooses.images[3], digits.images[6])
    assert torch.equal(reports.labels[3], digits.labels[7])


def test_lateness_is_the_mean_delay_after_calibration():
    threshold = calibrate(SURE, 500, random(0), 0.1)
    assert TOLERATED in TOLERANCES
    streams = random(0)
    assert calibrate(SURE, 500, streams, 0.1) == threshold
    found = [delays(SURE, each, threshold, streams, tolerated=0.1) for each in (UNSURE, SURE)]
    assert lateness(SURE, (UNSURE, SURE), 500, 0.1) == np.mean([each.mean for each in found])
    assert found[0].mean < 30 < found[1].mean


def test_a_missed_change_counts_as_long_as_was_waited():
    found = delays(SURE, SURE, 1e6, random(), streams=5, most=40)
    assert (found.missed, found.mean) == (5, 40.0)


@dataclass
class Stand:
    """A device of the past: its answers are given, its downloads are decided."""

    answers: list
    switches: list
    swaps: list = field(default_factory=list)
    shown: int = 0

    def log(self):
        return Log(0.0, 0, tuple(self.answers[: self.shown]), (), (), tuple(self.swaps))

    def frame(self, number):
        return torch.full((1, 1, 1, 1), self.pixels[number])

    def download(self, packet, link):
        switched = self.switches.pop(0)
        self.swaps.append(Swap(len(self.swaps) + 1, switched, self.shown, "said"))
        return self.swaps[-1]

    def play(self, watch):
        while self.shown < len(self.answers):
            self.shown += 1
            watch.look()
            if watch._coming:
                watch._coming.result(5)


def stand(confidences, pixels, switches):
    answers = [Answer(i, i, i, 0, 0, 0, c) for i, c in enumerate(confidences)]
    device = Stand(answers, list(switches))
    device.pixels = pixels
    return device


def offer(context, mean):
    return Offer(context, None, torch.full((1, 1, 1), mean), torch.ones(1, 1, 1), 0.0)


OFFERS = [offer("as trained", 0.0), offer("inverted", 5.0)]
FALL = [0.9] * 60 + [0.3] * 40


def watched(pixels, switches, confidences=FALL):
    device = stand(confidences, pixels, switches)
    watch = Watch(device, 1.0, OFFERS, Link(1e6))
    device.play(watch)
    return device, watch


def test_an_alarm_fetches_what_fits():
    device, watch = watched([0.0] * 60 + [5.0] * 40, [True])
    assert [60 < alarm.frame < 66 for alarm in watch.alarms] == [True]
    assert watch.models == {0: "as trained", 1: "inverted"}
    assert len(device.swaps) == 1


def test_a_refused_download_is_asked_for_again():
    device, watch = watched([0.0] * 60 + [5.0] * 40, [False, False, True])
    assert [swap.switched for swap in device.swaps] == [False, False, True]
    assert len(watch.alarms) == 1
    assert watch.models[3] == "inverted"


def test_a_false_alarm_fetches_nothing():
    device, watch = watched([0.0] * 100, [])
    assert len(watch.alarms) == 1
    assert device.swaps == []


@pytest.mark.realtime
def test_a_change_is_met_while_the_stream_runs(roots, digits):
    """All of it, really: frames, threads, an alarm, a choice, a download, a swap."""
    root, recipe = roots["vgg-digits"], Recipe("vgg-digits", bits=8)
    offered = list(offers(root, recipe, load_data("digits", "train"), ("as trained", "inverted")))
    with torch.inference_mode():
        sure = confidence(derive(root, recipe)(digits.images[400:])).double().numpy()
    pair = [digits.take(torch.arange(200)), moved(digits.take(torch.arange(200, 400)), "inverted")]
    images, labels = torch.cat([p.images for p in pair]), torch.cat([p.labels for p in pair])
    stream = ImageSet(images, labels, digits.classes)
    threshold = calibrate(sure, 5000, random())
    with Device(pack(derive(root, recipe)), stream, frame_rate_hz=100.0) as device:
        watch = Watch(device, threshold, offered, Link(1e7))
        while device.now_s < 3.95 and (not device.log().swaps or device.now_s < 3.4):
            time.sleep(0.02)
            watch.look()
    log = device.log()
    assert [swap.switched for swap in log.swaps] == [True]
    alarm = watch.alarms[0].frame
    # In answers, for a busy machine loses frames.
    assert 0 < sum(200 <= answer.frame <= alarm for answer in log.answers) < 70
    assert watch.models[1] == "inverted"
    good = {0: [], 1: []}
    for answer in log.answers:
        if answer.frame >= 200:
            good[answer.model].append(answer.label == int(labels[answer.frame % 400]))
    assert np.mean(good[0]) < 0.5
    assert np.mean(good[1]) > 0.85


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Trigger(0.0), "threshold must be a number"),
        (lambda: Trigger(float("nan")), "threshold must be a number"),
        (lambda: Trigger(1.0, -0.1), "tolerated must be a number"),
        (lambda: calibrate(SURE, 5, random()), "apart must be a whole number from 100"),
        (lambda: calibrate(SURE[:1], 500, random()), "confidences must be a whole number from 2"),
        (lambda: delays(SURE, SURE, 1.0, random(), streams=0), "streams must be a whole number"),
        (lambda: Watch(None, 1.0, OFFERS, Link(1.0), sample=0), "sample must be a whole number"),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(ValueError, match="must") as caught:
        make()
    assert words in str(caught.value)
