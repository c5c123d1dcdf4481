"""The catalogue: what was measured of each recipe, by bit-error rate and guard. Needs no torch."""

from __future__ import annotations

import csv
import io
from bisect import bisect_left
from dataclasses import astuple, dataclass, fields
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from insitu_widgets.air.channel import GUARDS
from insitu_widgets.cards import ROOTS, family_of
from insitu_widgets.errors import in_range, of_type, one_of
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.network import growing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

    from insitu_widgets.network.sweep import Job


_MOST = 10**15
#: Of each number of a row the smallest and the largest.
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("bit_error_rate", 0.0, 0.5),
    ("num_bits", 1, _MOST),
    ("num_parameters", 0, _MOST),
    ("accuracy", 0.0, 1.0),
    ("lowest", 0.0, 1.0),
    ("highest", 0.0, 1.0),
    ("images", 1, _MOST),
    ("seeds", 1, _MOST),
)


@dataclass(frozen=True)
class Measurement:
    """One row of the catalogue.

    Attributes
    ----------
    recipe : Recipe
        What was cut.
    bit_error_rate : float
        Of the body's bits.
    guard : str
        The receiver's. Codes of 8 bits and fewer have rows for "none" only: no guard acts on them.
    num_bits : int
        Bits of the whole packet, header included.
    num_parameters : int
        Parameters kept.
    accuracy : float
        Mean over the seeds, in [0, 1].
    lowest, highest : float
        Over the seeds; of one measurement alone the 95 % interval that its images give (Wilson).
    images, seeds : int
        How many images, and how many times the channel was drawn.

    Raises
    ------
    ValueError
        For a number out of its range, or a guard that does not exist.
    TypeError
        For something else than a recipe.
    """

    recipe: Recipe
    bit_error_rate: float
    guard: str
    num_bits: int
    num_parameters: int
    accuracy: float
    lowest: float
    highest: float
    images: int
    seeds: int

    def __post_init__(self) -> None:
        of_type("recipe", self.recipe, Recipe, "Make one: Recipe(root, exit, keep, bits).")
        if self.guard not in GUARDS:
            one_of("guard", self.guard, GUARDS)
        for field, low, high in _RANGES:
            value = getattr(self, field)
            if type(value) is not type(low) or not low <= value <= high:  # quick: tables are long
                in_range(field, value, low, high)


#: What follows the bits of a mixed recipe in a file, and then those of a recalibrated one.
_MIXED, _RECALIBRATED = " mixed", " recalibrated"
COLUMNS = ("root", "exit", "keep", "bits", *(item.name for item in fields(Measurement)[1:]))


class Catalogue:
    """Measurements, found by recipe, bit-error rate and guard."""

    def __init__(self, rows: Iterable[Measurement], notes: Iterable[str] = ()) -> None:
        self.rows = tuple(rows)
        self.notes = tuple(notes)
        self._found: dict[tuple[Recipe, str], list[Measurement]] = {}
        for row in sorted(self.rows, key=lambda row: row.bit_error_rate):
            self._found.setdefault((row.recipe, row.guard), []).append(row)
        self._rates = sorted({row.bit_error_rate for row in self.rows})
        self._at: dict[tuple[str, float, str], tuple[Measurement, ...]] = {}

    def curve(self, recipe: Recipe, guard: str) -> tuple[Measurement, ...]:
        """Measurements of one recipe by ascending bit-error rate; empty if there are none."""
        effective = "none" if recipe.bits <= WIDEST_CODE else guard
        rows = self._found.get((recipe, effective), [])
        if effective == "none":
            return tuple(rows)
        unguarded = self._found.get((recipe, "none"), [])
        error_free = [row for row in unguarded if row.bit_error_rate == 0.0]  # nothing to guard
        return (*error_free, *rows)

    def find(self, recipe: Recipe, bit_error_rate: float, guard: str) -> Measurement | None:
        """The measurement at this bit-error rate, or at the next higher one that was measured."""
        rows = self.curve(recipe, guard)
        place = bisect_left([row.bit_error_rate for row in rows], bit_error_rate * (1 - 1e-9))
        return rows[place] if place < len(rows) else None

    def at(self, root: str, bit_error_rate: float, guard: str) -> tuple[Measurement, ...]:
        """:meth:`find` for every recipe of a root; its all-in-one root is another.

        What is found is remembered for each bit-error rate that was measured.
        """
        place = bisect_left(self._rates, bit_error_rate * (1 - 1e-9))
        if place == len(self._rates):
            return ()
        key = (root, measured := self._rates[place], guard)
        if key not in self._at:
            recipes = dict.fromkeys(row.recipe for row in self.rows if row.recipe.root == root)
            found = (self.find(recipe, measured, guard) for recipe in recipes)
            self._at[key] = tuple(row for row in found if row is not None)
        return self._at[key]


