"""A CSV of measurements that grows line by line and goes on where it stopped."""

from __future__ import annotations

import csv
import hashlib
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

_WEIGHTS = Path(__file__).parents[1] / "weights"


class TableFile:
    """A file: notes that begin with #, a heading, then lines of values.

    Parameters
    ----------
    path
        The file; it is begun if it is not there, and loses its last line if that was cut.
    command
        What measures it anew.
    root
        The root that it is measured on: the notes tell its weights.
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
        self, path: Path, command: str, root: str, conditions: str, columns: Sequence[str]
    ) -> None:
        self._path = path
        weights = (_WEIGHTS / f"{root}.safetensors").read_bytes()
        same = (f"# weights: SHA-256 {hashlib.sha256(weights).hexdigest()}", f"# {conditions}")
        if path.exists():
            text = path.read_text(encoding="utf-8")
            path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
            if not all(line in text.splitlines() for line in same):
                msg = f"{path} was measured on other weights or images. Delete it, or name another."
                raise SystemExit(msg)
            return
        begun = f"{datetime.now(UTC):%Y-%m-%d}; torch {torch.__version__}, {platform.machine()}"
        lines = (f"# measured with: {command}", f"# begun: {begun}", *same, ",".join(columns))
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def add(self, values: Sequence[object]) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(values)
