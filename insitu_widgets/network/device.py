"""The device: two accelerators with a memory each, and a swap without a pause (paper, section 3).

A stream of frames is answered by the model on one accelerator. Meanwhile the next packet arrives,
at the link's pace, in the other's memory, is unpacked, verified, loaded and warmed; then a single
assignment switches. A device with one accelerator must give up the memory of the model in use,
and stops until the next one is ready. Threads, inference, bytes and time are real.
"""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from insitu_widgets.air.channel import GUARDS, MOST_DELAY_S, Link, transmit
from insitu_widgets.air.envelope import PayloadError
from insitu_widgets.air.payload import Packet, unpack
from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range, of_type, one_of
from insitu_widgets.levels.confidence import confidence
from insitu_widgets.network.device_log import Answer, Log, Phase, Swap
from insitu_widgets.units import percent, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from insitu_widgets.levels.submodel import SubModel
    from insitu_widgets.roots import Root

#: Bytes are written into the memory so often.
_CHUNK_S = 0.01
#: A device without a model looks for one so often.
_NAP_S = 0.001


class DownloadError(ValueError):
    """A download that cannot go into service; the message says why."""


@dataclass(eq=False)
class _Accelerator:
    """An accelerator with its memory: one complete model or none. Its lock is its attention."""

    index: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    model: SubModel | None = None
    number: int = -1