def write_rows(rows: Iterable[Measurement], file: TextIO) -> None:
    """Append rows as CSV, without a heading; accuracies with six digits, what is a key exactly."""
    writer = csv.writer(file, lineterminator="\n")
    for row in rows:
        recipe = row.recipe
        error_rate, *values = astuple(row)[1:]
        rounded = [f"{v:.6g}" if isinstance(v, float) else v for v in values]
        width = f"{recipe.bits}{_MIXED * recipe.mixed}{_RECALIBRATED * recipe.recalibrated}"
        key = (recipe.root, recipe.exit or "", _exact(recipe.keep), width, _exact(error_rate))
        writer.writerow([*key, *rounded])


def _exact(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def read_rows(file: Iterable[str]) -> Catalogue:
    """Read a catalogue: lines of notes that begin with #, a heading, then rows.

    Raises
    ------
    ValueError
        If the heading or a row is not a catalogue's, naming the line.
    """
    notes: list[str] = []
    lines: list[str] = []
    for line in file:
        (notes if line.startswith("#") else lines).append(line)
    reader = csv.reader(lines)
    heading = next(reader, [])
    if tuple(heading) != COLUMNS:
        msg = f"heading must be {','.join(COLUMNS)}; got {','.join(heading)!r}. Measure it anew."
        raise ValueError(msg)
    rows = [_row(number, values) for number, values in enumerate(reader, len(notes) + 2)]
    return Catalogue(rows, [note[1:].strip() for note in notes])


_recipe = lru_cache(maxsize=4096)(Recipe)


def _row(number: int, values: list[str]) -> Measurement:
    if len(values) != len(COLUMNS):
        msg = f"line {number} must have {len(COLUMNS)} values; got {len(values)}. Measure it anew."
        raise ValueError(msg)
    root, exit_, keep, bits, error_rate, guard, size, count, mean, low, high, images, seeds = values
    width = bits.removesuffix(_RECALIBRATED)
    try:
        return Measurement(
            _recipe(
                root,
                int(exit_) if exit_ else None,
                float(keep),
                int(width.removesuffix(_MIXED)),
                mixed=width.endswith(_MIXED),
                recalibrated=width != bits,
            ),
            float(error_rate),
            guard,
            int(size),
            int(count),
            float(mean),
            float(low),
            float(high),
            int(images),
            int(seeds),
        )
    except ValueError as error:
        msg = f"line {number} must be a measurement; {error} Measure it anew."
        raise ValueError(msg) from error


class Table:
    """The rows of a sweep, and the file that holds them if there is one.

    A file whose last line was cut loses that line.

    Raises
    ------
    ValueError
        If the file is another's, or cannot be one (a folder, say); it stays as it is.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        whole, cut = growing.read(path) if path else ("", "")
        found = _table(path, whole, cut)
        self.notes = found.notes
        self._rows = {_key(row): row for row in found.rows}
        if path and self._text() != whole + cut:
            self._write()

    @property
    def rows(self) -> list[Measurement]:
        """All rows."""
        return list(self._rows.values())

    def note(self, *notes: str) -> None:
        """Add notes that are not there yet."""
        together = tuple(dict.fromkeys((*self.notes, *notes)))
        if together != self.notes:
            self.notes = together
            self._write()

    def go_on(self, conditions: Mapping[str, str], seeds: Sequence[int]) -> None:
        """Note on what rows are measured, and with which seeds of the channel.

        Raises
        ------
        ValueError
            If the notes tell of other conditions, or of other seeds: those of one table begin
            alike, so that more of them make a better row. The file stays as it is.
        """
        held = dict(note.split(": ", 1) for note in self.notes if ": " in note)
        for what, value in conditions.items():
            if held.get(what, value) != value:
                self._refuse(what, held[what], value)
        drawn = ", ".join(map(str, seeds))
        for note in self.notes:
            before = note.removeprefix(_SEEDS)
            shorter, longer = sorted((f"{before}, ", f"{drawn}, "), key=len)
            if seeds and note.startswith(_SEEDS) and not longer.startswith(shorter):
                self._refuse(_SEEDS.strip(": "), before, drawn)
        new = [f"{what}: {value}" for what, value in conditions.items()]
        self.note(*new, *([f"{_SEEDS}{drawn}"] if seeds else []))

    def _refuse(self, what: str, held: str, now: str) -> None:
        msg = (
            f"path must be a table that was measured under the same conditions; {self._path} says "
            f"{what}: {held}, and now it is {now}. Name another file, or delete this one."
        )
        raise ValueError(msg)

    def missing(self, job: Job, images: int) -> tuple[Recipe, ...]:
        """A job's recipes without a row of so many images, and at least as many seeds as it has."""
        seeds = len(job.seeds) if job.bit_error_rate else 1
        key = job.bit_error_rate, job.guard, images
        held = {recipe: self._rows.get((recipe, *key)) for recipe in job.recipes}
        return tuple(r for r, row in held.items() if row is None or row.seeds < seeds)

    def add(self, rows: Sequence[Measurement]) -> None:
        """Add rows; one of the same recipe and channel, on as many images, is replaced."""
        known = len(self._rows)
        self._rows |= {_key(row): row for row in rows}
        added = len(self._rows) - known
        if self._path and added < len(rows):
            self._write()
        elif self._path:
            with self._path.open("a", encoding="utf-8") as file:
                write_rows(rows, file)

    def _text(self) -> str:
        with io.StringIO() as file:
            file.writelines(f"# {note}\n" for note in self.notes)
            file.write(",".join(COLUMNS) + "\n")
            write_rows(self.rows, file)
            return file.getvalue()

    def _write(self) -> None:
        """Replace the file as a whole."""
        if self._path:
            growing.replace(self._path, self._text())


_SEEDS = "seeds of the channel: "
#: How the file of a sweep from the command line begins; others begin with the heading.
_FIRST = "# measured with: "


def _table(path: Path | None, whole: str, cut: str) -> Catalogue:
    """What a sweep's file holds, which may have been cut at any byte."""
    lines = whole.splitlines(keepends=True)
    if all(line.startswith("#") for line in lines):  # the heading is missing
        text = whole + cut
        heading = ",".join(COLUMNS)
        if not (text.startswith(_FIRST) or any(f.startswith(text) for f in (_FIRST, heading))):
            msg = (
                f"path must be a new file or a sweep's table; {path} is another file, it begins "
                f"with {text[:40]!r}. Name another file."
            )
            raise ValueError(msg)
        lines.append(heading + "\n")
    try:
        return read_rows(lines)
    except ValueError as error:
        msg = f"path must be a new file or a sweep's table; {path}: {error} Or name another file."
        raise ValueError(msg) from error


def _key(row: Measurement) -> tuple[Recipe, float, str, int]:
    return row.recipe, row.bit_error_rate, row.guard, row.images


def comparable(rows: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """Rows of one set of images: that of most recipes, the largest of equals.

    Two sets differ by a point or so in how hard they are, which would decide between recipes that
    were measured on the one and on the other.
    """
    rows = tuple(rows)
    recipes: dict[int, set[Recipe]] = {}
    for row in rows:
        recipes.setdefault(row.images, set()).add(row.recipe)
    best = max(recipes, key=lambda images: (len(recipes[images]), images), default=0)
    return tuple(row for row in rows if row.images == best)


def finest(rows: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """Of each recipe the rows of one set of images: that with most channels, the largest of equals.

    No loss may be read from one set to another; a sweep on more images that was stopped has left
    some of its channels only.
    """
    sets: dict[Recipe, dict[int, int]] = {}
    rows = tuple(rows)
    for row in rows:
        counts = sets.setdefault(row.recipe, {})
        counts[row.images] = counts.get(row.images, 0) + 1
    best = {
        recipe: max(counts, key=lambda images: (counts[images], images))
        for recipe, counts in sets.items()
    }
    return tuple(row for row in rows if row.images == best[row.recipe])


@lru_cache(maxsize=8)
def shipped(suffix: str = ".csv") -> tuple[str, ...]:
    """The roots whose catalogue is shipped, or another table whose file's name ends so."""
    folder = files("insitu_widgets") / "catalogue"
    names = {path.name for path in folder.iterdir()}
    return tuple(name for name in ROOTS if name + suffix in names)


def shipped_lines(root: str, suffix: str) -> list[str]:
    """Lines of a shipped table: notes that begin with #, a heading, then values.

    Raises
    ------
    ValueError
        If none is shipped for that root, naming those that are.
    """
    path = files("insitu_widgets") / "catalogue" / (root + suffix)
    if not path.is_file():
        one_of("root", root, shipped(suffix))
    return path.read_text(encoding="utf-8").splitlines()


def tables_of(root: str, suffix: str = ".csv") -> list[list[str]]:
    """The lines of a root's shipped table, followed by those of its all-in-one root's.

    Each has a file of its own, because each was measured on weights of its own; where the one of
    the all-in-one root is missing, so are its rows.

    Raises
    ------
    ValueError
        As :func:`shipped_lines`.
    """
    folder = files("insitu_widgets") / "catalogue"
    nested = [name for name in family_of(root)[1:] if (folder / (name + suffix)).is_file()]
    return [shipped_lines(name, suffix) for name in (root, *nested)]


def condition(root: str, suffix: str) -> str:
    """On how many images, and how, a shipped table was measured: its note of the images."""
    lines = shipped_lines(root, suffix)
    return next(line[2:] for line in lines if line.startswith("# images: "))


@lru_cache(maxsize=8)
def load_catalogue(root: str) -> Catalogue:
    """The shipped catalogue of one root, followed by that of its all-in-one root.

    What a choice is made from: all rows are of one set of images (:func:`comparable`). The name of
    an all-in-one root alone (``…-nested``) gives that one's rows alone.

    Raises
    ------
    ValueError
        If none is shipped for that root, naming those that are.
    """
    return _chosen(root, comparable)


@lru_cache(maxsize=8)
def load_finest(root: str) -> Catalogue:
    """The same, each recipe on the most images that all its channels were measured on.

    What a curve is drawn from (:func:`finest`); two recipes may have seen different images.

    Raises
    ------
    ValueError
        As :func:`load_catalogue`.
    """
    return _chosen(root, finest)


def _chosen(
    root: str, chosen: Callable[[Iterable[Measurement]], tuple[Measurement, ...]]
) -> Catalogue:
    tables = [read_rows(lines) for lines in tables_of(root)]
    return Catalogue(
        chosen(row for table in tables for row in table.rows),
        [note for table in tables for note in table.notes],
    )
