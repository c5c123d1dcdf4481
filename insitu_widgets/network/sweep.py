"""Sweep: measure many recipes over many channels; ``python -m insitu_widgets.network.sweep``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast, overload

import torch
from tqdm import tqdm

from insitu_widgets.air.channel import GUARDS, Link, transmit
from insitu_widgets.air.payload import pack, unpack
from insitu_widgets.cards import NESTED_ROOTS, ROOTS, card_of
from insitu_widgets.data import ImageSet, count_of, load_data
from insitu_widgets.errors import of_type, one_of
from insitu_widgets.estimate import Estimate
from insitu_widgets.evaluate import accuracies, accuracy, batch_of
from insitu_widgets.levels.allocation import shipped_sensitivity
from insitu_widgets.levels.depth import Joined, share_a_trunk
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recalibrate import calibration_images
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.model_card import day_and_machine, digest, images_digest, weights_digest
from insitu_widgets.network.catalogue import Catalogue, Measurement, Table
from insitu_widgets.network.cluster import as_done, check_client, local_client
from insitu_widgets.network.grids import BIT_ERROR_RATES, PLANS, SEEDS
from insitu_widgets.network.study import Study, outcomes
from insitu_widgets.network.table_file import command_of
from insitu_widgets.roots import Root, load_root

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from distributed import Client

    from insitu_widgets.air.payload import Packet
    from insitu_widgets.levels.submodel import SubModel
    from insitu_widgets.network.outcome import Outcome


@dataclass(frozen=True)
class Job:
    """What is measured at a time: recipes that may share their passes, over one channel.

    Attributes
    ----------
    recipes : tuple[Recipe, …]
        Of one root, shallow ones first.
    bit_error_rate, guard, seeds
        The channel.
    bfloat16 : bool
        Whether the network computes in bfloat16.
    """

    recipes: tuple[Recipe, ...]
    bit_error_rate: float
    guard: str
    seeds: tuple[int, ...]
    bfloat16: bool = False


@overload
def sweep(
    recipes: Iterable[Recipe],
    images: ImageSet,
    *,
    root: Root | None = None,
    bit_error_rates: Sequence[float] = BIT_ERROR_RATES,
    guards: Sequence[str] = GUARDS,
    seeds: Sequence[int] = SEEDS,
    path: Path | str | None = None,
    client: Client | None = None,
    progress: bool = True,
    bfloat16: bool = False,
) -> Catalogue: ...


@overload
def sweep(
    recipes: Study,
    *,
    path: Path | str | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> tuple[Outcome, ...]: ...


def sweep(
    recipes: Iterable[Recipe] | Study,
    images: ImageSet | None = None,
    *,
    root: Root | None = None,
    bit_error_rates: Sequence[float] = BIT_ERROR_RATES,
    guards: Sequence[str] = GUARDS,
    seeds: Sequence[int] = SEEDS,
    path: Path | str | None = None,
    client: Client | None = None,
    progress: bool = True,
    bfloat16: bool = False,
) -> Catalogue | tuple[Outcome, ...]:
    """Measure recipes × bit-error rates × guards on images; or run a study of a population.

    All recipes are measured at the first bit-error rate before any is at the second: what an
    interrupted sweep leaves is a whole table of fewer rates. Exits of one width that keep all
    weights are measured in one pass; the results are the same, to the bit.

    A :class:`~insitu_widgets.network.study.Study` holds its own services, loads and seeds: only
    ``path`` (then a JSON object a line), ``client`` and ``progress`` go with it.

    Parameters
    ----------
    recipes
        What to cut; each must be of a shipped root, or of ``root``. Mixed ones need the root's
        sensitivity, which is shipped with shipped roots only, recalibrated ones some of its
        training images. Or a study.
    images
        The images to measure on; all of them are used.
    root
        A user's own root; ``None`` loads the shipped one that each recipe names.
    bit_error_rates, guards, seeds
        The channels: at a bit-error rate above 0 each seed is one realisation. Guards are
        measured apart for floats only; k-bit codes cannot leave their range.
    path
        A CSV that grows as rows are done. A row that it holds on as many images and with at least
        as many seeds is not measured again, in whichever precision it was; rows on other numbers
        of images stay beside it. Its notes tell weights, images and seeds: with others it is
        refused.
    client
        A ``dask.distributed`` client to measure on, for instance one of
        :func:`~insitu_widgets.network.cluster.local_client`; ``None`` measures in line.
    progress
        Whether to show a progress bar.
    bfloat16
        Whether to compute in bfloat16: faster where the processor has it, and not the reference.

    Returns
    -------
    Catalogue
        All measurements of the recipes on so many images, the ones read from ``path`` included.
    tuple[Outcome, …]
        Of a study: one a service, load and seed.

    Raises
    ------
    ValueError
        For a channel or a recipe that cannot be, nothing to measure, or a path that is no new file
        and no table of a sweep of these weights, images and seeds (which stays as it is).
    TypeError
        For something else than recipes, images, a root, a path or a client; or for a study with
        what is for recipes.
    """
    if isinstance(recipes, Study):
        options = (root, bit_error_rates, guards, seeds, bfloat16)
        if images is not None or options != (None, BIT_ERROR_RATES, GUARDS, SEEDS, False):
            msg = (
                "images, root, bit_error_rates, guards, seeds and bfloat16 must be left out with "
                "a study; got some. Give the study its loads, requests and seeds: Study(…)."
            )
            raise TypeError(msg)
        return tuple(outcomes(recipes, path=path, client=client, progress=progress))
    channels = _channels(bit_error_rates, guards, seeds)
    wanted = _wanted(recipes, root)
    of_type("images", images, ImageSet, 'Load some: load_data("digits").')
    images = cast("ImageSet", images)
    if not isinstance(path, str | None):
        of_type("path", path, Path, "Give the name of a CSV file, or None for no file.")
    check_client(client)
    table = Table(None if path is None else Path(path))
    if path is not None:
        names = {recipe.root for recipe in wanted}
        table.go_on(_conditions(names, root, images), seeds if any(bit_error_rates) else ())
        table.note(*([IN_BFLOAT16] if bfloat16 else []))
    jobs = [
        replace(job, recipes=left, bfloat16=bfloat16)
        for job in jobs_of(wanted, channels)
        if (left := table.missing(job, len(images)))
    ]
    work = (
        _on_dask(client, jobs, images, root) if client is not None else _in_line(jobs, images, root)
    )
    rows = sum(len(job.recipes) for job in jobs)
    with closing(work), tqdm(total=rows, unit="row", disable=not progress) as bar:
        for measured in work:
            table.add(measured)
            last = measured[-1]
            bar.set_postfix_str(f"{last.recipe} · BER {last.bit_error_rate:g} · {last.guard}")
            bar.update(len(measured))
    asked = set(wanted)
    count = len(images)
    return Catalogue(r for r in table.rows if r.recipe in asked and r.images == count)


#: A note of a table.
IN_BFLOAT16 = "some rows were computed in bfloat16"


def _conditions(names: Iterable[str], root: Root | None, images: ImageSet) -> dict[str, str]:
    """What rows of one table must share, as its notes tell it."""
    return {
        **{f"weights of {name}": _weights(name, root) for name in sorted(names)},
        f"{len(images)} images": f"SHA-256 {images_digest(images)}",
    }


def _weights(name: str, root: Root | None) -> str:
    return weights_digest(name) if root is None else f"SHA-256 {digest(root.state_dict().values())}"


Channels = tuple[tuple[float, ...], tuple[str, ...], tuple[int, ...]]


def _channels(
    bit_error_rates: Sequence[float], guards: Sequence[str], seeds: Sequence[int]
) -> Channels:
    """The channels, checked."""
    named = {"bit_error_rates": bit_error_rates, "guards": guards, "seeds": seeds}
    for field, given in named.items():
        if isinstance(given, str) or not isinstance(given, Iterable):
            msg = f"{field} must be several values; got {given!r}. Write {field}=({given!r},)."
            raise TypeError(msg)
    rates, kinds, draws = tuple(bit_error_rates), tuple(guards), tuple(seeds)
    for field, given in zip(named, (rates, kinds, draws), strict=True):
        if not given:
            msg = f"{field} must hold at least one value; got none. Leave it out for the usual."
            raise ValueError(msg)
    for guard in kinds:
        one_of("guards", guard, GUARDS)
    return rates, kinds, draws


def _wanted(recipes: Iterable[Recipe], root: Root | None) -> list[Recipe]:
    """The recipes, each once, checked: all of the user's own root, where there is one."""
    if isinstance(recipes, Recipe):
        msg = f"recipes must be several; got one ({recipes}). Put it into a list: [recipe]."
        raise TypeError(msg)
    of_type("recipes", recipes, Iterable, "Give a list of Recipe.")
    wanted = list(recipes)
    for recipe in wanted:
        of_type("each of recipes", recipe, Recipe, "Make one with Recipe(root, exit, keep, bits).")
    if not wanted:
        msg = "recipes must hold at least one recipe; got none. Give what is to be measured."
        raise ValueError(msg)
    if root is not None:
        of_type("root", root, Root, "Wrap your network: Root.wrap(...), or leave it out.")
        for recipe in wanted:
            one_of("recipe.root, as root is given,", recipe.root, (root.name,))
            if recipe.mixed or recipe.recalibrated:
                msg = (
                    f"recipes of your own root must have one width for all layers and its own "
                    f"norms; got {recipe}. Give mixed=False, recalibrated=False, or measure it "
                    f"yourself: derive(root, recipe, sensitivity=…, images=…), pack, accuracy."
                )
                raise ValueError(msg)
    for name in {recipe.root for recipe in wanted if recipe.mixed}:
        shipped_sensitivity(name)  # now, not when the first of them comes up
    for name in {recipe.root for recipe in wanted if recipe.recalibrated}:
        calibration_images(name)
    return list(dict.fromkeys(wanted))


