"""Rows of the benchmark table, and the machine that they were measured on."""

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

import psutil

from insitu_widgets.cards import ROOTS
from insitu_widgets.cpus import usable_cpus
from tests.browser import chromium

DIGITS_ROOTS = [name for name, card in ROOTS.items() if card.data == "digits"]
HEADING = ("what", "figure reached", "target", "")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    what
        What was measured.
    figure
        What was reached, in words.
    target
        What issue 2 asks for, in words; empty where it asks for nothing.
    met
        Whether it was reached; ``None`` where nothing is asked for.
    wrong
        A wrong result or a hang, in words: it is printed loudly, and the run exits with status 1.
    """

    what: str
    figure: str
    target: str = ""
    met: bool | None = None
    wrong: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The row as it is printed."""
        verdict = {None: "", True: "met", False: "missed"}[self.met]
        return (self.what, self.figure, self.target, "WRONG" if self.wrong else verdict)


def below(target: float, unit: str) -> str:
    """A target that a figure must not exceed, in words."""
    return f"≤ {target:g} {unit}"


def p95(samples: Sequence[float]) -> float:
    """The 95th percentile (of few samples: close to the largest)."""
    if len(samples) < 2:
        return samples[0]
    return quantiles(samples, n=20, method="inclusive")[-1]


def spread(samples: Sequence[float], unit: str) -> str:
    """Median, 95th percentile and maximum of the samples, and how many they are.

    >>> spread([1.0, 2.0, 3.0], "ms")
    '2.00 / 2.90 / 3.00 ms (3)'
    """
    figures = (median(samples), p95(samples), max(samples))
    return f"{' / '.join(map(_digits, figures))} {unit} ({len(samples)})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2f}"


def timed(what: str, samples: Sequence[float], unit: str, target: float | None = None) -> Row:
    """A row of durations; its 95th percentile is held against the target, if there is one."""
    if not samples:
        return Row(what, "no sample", wrong=f"{what}: nothing could be measured")
    if target is None:
        return Row(what, spread(samples, unit))
    return Row(what, spread(samples, unit), f"p95 {below(target, unit)}", p95(samples) <= target)


def machine() -> list[str]:
    """What the figures were measured on, one line a fact, and how busy it was before."""
    versions = (f"{name} {version(name)}" for name in ("torch", "numpy", "voila", "ipykernel"))
    load = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
    memory = psutil.virtual_memory()
    return [
        f"{_processor()}, {usable_cpus()} cores, {memory.total / 2**30:.0f} GiB of memory",
        f"{platform.platform()}, Python {platform.python_version()}, {', '.join(versions)}",
        _browser(),
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; load average over the minute before: {load}",
    ]


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _browser() -> str:
    program = chromium.find_chromium()
    if program is None:
        return "no Chromium"
    answer = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    return answer.stdout.strip() or program


def as_text(rows: Iterable[Row]) -> str:
    """The table for a terminal."""
    lines = [HEADING, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (lines[0], rule, *lines[1:])
    )


def as_markdown(facts: Iterable[str], rows: Iterable[Row]) -> str:
    """The machine and the table as Markdown."""
    lines = [HEADING, ("---",) * len(HEADING), *(row.cells for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join(f"- {fact}" for fact in facts) + f"\n\n{table}\n"
