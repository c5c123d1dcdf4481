"""The device: every frame is answered, each by exactly one complete model, whatever arrives."""

import threading
from itertools import pairwise

import numpy as np
import pytest
import torch

from insitu_widgets.air.channel import Link
from insitu_widgets.air.payload import Packet, PayloadError, pack, unpack
from insitu_widgets.data import ImageSet
from insitu_widgets.levels.confidence import confidence
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.device import Device, DownloadError
from insitu_widgets.network.device_log import PHASES
from insitu_widgets.roots import load_root

pytestmark = pytest.mark.realtime

FAST = Link(1e12)
SWAPS = 1000


@pytest.fixture(scope="module")
def frames():
    random = torch.Generator().manual_seed(1)
    images = torch.randn(23, 1, 8, 8, generator=random)
    return ImageSet(images, torch.zeros(23, dtype=torch.int64), ("a", "b", "c"))


@pytest.fixture(scope="module")
def packets(tiny):
    recipes = Recipe("tiny", 1, bits=8), Recipe("tiny", 2, bits=4), Recipe("tiny", 2, keep=0.5)
    return [pack(derive(tiny, recipe)) for recipe in recipes]


@pytest.fixture(scope="module")
def answers(packets, frames, tiny):
    """What each complete model says of each frame, one at a time as the device does."""
    said = []
    for packet in packets:
        model, _ = unpack(packet, root=tiny)
        with torch.inference_mode():
            logits = [model(frames.images[i : i + 1]) for i in range(len(frames))]
        said.append([(int(one.argmax()), float(confidence(one))) for one in logits])
    return said


@pytest.fixture
def make(packets, frames, tiny):
    def build(first=0, **more):
        more = {"frame_rate_hz": 200.0, "buffer_frames": 10**6, "root": tiny, **more}
        return Device(packets[first], frames, **more)

    return build


def check(log, answers, models):
    """Nothing lost or doubled; each answer is its model's own, which is one of ``models``."""
    assert [answer.frame for answer in log.answers] == list(range(log.asked))
    assert log.lost == ()
    numbers = [answer.model for answer in log.answers]
    assert numbers == sorted(numbers), "an older model never comes back"
    for answer in log.answers:
        mine = answers[models[answer.model]]
        assert (answer.label, answer.confidence) == mine[answer.frame % len(mine)]
        assert answer.answered_s >= answer.due_s


def test_a_thousand_swaps_lose_no_frame(make, packets, answers):
    models = {0: 0}
    with make(frame_rate_hz=400.0) as device:
        for number in range(1, SWAPS + 1):
            models[number] = number % len(packets)
            assert device.download(packets[models[number]], FAST).switched
    log = device.log()
    assert len(log.swaps) == SWAPS
    assert log.asked > 200, "the stream went on beside the swaps"
    assert len({answer.model for answer in log.answers}) > 100
    check(log, answers, models)


def test_swaps_alternate_between_the_accelerators(make, packets):
    with make() as device:
        for _ in range(3):
            device.download(packets[1], FAST)
    phases = device.log().phases
    assert [p.name for p in phases] == [*PHASES] * 3
    assert [p.accelerator for p in phases[:: len(PHASES)]] == [1, 0, 1]
    assert all(a.ends_s <= b.begins_s for a, b in pairwise(phases))


def during(log, name):
    """Answers that were given while a phase lasted."""
    phase = next(phase for phase in log.phases if phase.name == name)
    return [a for a in log.answers if phase.begins_s < a.answered_s < phase.ends_s]


def slow(packet, seconds=0.4):
    return Link(packet.num_bits / seconds)


def test_two_memories_go_on_where_one_must_stop(make, packets, answers):
    gaps = {}
    for many in (2, 1):
        with make(accelerators=many) as device:
            device.download(packets[1], slow(packets[1]))
        log = device.log()
        gaps[many] = log.longest_gap_s
        check(log, answers, {0: 0, 1: 1})
        assert bool(during(log, "receive")) == (many == 2)
        assert log.seconds("receive") >= 0.4
    assert gaps[2] < 0.4 <= gaps[1]


def test_one_memory_loses_frames_where_its_buffer_is_full(make, packets):
    with make(accelerators=1, buffer_frames=5) as device:
        device.download(packets[1], slow(packets[1]))
    log = device.log()
    assert len(log.answers) + len(log.lost) == log.asked
    assert 40 < len(log.lost) < 200
    assert sorted([a.frame for a in log.answers] + list(log.lost)) == list(range(log.asked))


def damaged(packet, part):
    octets = bytearray(getattr(packet, part))
    octets[-1] ^= 1
    return Packet(packet.header, bytes(octets)) if part == "body" else Packet(octets, packet.body)