def jobs_of(recipes: Sequence[Recipe], channels: Channels) -> Iterator[Job]:
    """What is measured, in its order: bit-error rates, then recipes, then guards.

    Without errors, and on codes, no guard acts.
    """
    groups: dict[object, list[Recipe]] = {}
    for recipe in recipes:
        # Masks are global over a sub-model: pruned exits differ in the blocks that they share.
        # Widths of mixed ones are allocated over a sub-model: their exits differ there, too.
        alike = recipe.keep == 1.0 and not recipe.mixed
        key: object = (recipe.root, recipe.bits, recipe.recalibrated) if alike else recipe
        groups.setdefault(key, []).append(recipe)
    bit_error_rates, guards, seeds = channels
    for rate in dict.fromkeys(bit_error_rates):
        for group in groups.values():
            acts = rate > 0 and group[0].bits > WIDEST_CODE
            for guard in dict.fromkeys(guards) if acts else ("none",):
                yield Job(tuple(sorted(group)), rate, guard, seeds)


def measure(job: Job, images: ImageSet, root: Root | None = None) -> list[Measurement]:
    """Measure one job: a row for each of its recipes."""
    source = load_root(job.recipes[0].root) if root is None else root
    sent = [derive(source, recipe) for recipe in job.recipes]
    packets = [pack(each) for each in sent]
    draws: list[list[Estimate]] = []
    if job.bit_error_rate == 0.0:
        draws.append(_pass(job, sent, images))
    else:
        link, clean = Link(1.0, bit_error_rate=job.bit_error_rate), None
        for seed in job.seeds:
            arrived = [transmit(packet, link, seed) for packet in packets]
            if all(a is b for a, b in zip(arrived, packets, strict=True)):
                clean = clean or _pass(job, sent, images)  # without a flip it is what was sent
                draws.append(clean)
            else:
                models = [unpack(packet, job.guard, root)[0] for packet in arrived]
                draws.append(_pass(job, models, images))
    return [
        _row(job, submodel, packet, list(column))
        for submodel, packet, column in zip(sent, packets, zip(*draws, strict=True), strict=True)
    ]