class Device:
    """A device that answers a stream of frames while models are downloaded.

    Use it in a ``with`` statement: the stream begins there and ends there, with every frame that
    was taken before the end answered.

    Parameters
    ----------
    packet
        The first model.
    frames
        What the camera sees, over and over; one image a frame.
    frame_rate_hz
        Frames a second, 0.1 … 10,000.
    accelerators
        2, or 1 for a device that must stop.
    buffer_frames
        How many frames may wait; of more, the oldest are lost.
    root
        The architecture of the packets, where it is not a shipped one.

    Raises
    ------
    ValueError
        For a value out of its range, no frames, a packet that cannot be read (``PayloadError``)
        or a model that does not run on the frames (``DownloadError``).
    TypeError
        For something else than a packet and an image set.
    """

    def __init__(
        self,
        packet: Packet,
        frames: ImageSet,
        *,
        frame_rate_hz: float = 30.0,
        accelerators: int = 2,
        buffer_frames: int = 16,
        root: Root | None = None,
    ) -> None:
        of_type("frames", frames, ImageSet, "Load one with load_data(name).")
        in_range("frames", len(frames), 1, 10**9)
        self.frame_rate_hz = in_range("frame_rate_hz", frame_rate_hz, 0.1, 1e4, "Hz")
        self._buffer = in_range("buffer_frames", buffer_frames, 1, 10**9)
        self._frames, self._root = frames, root
        many = in_range("accelerators", accelerators, 1, 2)
        self._accelerators = [_Accelerator(index) for index in range(many)]
        self._active = self._accelerators[0]
        self._active.model, self._active.number = unpack(packet, root=root)[0], 0
        self._warm(self._active.model)
        self._answers: list[Answer] = []
        self._lost: list[int] = []
        self._phases: list[Phase] = []
        self._swaps: list[Swap] = []
        self._running: Phase | None = None
        self._downloads = 0
        self._downloading = threading.Lock()
        self._noting = threading.Lock()
        self._stop = threading.Event()
        self._start = self._ends_s = float("inf")
        self._pool = ThreadPoolExecutor(1, "inference")
        self._stream: Future[None] | None = None

    def __enter__(self) -> Self:
        # Looking through all that a process has ever made for garbage stops every thread for half a
        # second and more; while frames are answered, Python looks only through what is new.
        gc.freeze()
        self._start = time.perf_counter()
        self._stream = self._pool.submit(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends_s = self.now_s
        self._stop.set()
        self._pool.shutdown()
        gc.unfreeze()
        if self._stream:
            self._stream.result()  # what went wrong in the stream is raised here

    def frame(self, number: int) -> Tensor:
        """What the camera sees: ``[1, C, H, W]``."""
        place = number % len(self._frames)
        return self._frames.images[place : place + 1]

    @property
    def now_s(self) -> float:
        """Seconds since the stream began; after its end, how long it was."""
        return min(max(0.0, time.perf_counter() - self._start), self._ends_s)

    def log(self) -> Log:
        """What has happened until now."""
        with self._noting:
            now_s, running, phases = self.now_s, self._running, tuple(self._phases)
        begun = [replace(running, ends_s=now_s)] if running else []
        return Log(
            now_s,
            int(now_s * self.frame_rate_hz) + 1,
            tuple(self._answers),
            tuple(self._lost),
            (*phases, *begun),
            tuple(self._swaps),
        )

    # The stream

    def _serve(self) -> None:
        frame = 0
        with torch.inference_mode():
            while self._is_taken(frame / self.frame_rate_hz):
                newest = int(self.now_s * self.frame_rate_hz)
                if newest - frame > self._buffer:
                    self._lost.extend(range(frame, newest - self._buffer))
                    frame = newest - self._buffer
                if not self._answer(frame):
                    self._lost.extend(range(frame, int(self._ends_s * self.frame_rate_hz) + 1))
                    return
                frame += 1

    def _is_taken(self, due_s: float) -> bool:
        """Wait until the camera takes a frame; false if the stream ends before."""
        return not self._stop.wait(max(0.0, due_s - self.now_s)) or due_s <= self._ends_s

    def _answer(self, frame: int) -> bool:
        """Answer one frame with the model in service; false if the stream ends without one."""
        image = self.frame(frame)
        while True:
            ended, active = self._stop.is_set(), self._active
            with active.lock:
                # Since we looked, it may have been switched away from, and even emptied.
                if active is self._active and active.model is not None:
                    logits = active.model(image)
                    self._answers.append(
                        Answer(
                            frame,
                            frame / self.frame_rate_hz,
                            time.perf_counter() - self._start,
                            active.index,
                            active.number,
                            int(logits.argmax()),
                            float(confidence(logits)),
                        )
                    )
                    return True
            if active is self._active:  # there is no model
                if ended:
                    return False
                self._stop.wait(_NAP_S)

    # The download

    def download(
        self,
        packet: Packet,
        link: Link,
        *,
        deadline_s: float = MOST_DELAY_S,
        accept_errors: bool = False,
        guard: str = "none",
        seed: int = 0,
    ) -> Swap:
        """Receive a packet and put its model into service; returns when that is decided.

        Call it from another thread to look on. A second download waits for the first.

        Parameters
        ----------
        packet
            What is sent; a damaged one is refused when it is read.
        link
            Its rate is the pace at which the bytes arrive; it may turn bits over.
        deadline_s
            The last byte must be there so long after the request, above 0.
        accept_errors
            Whether a body whose checksum fails may go into service.
        guard
            What the receiver does with impossible values: see :func:`insitu_widgets.unpack`.
        seed
            Of the bit errors.

        Returns
        -------
        Swap
            If it did not switch, the model in service stays, with two accelerators.

        Raises
        ------
        ValueError, TypeError
            For arguments that no download can have; nothing has been touched then.
        """
        of_type("packet", packet, Packet, "Make one with pack(submodel).")
        in_range("deadline_s", deadline_s, 1e-6, MOST_DELAY_S, "s")
        one_of("guard", guard, GUARDS)
        sent = transmit(packet, link, seed)
        with self._downloading:
            self._downloads += 1
            number = self._downloads
            idle = self._accelerators[(self._active.index + 1) % len(self._accelerators)]
            with idle.lock:
                idle.model = None
                try:
                    arrived = self._receive(sent, link, deadline_s, idle)
                    model = self._install(arrived, guard, idle, accept_errors=accept_errors)
                except (DownloadError, PayloadError) as fault:
                    said = f"Download {number} refused. {fault} {self._stays(idle)}"
                    swap = Swap(number, False, self.now_s, said)
                else:
                    idle.model, idle.number = model, number
                    self._active = idle  # the switch
                    said = f"Download {number} in service: {model.recipe}."
                    swap = Swap(number, True, self.now_s, said)
            self._swaps.append(swap)
            return swap

    def _stays(self, idle: _Accelerator) -> str:
        if idle is self._active:
            return "No model is left: this device has one memory only."
        return f"Model {self._active.number} stays in service."

    @contextmanager
    def _phase(self, name: str, idle: _Accelerator) -> Iterator[None]:
        now_s = self.now_s
        self._running = begun = Phase(name, self._downloads, idle.index, now_s, now_s)
        try:
            yield
        finally:
            with self._noting:  # else who reads meanwhile meets the phase twice, or not at all
                self._running = None
                self._phases.append(replace(begun, ends_s=self.now_s))

    def _install(
        self, packet: Packet, guard: str, idle: _Accelerator, *, accept_errors: bool
    ) -> SubModel:
        """Unpack and verify, load and warm; until then nobody else sees the model."""
        with self._phase("unpack", idle):
            model, report = unpack(packet, guard, self._root)
        if not (report.intact or accept_errors):
            msg = "body: damaged, its checksum does not match. Ask for it again."
            raise DownloadError(msg)
        with self._phase("load", idle):
            _ = model.module
        with self._phase("warm", idle):
            self._warm(model)
        return model

    def _receive(self, packet: Packet, link: Link, deadline_s: float, idle: _Accelerator) -> Packet:
        """Write the bytes into the memory as they arrive."""
        with self._phase("receive", idle):
            memory = self._arrive(packet.header + packet.body, link, deadline_s)
        at = len(packet.header)
        return Packet(bytes(memory[:at]), bytes(memory[at:]))

    def _arrive(self, whole: bytes, link: Link, deadline_s: float) -> bytearray:
        memory, start = bytearray(), time.perf_counter()
        total_s = link.time_s(8 * len(whole))
        while len(memory) < len(whole):
            passed_s = time.perf_counter() - start
            if passed_s > deadline_s:
                msg = (
                    f"deadline_s: late, {percent(len(memory) / len(whole))} of the packet had "
                    f"arrived after {quantity(deadline_s, 's')}. Allow {quantity(total_s, 's')}, "
                    f"or ask for a smaller sub-model."
                )
                raise DownloadError(msg)
            ready = int(max(0.0, passed_s - link.delay_s) * link.rate_bps / 8)
            memory += whole[len(memory) : ready]
            if self._stop.wait(min(_CHUNK_S, max(0.0, total_s - passed_s))):
                msg = "stream: it ended during the download. Start the device again."
                raise DownloadError(msg)
        return memory

    def _warm(self, model: SubModel) -> None:
        """Answer one frame off the record.

        Raises
        ------
        DownloadError
            If the model does not run on this device's frames.
        """
        frame = self._frames.images[:1]
        want = (1, len(self._frames.classes))
        try:
            with torch.inference_mode():
                logits = model(frame)
        except RuntimeError as error:
            msg = (
                f"model: {model.recipe} does not run on frames of {list(frame.shape)} ({error}). "
                f"Ask for one that was made for them."
            )
            raise DownloadError(msg) from error
        if logits.shape != want or not bool(logits.isfinite().all()):
            msg = (
                f"model: {model.recipe} must give {want[1]} finite logits; got "
                f"{logits.flatten().tolist()[:3]} … in {list(logits.shape)}. Ask for it again."
            )
            raise DownloadError(msg)