BAD = {
    "late": (lambda p: p, {"deadline_s": 0.05}, "deadline_s: late, "),
    "header": (lambda p: damaged(p, "header"), {}, "header: damaged"),
    "body": (lambda p: damaged(p, "body"), {}, "body: damaged, its checksum"),
    "cut short": (lambda p: Packet(p.header, p.body[:-3]), {}, "body: "),
    "other root": (lambda p: pack(derive_of("vgg-digits")), {}, "'vgg-digits', the root given"),
}


def derive_of(name):
    return derive(load_root(name), Recipe(name, 1, bits=1))


@pytest.mark.parametrize("fault", BAD)
@pytest.mark.parametrize("many", [2, 1])
def test_a_bad_download_is_refused_and_said(make, packets, answers, fault, many):
    spoil, more, words = BAD[fault]
    with make(accelerators=many) as device:
        swap = device.download(spoil(packets[1]), slow(packets[1], 0.1), **more)
        assert not swap.switched
        assert swap.said.startswith("Download 1 refused. ")
        assert words in swap.said
        if many == 2:
            assert swap.said.endswith("Model 0 stays in service.")
            assert {answer.model for answer in device.log().answers} == {0}
        else:
            assert swap.said.endswith("No model is left: this device has one memory only.")
        assert device.download(packets[2], FAST).switched, "the next one is welcome"
    check(device.log(), answers, {0: 0, 2: 2})


def test_bit_errors_may_be_accepted(make, packets):
    noisy = Link(1e12, bit_error_rate=0.1)
    with make() as device:
        assert not device.download(packets[1], noisy).switched
        assert device.download(packets[1], noisy, accept_errors=True).switched
        header = device.download(damaged(packets[1], "header"), noisy, accept_errors=True)
        assert not header.switched, "the topology is needed intact"


def test_a_model_without_finite_answers_is_refused(tiny, make, packets):
    body = np.full(len(packets[2].body) // 4, np.nan, "<f4").tobytes()
    with make() as device:
        swap = device.download(packets[2].with_body(body), FAST, accept_errors=True)
    assert "must give 3 finite logits; got [nan, nan, nan]" in swap.said


def test_a_stream_that_ends_stops_a_download(make, packets):
    swaps = []
    with make() as device:
        link = slow(packets[1], 60.0)
        loader = threading.Thread(target=lambda: swaps.append(device.download(packets[1], link)))
        loader.start()
        while not device.log().phases:
            pass
        running = device.log().phases[-1]
        assert (running.name, running.model, running.accelerator) == ("receive", 1, 1)
    loader.join(10)
    assert "it ended during the download" in swaps[0].said
    log = device.log()
    assert len(log.answers) == log.asked


def test_a_device_without_a_model_loses_what_is_left(make, packets):
    with make(accelerators=1) as device:
        device.download(damaged(packets[1], "body"), FAST)
        threading.Event().wait(0.05)
    log = device.log()
    assert len(log.lost) >= 5
    assert len(log.answers) + len(log.lost) == log.asked
    assert log.longest_gap_s >= 0.04


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"frame_rate_hz": -1.0}, "frame_rate_hz must be a number from 0.1 to 10000 Hz; got -1.0"),
        ({"accelerators": 3}, "accelerators must be a whole number from 1 to 2; got 3"),
        ({"buffer_frames": 0}, "buffer_frames must be a whole number"),
    ],
)
def test_a_wrong_device_is_named(make, more, words):
    with pytest.raises(ValueError, match="must") as caught:
        make(**more)
    assert words in str(caught.value)


def test_a_first_model_must_fit_the_frames(packets, frames, tiny, few):
    with pytest.raises(DownloadError, match="must give 10 finite logits"):
        Device(packets[0], few, root=tiny)
    wide = ImageSet(frames.images.repeat(1, 2, 1, 1), frames.labels, frames.classes)
    with pytest.raises(DownloadError, match=r"does not run on frames of \[1, 2, 8, 8\]"):
        Device(packets[0], wide, root=tiny)
    with pytest.raises(PayloadError, match="header: damaged"):
        Device(damaged(packets[0], "header"), frames, root=tiny)
    with pytest.raises(TypeError, match="frames must be of type ImageSet"):
        Device(packets[0], frames.images, root=tiny)


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"packet": b"bytes"}, TypeError, "packet must be of type Packet"),
        ({"link": 1e6}, TypeError, "link must be of type Link"),
        ({"deadline_s": -1.0}, ValueError, "deadline_s must be a number"),
        ({"seed": -1}, ValueError, "seed must be a whole number"),
        ({"guard": "moat"}, ValueError, "guard must be one of"),
    ],
)
def test_a_wrong_download_touches_nothing(make, packets, more, kind, words):
    good = {"packet": packets[1], "link": FAST}
    with make() as device:
        with pytest.raises(kind, match=words):
            device.download(**{**good, **more})
        assert device.log().swaps == ()
        assert device.download(**good).model == 1