def _row(job: Job, sent: SubModel, packet: Packet, draws: Sequence[Estimate]) -> Measurement:
    shares = [draw.accuracy for draw in draws]
    several = len(draws) > 1
    return Measurement(
        sent.recipe,
        job.bit_error_rate,
        job.guard,
        packet.num_bits,
        sent.num_parameters,
        sum(shares) / len(shares),
        min(shares) if several else draws[0].low,
        max(shares) if several else draws[0].high,
        draws[0].seen,
        len(draws),
    )


def _pass(job: Job, models: Sequence[SubModel], images: ImageSet) -> list[Estimate]:
    """Accuracy of each model; those that share a trunk with the deepest go in one pass."""
    deep = models[-1].module
    together = [share_a_trunk(model.module, deep) for model in models[:-1]] + [True]
    joined = Joined([m.module for m, joins in zip(models, together, strict=True) if joins]).eval()
    batch = batch_of(images.images)
    with torch.autocast("cpu", torch.bfloat16, enabled=job.bfloat16):
        *_, last = accuracies(joined, images, batch)
        shared = iter(last)
        return [
            next(shared) if joins else list(accuracy(model, images, batch))[-1]
            for model, joins in zip(models, together, strict=True)
        ]


def _in_line(
    jobs: Sequence[Job], images: ImageSet, root: Root | None
) -> Generator[list[Measurement]]:
    for job in jobs:
        yield measure(job, images, root)


