"""The trigger: falling confidence starts the download of the model that fits (paper, section 5).

The test is that of Page and Hinkley (E. S. Page, Biometrika 41, 1954), as the library River has it:
it adds up how far each confidence lies below the mean so far, less what is tolerated, and raises
an alarm when the sum has risen by a threshold. The threshold is calibrated on confidences of
images that nothing was trained on; how often it is wrong is then measured on others.

What is tolerated (:data:`TOLERATED`) is chosen in the same way: where :func:`lateness` is least on
the first of :func:`~insitu_widgets.network.contexts.halves`, over all roots and contexts; every
figure that is reported comes from the second. For a false alarm in 3,000 frames a change is met,
on the first half, after 10.3, 8.9, 9.4, 16.5 or 44.1 frames on average with 0.01, 0.02, 0.05, 0.1
or 0.2 tolerated; with 0.02, on the second half, after 9.4. ``python -m benchmarks trigger`` repeats
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from river.drift import PageHinkley

from insitu_widgets.air.channel import Link
from insitu_widgets.errors import in_range
from insitu_widgets.network.contexts import CONTEXTS, Offer, fitting
from insitu_widgets.network.device import Device
from insitu_widgets.network.device_log import Answer, Swap

#: By how much the mean may fall before the sum rises, and frames before the first alarm.
TOLERATED, LEAST_FRAMES = 0.02, 30
#: What was tried for it.
TOLERANCES = (0.01, 0.02, 0.05, 0.1, 0.2)
#: A threshold is calibrated on a stream so many times as long as the false alarms are to be apart.
_STREAM = 20
_FIRST_THRESHOLD, _HALVINGS = 0.25, 6


class Trigger:
    """A detector of falling confidence; after an alarm it starts anew.

    Parameters
    ----------
    threshold
        Above 0; a higher one is wrong more seldom, and later.
    tolerated
        By how much the mean may fall before the sum rises, in [0, 1].

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    def __init__(self, threshold: float, tolerated: float = TOLERATED) -> None:
        in_range("threshold", threshold, 1e-9, 1e9)
        in_range("tolerated", tolerated, 0.0, 1.0)
        self._test = PageHinkley(LEAST_FRAMES, tolerated, threshold, mode="down")

    def update(self, confidence: float) -> bool:
        """Take the next frame's confidence; true if it raises an alarm."""
        self._test.update(confidence)
        return bool(self._test.drift_detected)


def alarms(
    confidences: Sequence[float],
    threshold: float,
    most: int = 10**9,
    tolerated: float = TOLERATED,
) -> int:
    """How many alarms a stream raises; it is not read on once there are more than ``most``."""
    trigger, count = Trigger(threshold, tolerated), 0
    for value in confidences:
        count += trigger.update(value)
        if count > most:
            break
    return count


def calibrate(
    confidences: NDArray[np.float64],
    apart: int,
    random: np.random.Generator,
    tolerated: float = TOLERATED,
) -> float:
    """The threshold at which false alarms are ``apart`` frames apart, on average.

    Parameters
    ----------
    confidences
        ``[N]``: of images in the model's own context, which are drawn from at random.
    apart
        Frames, 100 … 1,000,000.
    random
        Draws the stream.
    tolerated
        The trigger's.

    Raises
    ------
    ValueError
        For a value out of its range, or fewer than two confidences.
    """
    in_range("apart", apart, 100, 10**6, "frames")
    in_range("confidences", len(confidences), 2, 10**9)
    stream = random.choice(confidences, _STREAM * apart).tolist()
    low, high = 0.0, _FIRST_THRESHOLD
    while alarms(stream, high, _STREAM, tolerated) > _STREAM:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if alarms(stream, middle, _STREAM, tolerated) > _STREAM:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class Delays:
    """How a trigger meets a change, in many streams.

    Attributes
    ----------
    frames : NDArray[np.int64]
        ``[streams]``: frames from the change to the alarm, ascending; the first after it is 1.
    missed : int
        Streams in which the alarm did not come within ``most`` frames.
    early : int
        Streams that raised a false alarm before the change; they are left out.
    most : int
        How long was waited.
    """

    frames: NDArray[np.int64]
    missed: int
    early: int
    most: int

    @property
    def mean(self) -> float:
        """Frames to the alarm, on average; a change that was missed counts as ``most`` frames."""
        return float(np.mean([*self.frames, *[self.most] * self.missed]))

    def within(self, share: float) -> float:
        """Frames within which this share of the changes is detected; infinite if it is not."""
        in_range("share", share, 0.0, 1.0)
        every = np.concatenate([self.frames, np.full(self.missed, np.inf)])
        return float(np.quantile(every, share, method="higher")) if len(every) else np.inf


