"""Sweep: measure many recipes over many channels; ``python -m insitu_widgets.network.sweep``."""

from __future__ import annotations

import argparse
import hashlib
import io
import platform
from contextlib import closing
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from insitu_widgets.air.channel import GUARDS, Link, transmit
from insitu_widgets.air.payload import pack, unpack
from insitu_widgets.cards import ROOTS
from insitu_widgets.data import ImageSet, load_data
from insitu_widgets.errors import one_of
from insitu_widgets.estimate import Estimate
from insitu_widgets.evaluate import accuracy
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import BITS, WIDEST_CODE, Recipe
from insitu_widgets.network.catalogue import (
    COLUMNS,
    Catalogue,
    Measurement,
    read_rows,
    write_rows,
)
from insitu_widgets.roots import Root, load_root

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from distributed import Client

    from insitu_widgets.evaluate import Classifier

KEEPS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
BIT_ERROR_RATES = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
SEEDS = (0, 1, 2, 3, 4)


def grid(root: str, keeps: Iterable[float] = KEEPS, bits: Iterable[int] = BITS) -> list[Recipe]:
    """Every exit of a shipped root with every ``keep`` and every ``bits``."""
    exits = range(1, ROOTS[root].num_exits + 1)
    return [Recipe(root, *cut) for cut in product(exits, keeps, bits)]