def _on_dask(
    client: Client, jobs: Sequence[Job], images: ImageSet, root: Root | None
) -> Generator[list[Measurement]]:
    # Keys of their own: a sweep that has just ended may still be letting go of the same images.
    shared = client.scatter([images, root], broadcast=True, hash=False)
    yield from as_done(client, measure, jobs, images=shared[0], root=shared[1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.network.sweep",
        description="Measure a root's catalogue; stopped, it goes on where it stopped. Rows on "
        "other numbers of images stay; rows of fewer draws, until those of more replace them.",
    )
    parser.add_argument(
        "root", choices=[*ROOTS, *NESTED_ROOTS], help="which root to measure, all-in-one ones too"
    )
    parser.add_argument("--grid", choices=PLANS, default="full", help="what to measure (full)")
    parser.add_argument("--images", type=int, help="test images, balanced over the classes (all)")
    parser.add_argument("--seeds", type=int, help="draws of the channel at each rate")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16: faster")
    parser.add_argument("--out", type=Path, help="CSV to write (the shipped one)")
    parser.add_argument("--workers", type=int, default=0, help="Dask workers (0: in line)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the shipped catalogue of one root."""
    parser = _parser()
    options = parser.parse_args(arguments)
    path = options.out or Path(__file__).parents[1] / "catalogue" / f"{options.root}.csv"
    plan = PLANS[options.grid](options.root)
    card = card_of(options.root)
    assert card is not None
    data = card.data
    usual = plan.images and min(plan.images, count_of(data))
    images = load_data(data, limit=options.images or usual)
    seeds = range(options.seeds or plan.seeds)
    _begin(path, options.root, command_of(parser, options), f"images: {_said(images, data)}")
    torch.set_num_threads(1)
    measuring = partial(
        sweep,
        plan.recipes,
        images,
        bit_error_rates=plan.bit_error_rates,
        seeds=seeds,
        path=path,
        bfloat16=options.bfloat16,
    )
    if options.workers:
        with local_client(options.workers) as client:
            measuring(client=client)
    else:
        measuring()


def _said(images: ImageSet, data: str) -> str:
    whole = len(images) >= count_of(data)
    return f"all {len(images)} test images of {data}" if whole else (
        f"{len(images)} of {count_of(data)} test images of {data}, balanced over the classes"
    )  # fmt: skip


def _begin(path: Path, root: str, command: str, images: str) -> None:
    """Write how, when and on what into the file; refuse another file, or one of other weights."""
    weights = f"weights: {weights_digest(root)}"
    try:
        table = Table(path)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if table.rows and weights not in table.notes:
        msg = f"{path} was measured on other weights of {root}. Delete it, or name another --out."
        raise SystemExit(msg)
    first = [] if table.notes else [f"begun: {day_and_machine()}", weights]
    table.note(f"measured with: {command}", *first, images)


if __name__ == "__main__":
    main()
