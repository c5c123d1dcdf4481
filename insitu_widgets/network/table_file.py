"""A CSV of measurements that grows line by line and goes on where it stopped."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from insitu_widgets.model_card import day_and_machine, weights_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class TableFile:
    """A file: notes that begin with #, a heading, then lines of values.

    Parameters
    ----------
    path
        The file; it is begun if it is not there, and loses its last line if that was cut.
    command
        What measures it anew.
    roots
        Those that it is measured on: the notes tell their weights.
    conditions
        What must be the same for it to go on: images, precision.
    columns
        The heading.

    Raises
    ------
    SystemExit
        If the file was measured on other weights or under other conditions.
    """

    def __init__(
        self,
        path: Path,
        command: str,
        roots: Sequence[str],
        conditions: str,
        columns: Sequence[str],
    ) -> None:
        self._path = path
        same = (*(f"# weights: {weights_digest(root)}" for root in roots), f"# {conditions}")
        if path.exists():
            text = path.read_text(encoding="utf-8")
            path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
            if not all(line in text.splitlines() for line in same):
                msg = f"{path} was measured on other weights or images. Delete it, or name another."
                raise SystemExit(msg)
            return
        first = f"# measured with: {command}", f"# begun: {day_and_machine()}"
        lines = (*first, *same, ",".join(columns))
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def add(self, values: Sequence[object]) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(values)
