"""Measure the figures of issue 2 and print them as a table: ``python -m benchmarks --help``.

A missed target is said and changes nothing else. A wrong result, a hang or a benchmark that broke
off is said loudly, and the run ends with status 1.
"""

import argparse
import signal
import sys
import time
import traceback
from pathlib import Path

from benchmarks import (
    binder,
    classroom,
    course,
    increments,
    loads,
    memory,
    opening,
    packet,
    paper_scale,
    population,
    quantisers,
    rush,
    slider,
    split,
    swap,
    trigger,
)
from benchmarks.table import Row, as_markdown, as_text, machine
from tests.browser import chromium

BENCHMARKS = {
    "packet": packet.run,
    "paper_scale": paper_scale.run,
    "split": split.run,
    "quantisers": quantisers.run,
    "increments": increments.run,
    "course": course.run,
    "population": population.run,
    "swap": swap.run,
    "trigger": trigger.run,
    "slider": slider.run_cheap,
    "measured": slider.run_measured,
    "opening": opening.run,
    "memory": memory.run,
    "rush": rush.run,
    "loads": loads.run,
    "classroom": classroom.run,
    "binder": binder.run,
}
BY_NAME_ONLY = {"classroom", "binder"}  # the class takes a quarter of an hour
WITHOUT_BROWSER = {
    "packet", "paper_scale", "split", "quantisers", "increments", "course", "population", "swap",
    "trigger", "loads",
}  # fmt: skip
LEGEND = "Durations are median / 95th percentile / maximum (number of samples)."


def main() -> None:
    """Run the chosen benchmarks."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends Voilà, too
    names = options.names or [name for name in BENCHMARKS if name not in BY_NAME_ONLY]
    facts = machine()
    print("\n".join(facts), end="\n\n", flush=True)
    if chromium.find_chromium() is None and not WITHOUT_BROWSER.issuperset(names):
        _shout(chromium.MISSING)
        names = [name for name in names if name in WITHOUT_BROWSER]
    start = time.monotonic()
    rows = [row for name in names for row in _measure(name, quick=options.quick)]
    facts += [LEGEND, f"All in {time.monotonic() - start:.0f} s."]
    print(f"\n{as_text(rows)}\n\n{facts[-2]} {facts[-1]}")
    if options.markdown:
        options.markdown.write_text(as_markdown(facts, rows), encoding="utf-8")
    wrong = [f"{row.what}: {row.wrong}" for row in rows if row.wrong]
    if wrong:
        _shout("\n".join(wrong))
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the explorer on this machine; leave the machine alone meanwhile.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[[], *BENCHMARKS], help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    return parser


def _measure(name: str, *, quick: bool) -> list[Row]:
    print(f"{name} ...", flush=True)
    start = time.monotonic()
    rows: list[Row] = []
    try:
        for row in BENCHMARKS[name](quick=quick):
            print("   ", "  ".join(filter(None, row.cells)), flush=True)
            rows.append(row)
    except Exception as error:  # noqa: BLE001  (the others are measured all the same)
        traceback.print_exc()
        rows.append(Row(name, "broke off", wrong=f"it broke off: {error!r}"))
    print(f"    ({time.monotonic() - start:.0f} s)", flush=True)
    return rows


def _shout(text: str) -> None:
    rule = "!" * 80
    print(f"{rule}\n{text}\n{rule}", file=sys.stderr)


if __name__ == "__main__":
    main()
