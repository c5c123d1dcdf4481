"""A class on one server: thirty arrive within a minute, one's kernel is killed, and long use.

A page costs its browser four seconds of processor time, which a class spends on its own laptops,
and the server less than one. So on one machine one visitor in five is a real page, a context of its
own in one Chromium, and the others speak with the server as a page does (see ``wire``): they fetch
the same files, hold the same conversation with their kernel, and do not draw.
"""

import asyncio
import random
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Self
from urllib.parse import urlsplit

import psutil
from playwright.async_api import Browser, Page, Request, async_playwright

from benchmarks.page import COMPLETE, LIMIT_MS, PROBE, ROOT, SETTLED, VIEWPORT, kernel_id
from benchmarks.table import Row, below, timed
from benchmarks.wire import WireVisitor
from insitu_widgets import serve
from tests.browser import chromium, conftest

VISITORS, WITHIN_S, MOVES = 30, 60.0, 10
REAL_EVERY = 5
USABLE_S, PRIVATE_MB = 5.0, 150.0
POOL = 3
#: Sliders that a visitor moves in turn; wherever they stand, something fits.
SLIDERS = ("bandwidth_hz", "latency_s", "memory_bytes", "bit_error_rate", "delay_s")
#: Long use: so many visits, so many at a time, so many key presses each, without a pause.
VISITS, AT_A_TIME, PRESSES = 400, 6, 40
LONG_PRESSES = 1000
#: One visit in so many ends without a farewell, as a laptop that is shut; its kernel is culled.
ABRUPT = 5
CULL_S = 60
TIDY_S = 35.0  # the server tidies up every half minute
GROWTH_MB = 50.0
MEASURED = "document.querySelector('.insitu-tile-measured b').textContent.includes('%')"


class Room:
    """A classroom that is open, and its processes."""

    def __init__(self, port: int, password: str, process: psutil.Process) -> None:
        self.url = f"http://{serve.HOST}:{port}/?token={password}"
        self.process = process

    def kernels(self) -> dict[str, psutil.Process]:
        """The kernels that live now, by the beginning of their ids."""
        children = self.process.children(recursive=True)
        names = {child.name(): child for child in children if child.is_running()}
        kernels = {name: child for name, child in names.items() if name.startswith("kernel-")}
        return {name.removeprefix("kernel-"): child for name, child in kernels.items()}

    def warm(self) -> psutil.Process:
        """The process that kernels are forked from."""
        return next(child for child in self.process.children() if "kernel-" not in child.name())

    async def emptied(self, limit_s: float) -> int:
        """How many kernels are left beyond the pool, at the latest after ``limit_s``."""
        limit = time.monotonic() + limit_s
        left = len(self.kernels()) - POOL
        while left > 0 and time.monotonic() < limit:
            await asyncio.sleep(0.5)
            left = len(self.kernels()) - POOL
        return max(left, 0)