def delays(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    threshold: float,
    random: np.random.Generator,
    *,
    streams: int = 200,
    warm: int = 150,
    most: int = 300,
    tolerated: float = TOLERATED,
) -> Delays:
    """Let the context change in many streams, and measure how late the alarm comes.

    Parameters
    ----------
    before, after
        ``[N]``, ``[M]``: confidences in the model's own context and in the new one.
    threshold
        The trigger's.
    random
        Draws the frames.
    streams, warm, most
        How many; frames before the change; frames to wait for the alarm.
    tolerated
        The trigger's.
    """
    in_range("streams", streams, 1, 10**6)
    found: list[int] = []
    missed = early = 0
    for _ in range(streams):
        trigger = Trigger(threshold, tolerated)
        if any(trigger.update(value) for value in random.choice(before, warm).tolist()):
            early += 1
            continue
        frames = enumerate(random.choice(after, most).tolist(), 1)
        delay = next((number for number, value in frames if trigger.update(value)), None)
        if delay is None:
            missed += 1
        else:
            found.append(delay)
    return Delays(np.sort(np.array(found, np.int64)), missed, early, most)


def lateness(
    before: NDArray[np.float64],
    after: Sequence[NDArray[np.float64]],
    apart: int,
    tolerated: float,
    seed: int = 0,
) -> float:
    """Frames to the alarm, a mean over changes, of a trigger calibrated for false alarms ``apart``.

    What is tolerated is chosen where this is least; the same seed draws the same frames for all.

    Parameters
    ----------
    before
        ``[N]``: confidences in the model's own context.
    after
        ``[M]`` each: in the contexts that it may change to.
    apart
        Frames, 100 … 1,000,000.
    tolerated
        The trigger's.
    seed
        Draws the streams.
    """
    random = np.random.default_rng(seed)
    threshold = calibrate(before, apart, random, tolerated)
    found = [delays(before, each, threshold, random, tolerated=tolerated) for each in after]
    return float(np.mean([each.mean for each in found]))


class Watch:
    """Looks at a device's answers, and has the model that fits downloaded when confidence falls.

    Call :meth:`look` now and then while the stream runs. After an alarm the device sends its next
    frames; where the network finds that another model fits them, it sends that one.

    Parameters
    ----------
    device
        Whose stream has begun; its first model is the first context's.
    threshold
        The trigger's.
    offered
        What the network has.
    link
        Over which it is sent.
    sample
        Frames that the device sends after an alarm, 1 … 100.
    """

    def __init__(
        self,
        device: Device,
        threshold: float,
        offered: Sequence[Offer],
        link: Link,
        sample: int = 3,
    ) -> None:
        self._device, self._threshold = device, threshold
        self._offered, self._link = offered, link
        self._sample = in_range("sample", sample, 1, 100, "frames")
        self._trigger = Trigger(threshold)
        self._seen, self._sampling = 0, False
        self._pool = ThreadPoolExecutor(1, "download")
        self._coming: Future[Swap] | None = None
        self.alarms: list[Answer] = []  #: The answers that raised them.
        self.models = {0: CONTEXTS[0]}  #: Number of a download -> the context that it is for.

    def look(self) -> None:
        """Take the answers since the last look; where they alarm, start a download.

        A download that was refused is asked for again.
        """
        for answer in self._device.log().answers[self._seen :]:
            self._seen += 1
            if self._coming is not None:
                if self._coming.done() and answer.answered_s >= self._coming.result().ends_s:
                    self._decided(answer, self._coming.result())
            elif self._sampling:
                if answer.frame >= self.alarms[-1].frame + self._sample:
                    self._ask(answer)
            elif self._trigger.update(answer.confidence):
                self.alarms.append(answer)
                self._sampling = True

    def _decided(self, answer: Answer, swap: Swap) -> None:
        self._coming = None
        if swap.switched:
            self._trigger = Trigger(self._threshold)
        else:
            self._ask(answer)

    def _ask(self, answer: Answer) -> None:
        """Send the last frames; what fits them is downloaded, if it is not in use."""
        self._sampling = False
        last = range(answer.frame - self._sample + 1, answer.frame + 1)
        offer = fitting(torch.cat([self._device.frame(number) for number in last]), self._offered)
        if offer.context == self.models[answer.model]:
            self._trigger = Trigger(self._threshold)  # a false alarm
            return
        self.models[len(self._device.log().swaps) + 1] = offer.context
        self._coming = self._pool.submit(self._device.download, offer.packet, self._link)
