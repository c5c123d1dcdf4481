"""The panel of the trigger: a change of context lets confidence fall, and a model is fetched."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from insitu_widgets.air.channel import Link
from insitu_widgets.data import ImageSet, load_data
from insitu_widgets.evaluate import Classifier
from insitu_widgets.explorer.course import device_figures as figures
from insitu_widgets.explorer.course.device_panels import DIGITS, TICK_S, Runner, counted
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, number, slider
from insitu_widgets.levels.confidence import confidence
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.contexts import CONTEXTS, halves, moved, offers
from insitu_widgets.network.device import Device
from insitu_widgets.network.device_log import Log
from insitu_widgets.roots import load_root
from insitu_widgets.units import percent, quantity

if TYPE_CHECKING:
    from insitu_widgets.network.drift import Delays, Watch

#: The share of the changes within whose delay is stated, and streams that it is measured in.
_STATED, _STREAMS, _MOST_FRAMES = 0.95, 200, 100
_FALSE_STREAMS = 30
_LATEST = 20
#: The live stream: its context changes at this frame; it ends so long after the swap, or here.
_CHANGE, _AFTER_SWAP_S, _LIVE_S = 120, 2.0, 15.0


def trigger_panel(runner: Runner = None) -> Panel:
    """Confidence falls in a new context, and the model that fits is downloaded."""
    return Panel(
        "The trigger: when does a model no longer fit?",
        "Measured: confidences, false alarms and delays on images that neither training, nor "
        "calibration, nor the choice of the test's tolerance has seen. The last chart is live: "
        "frames, alarm, download and swap are real.",
        {
            "name": choice("Root model", DIGITS),
            "context": choice("The images become", CONTEXTS[1:]),
            "apart": slider(
                "A false alarm in", (1000, 3000, 10_000), 3000, lambda n: f"{n:,.0f} frames"
            ),
            "rate_bps": slider(
                "Rate of the link", (5e5, 2e6, 1e7), 2e6, lambda r: quantity(r, "bit/s")
            ),
            "frame_rate_hz": slider(
                "Frame rate", (30.0, 60.0, 120.0), 60.0, lambda f: f"{f:g} a second"
            ),
            "seed": number("Seed of the streams", 0, 999, 0),
        },
        _trigger,
        runner,
    )


def _trigger(
    *, name: str, context: str, apart: float, rate_bps: float, frame_rate_hz: float, seed: int
) -> Iterator[Picture]:
    torch.set_num_threads(1)
    root, recipe = load_root(name), Recipe(name, bits=8)
    own, test = halves(load_data("digits"))
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    test = test.take(order)
    model = derive(root, recipe)
    sure = {place: _sure(model, moved(test, place, seed)) for place in CONTEXTS}
    yield Picture({"sure": _sureness(sure)}, "<p>Calibrating the trigger …</p>", 0.05)
    from insitu_widgets.network import drift  # noqa: PLC0415  (its library loads for a second)

    random = np.random.default_rng(seed)
    threshold = drift.calibrate(_sure(model, own), int(apart), random)
    stream = random.choice(sure[CONTEXTS[0]], _FALSE_STREAMS * int(apart)).tolist()
    wrong = drift.alarms(stream, threshold)
    said = (
        f"Calibrated on {len(own)} images for one false alarm in {apart:,.0f} frames; on "
        f"{len(test)} others there are {wrong} in {len(stream):,} frames."
    )
    found = {}
    for place in CONTEXTS[1:]:
        found[place] = drift.delays(
            sure[CONTEXTS[0]], sure[place], threshold, random, streams=_STREAMS, most=_MOST_FRAMES
        )
        yield Picture({"delays": _delays(found, said)}, f"<p>{said}</p>", 0.1 + 0.1 * len(found))
    offered = []
    for offer in offers(root, recipe, load_data("digits", "train"), seed=seed):
        offered.append(offer)
        words = f"The network has tuned {len(offered)} of {len(CONTEXTS)} models …"
        yield Picture({}, f"<p>{said} {words}</p>", 0.4 + 0.05 * len(offered))
    frames = _stream(test, context, int(_LIVE_S * frame_rate_hz), seed)
    ends_s = _LIVE_S
    with Device(offered[0].packet, frames, frame_rate_hz=frame_rate_hz) as device:
        watch = drift.Watch(device, threshold, offered, Link(rate_bps))
        while device.now_s < ends_s:
            time.sleep(TICK_S)
            watch.look()
            log = device.log()
            if log.swaps:
                ends_s = min(_LIVE_S, log.swaps[-1].ends_s + _AFTER_SWAP_S)
            yield _live(log, frames, watch, said, 0.6 + 0.4 * log.now_s / (ends_s + TICK_S))
    yield _live(device.log(), frames, watch, said, 1.0)


def _sure(model: Classifier, images: ImageSet) -> NDArray[np.float64]:
    """How sure a model is of each image ``[N]``."""
    with torch.inference_mode():
        return np.asarray(confidence(model(images.images)).double().numpy())


def _sureness(sure: Mapping[str, NDArray[np.float64]]) -> Chart:
    edges = np.linspace(0, 1, 21)
    shares = {
        place: (np.histogram(values, edges)[0] / len(values)).tolist()
        for place, values in sure.items()
    }
    means = ", ".join(f"{place} {percent(float(values.mean()))}" for place, values in sure.items())
    spec = figures.sureness(shares, edges.tolist())
    return Chart("How sure the model is", f"Mean confidence: {means}.", spec)


def _delays(found: Mapping[str, Delays], said: str) -> Chart:
    limits = ", ".join(
        f"{place} within {_frames(each.within(_STATED))}" for place, each in found.items()
    )
    early = max(each.early for each in found.values())
    text = (
        f"{said} {percent(_STATED, 0)} of the changes are detected: {limits} (at most {early} of "
        f"{_STREAMS} streams left out for an alarm before their change)."
    )
    curves = {
        place: (each.frames.tolist(), len(each.frames) + each.missed)
        for place, each in found.items()
    }
    spec = figures.detected(curves, _STATED)
    return Chart("How soon a change is detected", text, spec)


def _frames(count: float) -> str:
    return f"{count:.0f} frames" if np.isfinite(count) else f"more than {_MOST_FRAMES} frames"


def _stream(images: ImageSet, context: str, length: int, seed: int) -> ImageSet:
    """Images in their own context, then others in the new one."""
    index = torch.arange(length) % len(images)
    before, after = images.take(index[:_CHANGE]), moved(images.take(index[_CHANGE:]), context, seed)
    return ImageSet(
        torch.cat([before.images, after.images]),
        torch.cat([before.labels, after.labels]),
        images.classes,
    )


def _live(log: Log, frames: ImageSet, watch: Watch, said: str, share: float) -> Picture:
    """The stream until now."""
    right = [answer.label == int(frames.labels[answer.frame]) for answer in log.answers]
    marks = [("change", float(_CHANGE))] if log.asked > _CHANGE else []
    marks += [("alarm", float(alarm.frame)) for alarm in watch.alarms]
    swapped = next((answer.frame for answer in log.answers if answer.model > 0), None)
    if swapped is not None:
        marks.append((f"model for {watch.models[1]}", float(swapped)))
    spec = figures.met(
        [answer.frame for answer in log.answers][_LATEST - 1 :],
        _latest([answer.confidence for answer in log.answers]),
        _latest(right),
        marks,
        max(log.asked, 2 * _CHANGE),
    )
    parts = {
        "before the change": right[:_CHANGE],
        "after it": right[_CHANGE:swapped],
        "with the model that was fetched": [] if swapped is None else right[swapped:],
    }
    accuracies = ", ".join(f"{percent(float(np.mean(p)))} {name}" for name, p in parts.items() if p)
    what = ", ".join(f"{words} at frame {frame:.0f}" for words, frame in marks)
    text = f"Right answers: {accuracies or 'none yet'}. {what.capitalize()}. {counted(log)}"
    refused = " ".join(swap.said for swap in log.swaps if not swap.switched)
    return Picture(
        {"live": Chart("A change that is met, live", text, spec)},
        f"<p>{escape(said)} {escape(text)} {escape(refused)}</p>",
        share,
    )


def _latest(values: Sequence[float]) -> list[float]:
    """Mean of each value and those just before it."""
    if len(values) < _LATEST:
        return []
    return np.convolve(np.asarray(values, float), np.full(_LATEST, 1 / _LATEST), "valid").tolist()