@contextmanager
def opened(log: Path) -> Iterator[Room]:
    """Open the classroom as ``make classroom`` does, with kernels culled soon."""
    port, password = serve._free_port(), secrets.token_hex(8)  # noqa: SLF001
    settings = {
        "--port": port,
        "--Voila.ip": serve.HOST,
        "--Classroom.pool": POOL,
        "--Classroom.password": password,
        "--MappingKernelManager.cull_idle_timeout": CULL_S,
        "--MappingKernelManager.cull_interval": 5,
    }
    command = [sys.executable, "-m", "insitu_widgets.classroom"]
    command += [f"{name}={value}" for name, value in settings.items()]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            while "is open" not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            time.sleep(5.0)  # the pool fills, and measures once
            yield Room(port, password, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(30)


def run(*, quick: bool) -> Iterator[Row]:
    """The class, then long use; quick: six visitors within twelve seconds, and little use."""
    program = chromium.find_chromium()
    with TemporaryDirectory() as folder, opened(Path(folder) / "log") as room:
        with asyncio.Runner() as runner:
            rows = _measure(room, program, quick=quick)
            while row := runner.run(anext(rows, None)):
                yield row
        log = (Path(folder) / "log").read_text()
        faults = log.count("Traceback") + log.count("not forked")
        yield Row("tracebacks and kernels not forked, in the log", str(faults), "none", not faults)


async def _measure(room: Room, program: str | None, *, quick: bool) -> AsyncIterator[Row]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, headless=True, args=list(conftest.ARGS)
        )
        for row in await _class(room, browser, VISITORS // 5 if quick else VISITORS):
            yield row
        await browser.close()
    async for row in _long_use(room, share=10 if quick else 1):
        yield row


class Visitor:
    """A page, and when it reached what."""

    def __init__(self, page: Page, faults: list[str]) -> None:
        self.page = page
        self.faults = faults
        self.marks: dict[str, float] = {}
        self.moves: list[float] = []

    @classmethod
    async def arrive(
        cls, room: Room, browser: Browser, hear: Callable[[Request], None] | None = None
    ) -> Self:
        """Open the front page; returns when the page has answered a key and has an estimate."""
        context = await browser.new_context(viewport=VIEWPORT)
        context.set_default_timeout(LIMIT_MS)
        await context.add_init_script(path=PROBE)
        visitor = cls(await context.new_page(), [])
        conftest._watch(visitor.page, visitor.faults)  # noqa: SLF001
        if hear:
            visitor.page.on("request", hear)
        await visitor.page.goto(room.url, wait_until="commit")
        visitor.marks = await visitor.page.evaluate(
            "limit => probe.watchOpening('memory_bytes', limit)", LIMIT_MS
        )
        return visitor

    async def move(self, slider: str, key: str) -> None:
        """Press a key on a slider; returns when the page is complete under its new address."""
        start = time.perf_counter()
        before = await self.page.evaluate("location.search")
        await self._press(slider, key)
        await self.page.wait_for_function(
            f"old => location.search !== old && ({COMPLETE})() && {MEASURED}",
            arg=before,
            polling=50,
        )
        self.moves.append(time.perf_counter() - start)

    async def _press(self, slider: str, key: str) -> None:
        await self.page.locator(f".insitu-{slider} .noUi-handle").focus()
        await self.page.keyboard.press(key)

    async def leave(self) -> None:
        """Close the tab."""
        await self.page.goto("about:blank")
        await asyncio.sleep(1.0)  # the farewell that ends the kernel is on its way
        await self.page.context.close()


async def _class(room: Room, browser: Browser, count: int) -> list[Row]:
    paths = await _files(room, browser)

    async def visit(number: int) -> Visitor | WireVisitor:
        await asyncio.sleep(number * WITHIN_S / VISITORS)
        visitor: Visitor | WireVisitor
        if number % REAL_EVERY == 0:
            visitor = await Visitor.arrive(room, browser)
        else:
            visitor = await WireVisitor.arrive(room.url, paths)
        for turn in range(MOVES):
            key = "ArrowLeft" if turn // len(SLIDERS) else "ArrowRight"
            await visitor.move(SLIDERS[turn % len(SLIDERS)], key)
        return visitor

    results = await asyncio.gather(*map(visit, range(count)), return_exceptions=True)
    visitors = [each for each in results if not isinstance(each, BaseException)]
    lost = [repr(each) for each in results if isinstance(each, BaseException)]
    lost += [fault for visitor in visitors for fault in visitor.faults]
    what = f"of {count} visitors within {count * WITHIN_S / VISITORS:.0f} s, {MOVES} moves each:"
    figure = f"{len(visitors)} reached every measured result"
    rows = [Row(what, figure, str(count), len(visitors) == count, wrong="; ".join(lost))]
    for kind, words in ((WireVisitor, "without a browser"), (Visitor, "in a browser here")):
        rows += _times([visitor for visitor in visitors if isinstance(visitor, kind)], words)
    rows += _memory(room, count)
    pages = [visitor for visitor in visitors if isinstance(visitor, Visitor)]
    if len(pages) > 1:
        rows.append(await _killed(room, pages[0], pages[1]))
    await asyncio.gather(*(visitor.leave() for visitor in visitors))
    left = await room.emptied(15.0)
    rows.append(Row("kernels left when all have closed their tabs", str(left), "none", left == 0))
    return rows


async def _files(room: Room, browser: Browser) -> list[str]:
    """What a page asks the server for besides itself; the first page warms Chromium up, too."""
    asked: list[str] = []
    visitor = await Visitor.arrive(room, browser, lambda request: asked.append(request.url))
    await visitor.leave()
    parts = (urlsplit(address) for address in asked)
    return [
        part.path for part in parts if re.match("/voila/(static|labextensions|templ)", part.path)
    ]


def _times(visitors: Sequence[Visitor | WireVisitor], words: str) -> Iterator[Row]:
    for mark, what, target in (
        ("usable", "usable page", USABLE_S),
        ("estimate", "first measured estimate", None),
    ):
        samples = [visitor.marks[mark] / 1e3 for visitor in visitors if mark in visitor.marks]
        yield timed(f"arrival to {what}, {words}", samples, "s", target)
    moves = [seconds for visitor in visitors for seconds in visitor.moves]
    yield timed(f"move to all images measured, {words}", moves, "s")


def _memory(room: Room, count: int) -> Iterator[Row]:
    kernels = [kernel.memory_full_info() for kernel in room.kernels().values()]
    private, shared = ([getattr(each, kind) / 1e6 for each in kernels] for kind in ("uss", "pss"))
    yield Row(
        f"{len(kernels)} kernels: private, mean and most",
        f"{mean(private):.0f} and {max(private):.0f} MB",
        below(PRIVATE_MB, "MB"),
        max(private) <= PRIVATE_MB,
    )
    yield Row(f"{len(kernels)} kernels: proportional share, mean", f"{mean(shared):.0f} MB")
    server, warm = (process.memory_full_info() for process in (room.process, room.warm()))
    total = (sum(each.pss for each in kernels) + server.pss + warm.pss) / 1e6
    yield Row("the server itself: private", f"{server.uss / 1e6:.0f} MB")
    yield Row(f"everything, for {count} visitors", f"{total:.0f} MB")


async def _killed(room: Room, one: Visitor, other: Visitor) -> Row:
    """Kill one's kernel: its page says so, works when it is reloaded, and the other goes on."""
    room.kernels()[kernel_id(await one.page.content())[:8]].send_signal(signal.SIGKILL)
    start = time.perf_counter()
    await other.move(SLIDERS[0], "ArrowRight")
    moved = time.perf_counter() - start
    banner = one.page.locator(".insitu-banner", has_text="Reload")
    await banner.wait_for(state="visible")
    told = time.perf_counter() - start
    one.faults.clear()  # its page may complain of its kernel
    await one.page.reload(wait_until="commit")
    await one.page.wait_for_function(SETTLED)
    again = time.perf_counter() - start - told
    await one.move(SLIDERS[0], "ArrowRight")
    figure = (
        f"told after {told:.1f} s; reloaded and complete in {again:.1f} s; the other {moved:.1f} s"
    )
    return Row("a killed kernel", figure, "told, works on reload, others go on", met=True)


async def _long_use(room: Room, share: int) -> AsyncIterator[Row]:
    chance = random.Random(0)
    gate = asyncio.Semaphore(AT_A_TIME)
    faults: list[str] = []

    async def visit(number: int) -> None:
        async with gate:
            visitor = await WireVisitor.arrive(room.url, [])
            await _play(visitor, chance, PRESSES)
            faults.extend(visitor.faults)
            await visitor.leave(abruptly=number % ABRUPT == 0)

    visits = VISITS // share
    sizes = [_private(room)]
    for part in range(2):
        numbers = range(part * visits // 2, (part + 1) * visits // 2)
        await asyncio.gather(*map(visit, numbers))
        await room.emptied(CULL_S + 15.0)
        await asyncio.sleep(TIDY_S)
        sizes.append(_private(room))
    left = await room.emptied(0.0)
    words = f"{visits} visits, {AT_A_TIME} at a time, {PRESSES} random key presses each"
    yield Row(f"{words}: kernels left", str(left), "none", left == 0, wrong="; ".join(faults[:3]))
    yield Row(
        f"{words}: server and warm process, private, before, at half time, at the end",
        " / ".join(f"{size:.0f}" for size in sizes) + " MB",
        f"second half {below(GROWTH_MB, 'MB')} more",
        sizes[2] - sizes[1] <= GROWTH_MB,
    )
    yield await _one_page(room, chance, LONG_PRESSES // share)


async def _one_page(room: Room, chance: random.Random, presses: int) -> Row:
    """A page that is used for long: what its kernel holds after half and after all of it."""
    visitor = await WireVisitor.arrive(room.url, [])
    kernel = room.kernels()[visitor.kernel[:8]]
    sizes = []
    for _ in range(2):
        await _play(visitor, chance, presses // 2)
        sizes.append(kernel.memory_full_info().uss / 1e6)
    await visitor.leave()
    return Row(
        f"one page, {presses} random key presses: its kernel, private, at half time and at the end",
        f"{sizes[0]:.0f} / {sizes[1]:.0f} MB",
        below(PRIVATE_MB, "MB"),
        sizes[1] <= PRIVATE_MB,
    )


async def _play(visitor: WireVisitor, chance: random.Random, presses: int) -> None:
    """Press keys on random sliders as fast as they go, then wait for the last answer."""
    for _ in range(presses):
        await visitor.press(chance.choice(SLIDERS), chance.choice(("ArrowLeft", "ArrowRight")))
    await visitor.settle()


def _private(room: Room) -> float:
    """Megabytes that the server and the warm process hold alone."""
    return sum(process.memory_full_info().uss for process in (room.process, room.warm())) / 1e6
