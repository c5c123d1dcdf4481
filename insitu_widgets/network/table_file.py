"""A CSV of measurements that grows line by line and goes on where it stopped."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from insitu_widgets.model_card import day_and_machine, weights_digest
from insitu_widgets.network import growing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
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
        If the file is no such table, or was measured on other weights or under other conditions;
        it stays as it is.
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
        heading = ",".join(columns)
        try:
            whole, cut = growing.read(path)
        except ValueError as error:
            raise SystemExit(str(error)) from error
        if whole or cut:
            held = whole.splitlines()
            if heading not in held:
                msg = (
                    f"{path} must be a table with the columns {heading}; it has no such heading. "
                    f"Delete it, or name another."
                )
                raise SystemExit(msg)
            if not all(line in held for line in same):
                msg = f"{path} was measured on other weights or images. Delete it, or name another."
                raise SystemExit(msg)
            if cut:
                growing.replace(path, whole)
            return
        first = f"# measured with: {command}", f"# begun: {day_and_machine()}"
        growing.replace(path, "".join(f"{line}\n" for line in (*first, *same, heading)))

    def add_together(self, rows: Iterable[Sequence[object]]) -> None:
        """Write some lines, all of them or none, however the program ends."""
        lines = io.StringIO(newline="")
        csv.writer(lines, lineterminator="\n").writerows(rows)
        growing.replace(self._path, growing.read(self._path)[0] + lines.getvalue())

    def add(self, values: Sequence[object]) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(values)
