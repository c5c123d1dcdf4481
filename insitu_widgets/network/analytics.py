"""Coordinated data analytics: what devices report sharpens what the network chooses (section 3).

The network begins with the catalogue, which was measured on other images than the users see. Each
round one device runs the recipe that it was given on a few images of its own and reports how many
were right. Regret is the accuracy lost against the recipe that is best where the users are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from insitu_widgets.air.payload import pack, unpack
from insitu_widgets.data import ImageSet
from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels.derive import derive
from insitu_widgets.network.catalogue import load_catalogue
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from insitu_widgets.levels.recipe import Recipe
    from insitu_widgets.network.catalogue import Measurement

#: What the users' images may be like, beside those that the catalogue was measured on.
SHIFTS = ("none", "rotated", "noisy", "blurred", "inverted")
POLICIES = ("no feedback", "greedy", "Thompson")


def shifted(images: ImageSet, shift: str, strength: float, seed: int = 0) -> ImageSet:
    """The same digits as other users see them.

    Parameters
    ----------
    images
        ``[N, C, H, W]``.
    shift
        ``"rotated"`` by 45 degrees, ``"noisy"`` with a standard deviation of 1.5 of the pixels',
        ``"blurred"`` by a 3×3 mean, ``"inverted"`` from dark to bright, each at strength 1;
        ``"none"`` changes nothing.
    strength
        In [0, 1]; 0 changes nothing.
    seed
        Of the noise.

    Raises
    ------
    ValueError
        For a shift that does not exist, or a strength out of range.
    """
    one_of("shift", shift, SHIFTS)
    in_range("strength", strength, 0.0, 1.0)
    before = images.images
    if shift == "none" or strength == 0.0:
        return images
    if shift == "rotated":
        angle = torch.tensor(strength * torch.pi / 4)
        turn = torch.tensor([[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0]])
        grid = functional.affine_grid(
            turn.expand(len(images), 2, 3), list(before.shape), align_corners=False
        )
        after = functional.grid_sample(before, grid, padding_mode="border", align_corners=False)
    elif shift == "noisy":
        random = torch.Generator().manual_seed(seed)
        after = before + 1.5 * strength * torch.randn(before.shape, generator=random)
    elif shift == "inverted":
        after = torch.lerp(before, before.amin() + before.amax() - before, strength)
    else:
        soft = functional.avg_pool2d(before, 3, stride=1, padding=1, count_include_pad=False)
        after = torch.lerp(before, soft, strength)
    return ImageSet(after, images.labels, images.classes)


def candidates(roots: Iterable[str], most_bytes: float) -> tuple[Measurement, ...]:
    """Each root's most accurate recipe of every exit that fits, by the error-free catalogue.

    Raises
    ------
    ValueError
        If nothing fits.
    """
    best: dict[tuple[str, int | None], Measurement] = {}
    for root in roots:
        for row in load_catalogue(root).at(root, 0.0, "none"):
            key = (root, row.recipe.exit)
            if row.num_bits > 8 * most_bytes:
                continue
            if key not in best or row.accuracy > best[key].accuracy:
                best[key] = row
    if not best:
        msg = f"most_bytes must let one recipe in; got {most_bytes:g} B. Give more."
        raise ValueError(msg)
    return tuple(best.values())


def answers(recipe: Recipe, images: ImageSet) -> NDArray[np.bool_]:
    """Which images ``[N]`` a recipe answers rightly, after its packet has been packed and read."""
    model, _ = unpack(pack(derive(load_root(recipe.root), recipe)))
    with torch.inference_mode():
        right = model(images.images).argmax(dim=1) == images.labels
    return np.asarray(right.numpy())


@dataclass(frozen=True)
class Run:
    """Rounds of one policy, for several independent networks.

    Attributes
    ----------
    policy : str
        One of :data:`POLICIES`.
    regret : NDArray[np.float64]
        ``[runs, rounds]``: accuracy lost until then, summed over the rounds (1 = one image's
        worth of certainty).
    chosen : NDArray[np.int64]
        ``[runs, rounds]``: which candidate each device was given.
    right, wrong : NDArray[np.float64]
        ``[runs, candidates]``: the beliefs at the end, as images right and wrong, the
        catalogue's share included.
    """

    policy: str
    regret: NDArray[np.float64]
    chosen: NDArray[np.int64]
    right: NDArray[np.float64]
    wrong: NDArray[np.float64]

    @property
    def estimate(self) -> NDArray[np.float64]:
        """Mean belief of each candidate's accuracy ``[candidates]``, over the runs."""
        return np.asarray((self.right / (self.right + self.wrong)).mean(axis=0))


def serve(
    policy: str,
    believed: Sequence[float],
    seen: NDArray[np.bool_],
    random: np.random.Generator,
    *,
    rounds: int = 300,
    report: int = 10,
    trust: float = 20.0,
    runs: int = 20,
) -> Run:
    """Give recipes to devices, round by round, and learn from what they report.

    The belief of each candidate is a beta distribution that begins as if ``trust`` images had
    been seen with the catalogue's accuracy. ``"no feedback"`` always gives what the catalogue
    thinks best, ``"greedy"`` what has the highest mean now, ``"Thompson"`` what is best in one
    draw from the beliefs (W. R. Thompson, Biometrika 25, 1933).

    Parameters
    ----------
    policy
        One of :data:`POLICIES`.
    believed
        The catalogue's accuracies ``[candidates]``.
    seen
        bool ``[candidates, N]``: which of the users' images each really answers rightly.
    random
        Draws the images that devices meet, and Thompson's beliefs.
    rounds, report, runs
        Devices served, images in each report, and independent repetitions.
    trust
        How many images the catalogue's word is worth, 0.1 … 10,000.

    Raises
    ------
    ValueError
        For a value out of its range, or beliefs that do not fit the candidates.
    """
    one_of("policy", policy, POLICIES)
    in_range("rounds", rounds, 1, 100_000)
    in_range("report", report, 1, 10_000, "images")
    in_range("runs", runs, 1, 10_000)
    in_range("trust", trust, 0.1, 1e4, "images")
    prior = np.asarray(believed, float)
    if seen.ndim != 2 or len(prior) != len(seen):
        msg = (
            f"believed must hold one accuracy a candidate; got {len(prior)} for an array of "
            f"{list(seen.shape)}. Give [candidates] and [candidates, images]."
        )
        raise ValueError(msg)
    truth = seen.mean(axis=1)
    every = np.arange(runs)
    right = np.tile(trust * prior + 0.5, (runs, 1))  # half an image each: nothing is certain
    wrong = np.tile(trust * (1 - prior) + 0.5, (runs, 1))
    chosen = np.empty((runs, rounds), np.int64)
    for round_ in range(rounds):
        if policy == "no feedback":
            given = np.full(runs, int(prior.argmax()))
        elif policy == "greedy":
            given = (right / (right + wrong)).argmax(axis=1)
        else:
            given = random.beta(right, wrong).argmax(axis=1)
        chosen[:, round_] = given
        met = random.integers(0, seen.shape[1], (runs, report))
        correct = seen[given[:, None], met].sum(axis=1)
        if policy != "no feedback":
            right[every, given] += correct
            wrong[every, given] += report - correct
    regret = np.cumsum(truth.max() - truth[chosen], axis=1)
    return Run(policy, regret, chosen, right, wrong)
