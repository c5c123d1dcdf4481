"""The self-check of the environment: what the course needs, checked by using it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer.figures import accuracy_against_size, describe
from insitu_widgets.explorer.panels import Chart, Panel, Picture
from insitu_widgets.explorer.words import html_table
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import load_catalogue
from insitu_widgets.network.situation import Situation, candidates, choose
from insitu_widgets.units import percent, quantity

PACKAGES = ("torch", "numpy", "plotly", "ipywidgets", "ipykernel", "distributed")
_INSTALL = "install it: make lab, or conda env create -f environment.yml"


@dataclass(frozen=True)
class Check:
    """One check: what was found, and what to do if that is not enough (empty: it is)."""

    name: str
    found: str
    remedy: str = ""


def self_check_panel() -> Panel:
    """The environment's self-check, and the course's big picture: size against accuracy."""
    return Panel(
        "Is everything here?",
        "Checked by using it on this machine, now: nothing is downloaded. The picture is the "
        "measured catalogue's.",
        {},
        _steps,
    )


def _steps() -> Iterator[Picture]:
    found: list[Check] = []
    picture = {"accuracy": _picture()}
    for done, check in enumerate(CHECKS, 1):
        found.append(check())
        rows = ((c.name, c.found, f"✗ {c.remedy}" if c.remedy else "✓") for c in found)
        bad = sum(bool(c.remedy) for c in found)
        said = f"{len(found) - bad} of {len(CHECKS)} checks passed"
        said += f", {bad} did not." if bad else "."
        table = html_table(("check", "found", ""), rows)
        yield Picture(picture, f'<p role="status"><b>{said}</b></p>{table}', done / len(CHECKS))
        picture = {}


def _picture() -> Chart:
    situation = Situation()
    catalogue = load_catalogue(situation.root)
    decision = choose(situation, catalogue)
    rows = candidates(situation, catalogue)
    spec = accuracy_against_size(situation, decision, rows, None)
    text = describe(situation, decision, None)["accuracy"]
    return Chart(f"{len(rows)} sub-models of one root, by size and accuracy", text, spec)


def _python() -> Check:
    here = platform.python_version()
    old = tuple(map(int, platform.python_version_tuple()[:2])) < (3, 11)
    return Check(
        "Python", f"{here}, {platform.system()}", "use Python 3.11 or newer" if old else ""
    )


def _packages() -> Check:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return Check(
        "Packages", ", ".join(found), f"{', '.join(missing)}: {_INSTALL}" if missing else ""
    )


def _processors() -> Check:
    import torch  # noqa: PLC0415

    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    here = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = torch.get_num_threads()
    said = f"{here} processor{'s' if here > 1 else ''}, torch uses {threads}"
    return Check("Processors", said, "set OMP_NUM_THREADS to fewer" if threads > here else "")


def _packet() -> Check:
    import torch  # noqa: PLC0415

    from insitu_widgets.air.payload import pack, unpack  # noqa: PLC0415
    from insitu_widgets.data import load_data  # noqa: PLC0415
    from insitu_widgets.levels.derive import derive  # noqa: PLC0415
    from insitu_widgets.roots import load_root  # noqa: PLC0415

    recipe = Recipe("vgg-digits", 3, 0.5, 4)
    sent = derive(load_root(recipe.root), recipe)
    packet = pack(sent)
    images = load_data("digits", limit=40).images
    with torch.inference_mode():
        same = unpack(packet)[0](images).equal(sent(images))
    said = f"{quantity(packet.num_bits / 8, 'B')}, {'the same' if same else 'another'} network"
    return Check("A packet there and back", said, "" if same else _INSTALL)


def _root(name: str) -> Callable[[], Check]:
    def check() -> Check:
        from insitu_widgets.data import load_data  # noqa: PLC0415
        from insitu_widgets.evaluate import accuracy  # noqa: PLC0415
        from insitu_widgets.roots import load_root  # noqa: PLC0415

        images, start = load_data("digits"), time.perf_counter()
        *_, last = accuracy(load_root(name), images)
        rate = last.seen / (time.perf_counter() - start)
        card = ROOTS[name].accuracy[-1]
        said = f"{percent(last.accuracy)} on {last.seen} images, {rate:,.0f} images/s"
        differs = abs(last.accuracy - card) > 1 / last.seen
        return Check(name, said, f"its card says {percent(card)}: {_INSTALL}" if differs else "")

    return check


CHECKS: tuple[Callable[[], Check], ...] = (
    _python,
    _packages,
    _processors,
    _packet,
    *(_root(name) for name, card in ROOTS.items() if card.data == "digits"),
)
