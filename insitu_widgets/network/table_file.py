"""A CSV of measurements that grows line by line and goes on where it stopped."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from insitu_widgets.data import count_of, load_data
from insitu_widgets.errors import in_range
from insitu_widgets.model_card import day_and_machine, weights_digest
from insitu_widgets.network import growing

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from insitu_widgets.data import ImageSet

#: Test images, balanced over the classes, that a large root's tables are measured on.
USUAL_IMAGES = 2000
#: Options that change nothing in what is measured.
_NOT_TOLD = ("root", "out", "workers")


def command_of(parser: ArgumentParser, options: Namespace) -> str:
    """The command that measures a table anew: the root, and the options that are not the usual."""
    words = [parser.prog, options.root]
    for name, value in vars(options).items():
        if name not in _NOT_TOLD and value != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return " ".join(words)


def images_to_test_on(parser: ArgumentParser, given: int | None, data: str) -> ImageSet:
    """As many test images as ``--images`` says; else :data:`USUAL_IMAGES`, or all of fewer."""
    most = count_of(data)
    try:
        count = min(USUAL_IMAGES, most) if given is None else in_range("--images", given, 1, most)
    except ValueError as error:
        parser.error(str(error))
    return load_data(data, limit=count)


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