def sweep(
    recipes: Iterable[Recipe],
    images: ImageSet,
    *,
    root: Root | None = None,
    bit_error_rates: Sequence[float] = BIT_ERROR_RATES,
    guards: Sequence[str] = GUARDS,
    seeds: Sequence[int] = SEEDS,
    path: Path | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> Catalogue:
    """Measure recipes × bit-error rates × guards on images.

    Parameters
    ----------
    recipes
        What to cut; each must be of a shipped root, or of ``root``.
    images
        The images to measure on; all of them are used.
    root
        A user's own root; ``None`` loads the shipped one that each recipe names.
    bit_error_rates, guards, seeds
        The channels: at a bit-error rate above 0 each seed is one realisation. Guards are
        measured apart for floats only; k-bit codes cannot leave their range.
    path
        A CSV that grows as recipes are done; a recipe that it already holds on these channels,
        with as many images and seeds, is not measured again.
    client
        A ``dask.distributed`` client to measure on; ``None`` measures in line.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Catalogue
        All measurements, the ones read from ``path`` included.

    Raises
    ------
    ValueError
        For a channel or a recipe that cannot be.
    """
    channels = (tuple(bit_error_rates), tuple(guards), tuple(seeds))
    for field, given in zip(("bit_error_rates", "guards", "seeds"), channels, strict=True):
        if not given:
            msg = f"{field} must hold at least one value; got none. Leave it out for the usual."
            raise ValueError(msg)
    for guard in guards:
        one_of("guards", guard, GUARDS)
    wanted = list(dict.fromkeys(recipes))
    rows = _resume(path, wanted, channels, len(images)) if path else []
    done = {row.recipe for row in rows}
    left = [recipe for recipe in wanted if recipe not in done]
    work = (
        _on_dask(client, left, images, root, channels)
        if client
        else _in_line(left, images, root, channels)
    )
    with (
        closing(work),
        tqdm(total=len(wanted), initial=len(done), unit="recipe", disable=not progress) as bar,
    ):
        for measured in work:
            rows.extend(measured)
            if path:
                with path.open("a", encoding="utf-8") as file:
                    write_rows(measured, file)
            bar.set_postfix_str(str(measured[0].recipe))
            bar.update()
    return Catalogue(rows)


Channels = tuple[tuple[float, ...], tuple[str, ...], tuple[int, ...]]


def measure(
    recipe: Recipe, images: ImageSet, root: Root | None, channels: Channels
) -> list[Measurement]:
    """Measure one recipe over all channels."""
    source = load_root(recipe.root) if root is None else root
    sent = derive(source, recipe)
    packet = pack(sent)
    seeds = channels[2]
    clean = _last(sent, images)

    def row(error_rate: float, guard: str, results: list[Estimate]) -> Measurement:
        shares = [result.accuracy for result in results]
        return Measurement(
            recipe,
            error_rate,
            guard,
            packet.num_bits,
            sent.num_parameters,
            sum(shares) / len(shares),
            min(shares) if error_rate else clean.low,
            max(shares) if error_rate else clean.high,
            len(images),
            len(results) if error_rate else 1,
        )

    rows = []
    for error_rate, guard in _pairs(recipe, channels):
        if error_rate == 0.0:
            rows.append(row(0.0, guard, [clean]))
            continue
        results = []
        for seed in seeds:
            arrived = transmit(packet, Link(1.0, bit_error_rate=error_rate), seed)
            # A packet without a flip is the packet that was sent.
            same = arrived.body == packet.body
            results.append(clean if same else _last(unpack(arrived, guard, root)[0], images))
        rows.append(row(error_rate, guard, results))
    return rows


def _pairs(recipe: Recipe, channels: Channels) -> list[tuple[float, str]]:
    """Bit-error rates and guards to measure: without errors, and on codes, no guard acts."""
    bit_error_rates, guards, _ = channels
    effective = ("none",) if recipe.bits <= WIDEST_CODE else guards
    pairs = product(bit_error_rates, effective)
    return list(dict.fromkeys((rate, guard if rate else "none") for rate, guard in pairs))


def _last(model: Classifier, images: ImageSet) -> Estimate:
    *_, last = accuracy(model, images, batch=200)
    return last


def _in_line(
    recipes: Sequence[Recipe], images: ImageSet, root: Root | None, channels: Channels
) -> Generator[list[Measurement]]:
    for recipe in recipes:
        yield measure(recipe, images, root, channels)


def _on_dask(
    client: Client,
    recipes: Sequence[Recipe],
    images: ImageSet,
    root: Root | None,
    channels: Channels,
) -> Generator[list[Measurement]]:
    from distributed import as_completed  # noqa: PLC0415  (an extra: only here)

    # Keys of their own: a sweep that has just ended may still be letting go of the same images.
    shared = client.scatter([images, root], broadcast=True, hash=False)
    futures = client.map(measure, recipes, images=shared[0], root=shared[1], channels=channels)
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        client.cancel(futures)


def _resume(
    path: Path, wanted: Sequence[Recipe], channels: Channels, images: int
) -> list[Measurement]:
    """Rows of the wanted recipes that ``path`` holds complete; it loses what it holds in part."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)  # the last may have been cut
    heading = ",".join(COLUMNS) + "\n"
    if all(line.startswith("#") for line in lines):
        lines.append(heading)
    found = read_rows(lines)
    asked = set(wanted)
    held = {
        (row.recipe, row.bit_error_rate, row.guard)
        for row in found.rows
        if row.images == images and row.seeds == (len(channels[2]) if row.bit_error_rate else 1)
    }
    torn = {r for r in asked if any((r, *pair) not in held for pair in _pairs(r, channels))}
    rows = [row for row in found.rows if row.recipe not in torn]
    with io.StringIO() as fresh:
        fresh.writelines(f"# {note}\n" for note in found.notes)
        fresh.write(heading)
        write_rows(rows, fresh)
        if fresh.getvalue() != text:
            path.write_text(fresh.getvalue(), encoding="utf-8")
    return [row for row in rows if row.recipe in asked]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the shipped catalogue of one root."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.network.sweep",
        description="Measure a root's catalogue; stopped, it goes on where it stopped.",
    )
    parser.add_argument("root", choices=list(ROOTS), help="which root to measure")
    parser.add_argument("--out", type=Path, help="CSV to write (the shipped one)")
    parser.add_argument("--workers", type=int, default=0, help="Dask workers (0: in line)")
    options = parser.parse_args(arguments)
    package = Path(__file__).parents[1]
    path = options.out or package / "catalogue" / f"{options.root}.csv"
    torch.set_num_threads(1)
    images = load_data(ROOTS[options.root].data)
    if not path.exists():
        weights = (package / "weights" / f"{options.root}.safetensors").read_bytes()
        notes = [
            f"measured with: python -m insitu_widgets.network.sweep {options.root}",
            f"begun: {datetime.now(UTC):%Y-%m-%d}; torch {torch.__version__}, {platform.machine()}",
            f"weights: SHA-256 {hashlib.sha256(weights).hexdigest()}",
            f"images: all {len(images)} test images of {ROOTS[options.root].data}",
            f"seeds of the channel: {', '.join(map(str, SEEDS))}",
        ]
        heading = "".join(f"# {note}\n" for note in notes) + ",".join(COLUMNS) + "\n"
        path.write_text(heading, encoding="utf-8")
    if options.workers:
        from distributed import Client  # noqa: PLC0415  (an extra: only here)

        with Client(n_workers=options.workers, threads_per_worker=1) as client:
            sweep(grid(options.root), images, path=path, client=client)
    else:
        sweep(grid(options.root), images, path=path)


if __name__ == "__main__":
    main()
