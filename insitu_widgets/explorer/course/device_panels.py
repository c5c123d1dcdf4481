"""The panel of the device: a model is swapped under load."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from html import escape

import torch

from insitu_widgets.air.channel import Link
from insitu_widgets.air.payload import Packet, pack
from insitu_widgets.data import load_data
from insitu_widgets.explorer.course import device_figures as figures
from insitu_widgets.explorer.panels import Chart, Panel, Picture, choice, number, slider
from insitu_widgets.explorer.runner import Inline, Latest
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.device import Device
from insitu_widgets.network.device_log import Log, Swap
from insitu_widgets.roots import load_root
from insitu_widgets.units import quantity

Runner = Inline | Latest | None

#: Roots that answer digits.
DIGITS = ("vgg-digits", "resnet-digits", "vit-digits")
#: Seconds between two pictures; before a download and after it.
TICK_S, _BEFORE_S, _AFTER_S = 0.2, 0.6, 0.8
_BIT_ERROR_RATE = 1e-4
#: A process is quiet that uses less of one core than this; it is waited for so long at most.
_QUIET, _MOST_WAIT_S = 0.4, 30.0
_ARRIVALS = [
    ("as it was sent", "intact"),
    ("too late", "late"),
    ("with bit errors in the body", "body"),
    ("with a damaged header", "header"),
]


def swap_panel(runner: Runner = None) -> Panel:
    """A model is swapped while frames are answered: two memories, and one."""
    return Panel(
        "Hot swap: two memories, or one?",
        "Real, on this machine: threads, inference, bytes at the link's pace, unpacking, loading. "
        "Simulated: the link's rate, the camera's clock (its buffer holds 16 frames).",
        {
            "first": choice("Model in use", DIGITS, "vgg-digits"),
            "following": choice("Next model", DIGITS, "resnet-digits"),
            "rate_bps": slider(
                "Rate of the link", (1e6, 2e6, 4e6, 1e7, 1e8), 4e6, lambda r: quantity(r, "bit/s")
            ),
            "frame_rate_hz": slider(
                "Frame rate", (5.0, 15.0, 30.0, 60.0, 120.0), 30.0, lambda f: f"{f:g} a second"
            ),
            "arrival": choice("It arrives", _ARRIVALS),
            "seed": number("Seed of bit errors", 0, 999, 0),
        },
        _swap,
        runner,
    )


def _swap(
    *, first: str, following: str, rate_bps: float, frame_rate_hz: float, arrival: str, seed: int
) -> Iterator[Picture]:
    torch.set_num_threads(1)
    packets = [pack(derive(load_root(n), Recipe(n, bits=8))) for n in (first, following)]
    frames = load_data("digits")
    link, sent, deadline_s = _sending(packets[1], rate_bps, arrival)
    span_s = _BEFORE_S + link.time_s(sent.num_bits) + _AFTER_S
    logs: dict[int, Log] = {}
    for _ in _disturbed():
        words = "<p>Waiting until other panels have done their work, which would be timed too …</p>"
        yield replace(_swapping(logs, span_s, 0.0), words=words)
    for many in (2, 1):
        device = Device(packets[0], frames, frame_rate_hz=frame_rate_hz, accelerators=many)
        with ThreadPoolExecutor(1) as pool, device:
            fetch = partial(device.download, sent, link, deadline_s=deadline_s, seed=seed)
            coming: Future[Swap] | None = None
            while not (logs.get(many) and _is_over(logs[many])):
                time.sleep(TICK_S)
                if coming is None and device.now_s >= _BEFORE_S:
                    coming = pool.submit(fetch)
                logs[many] = device.log()
                share = (len(logs) - 1 + min(1.0, logs[many].now_s / span_s)) / 2
                yield _swapping(logs, span_s, share)
        logs[many] = device.log()
    yield _swapping(logs, span_s, 1.0)


def _disturbed() -> Iterator[None]:
    """Yield while other threads of this process keep it busy, up to a limit."""
    for _ in range(int(_MOST_WAIT_S / TICK_S)):
        before_s = time.process_time()
        yield
        time.sleep(TICK_S)
        if time.process_time() - before_s < _QUIET * TICK_S:
            return


def _is_over(log: Log) -> bool:
    return bool(log.swaps) and log.now_s >= log.swaps[-1].ends_s + _AFTER_S


def _sending(packet: Packet, rate_bps: float, arrival: str) -> tuple[Link, Packet, float]:
    """The link, what is sent, and until when it is waited for."""
    link = Link(rate_bps, bit_error_rate=_BIT_ERROR_RATE if arrival == "body" else 0.0)
    if arrival == "header":
        packet = Packet(packet.header[:-1] + bytes([packet.header[-1] ^ 1]), packet.body)
    needed_s = link.time_s(packet.num_bits)
    return link, packet, (0.7 if arrival == "late" else 10.0) * needed_s


def _swapping(logs: Mapping[int, Log], span_s: float, share: float) -> Picture:
    until_s = max([span_s, *(log.now_s for log in logs.values())])
    text = " ".join(f"{_device(many)}: {counted(log)}" for many, log in logs.items())
    return Picture(
        {
            "timeline": Chart("What each memory does", text, figures.timeline(logs, until_s)),
            "waits": Chart("How long a frame waits", text, figures.waits(logs, until_s)),
        },
        _swaps_table(logs),
        share,
    )


def _device(many: int) -> str:
    return "Two memories" if many == 2 else "One memory"


def counted(log: Log) -> str:
    """What became of the frames, in a sentence."""
    return (
        f"{len(log.answers)} frames answered, {len(log.lost)} lost, longest gap "
        f"{quantity(log.longest_gap_s, 's')}."
    )


def _swaps_table(logs: Mapping[int, Log]) -> str:
    heads = ("Device", "Answered", "Lost", "Longest gap", "Arriving", "Unpack, load, warm")
    rows = ""
    for many, log in logs.items():
        times = log.longest_gap_s, log.seconds("receive"), log.seconds("unpack", "load", "warm")
        cells = [str(len(log.answers)), str(len(log.lost)), *(quantity(t, "s") for t in times)]
        rows += f"<tr><th>{_device(many)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    said = "".join(
        f"<p><b>{_device(many)}.</b> {escape(swap.said)}</p>"
        for many, log in logs.items()
        for swap in log.swaps
    )
    head = "".join(f"<th>{text}</th>" for text in heads)
    return f"<table><tr>{head}</tr>{rows}</table>{said}"
