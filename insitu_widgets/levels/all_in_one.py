"""All-in-one training (paper, section 2.2, its [9]): one set of weights, every sub-model in it.

    python -m insitu_widgets.levels.all_in_one resnet-digits

A trained root is trained on. In each step it learns whole, at all its exits, and as two random
sub-models: cut at some exit, its smallest weights gone, what is left rounded to a few bits of one
grid that all sub-models share. All learn the labels and the answers of the root as it was. So
every sub-model is embedded in the larger ones, and none needs to be re-trained when it is asked
for. Norms keep the statistics of the root: sub-models share them too.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from insitu_widgets.cards import NESTED_SUFFIX
from insitu_widgets.data import load_data
from insitu_widgets.errors import in_range
from insitu_widgets.levels.depth import cut
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.levels.retrain import descend, lesson, soft_answers, straight_through
from insitu_widgets.model_card import write_card, write_model_card
from insitu_widgets.roots import Root, load_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from insitu_widgets.data import ImageSet

#: Bits of the random sub-models; 32 leaves the weights as they are.
_WIDTHS = (2, 3, 4, 8, 32)
#: Shares of the random sub-models that have the last exit, and that keep all weights.
_LAST, _DENSE = 0.4, 0.3
_AVERAGE = 0.99


@dataclass(frozen=True)
class AllInOne:
    """How to train all sub-models together.

    Parameters
    ----------
    steps
        Batches.
    peak_rate
        Adam's highest step size.
    batch
        Images a step.
    submodels
        Random sub-models a step.
    least_keep
        The smallest fraction of the weights that a sub-model keeps; fractions are drawn between
        it and 1, evenly on a logarithmic scale.
    """

    steps: int = 1200
    peak_rate: float = 2e-3
    batch: int = 100
    submodels: int = 2
    least_keep: float = 0.03

    def __post_init__(self) -> None:
        in_range("steps", self.steps, 1, 100_000)
        in_range("peak_rate", self.peak_rate, 1e-8, 1.0)
        in_range("batch", self.batch, 2, 10_000, "images")
        in_range("submodels", self.submodels, 1, 100)
        in_range("least_keep", self.least_keep, 1e-4, 1.0)


def all_in_one(
    root: Root, images: ImageSet, plan: AllInOne, seed: int = 0
) -> Iterator[tuple[int, float, Root]]:
    """Train a copy of a root so that its sub-models need no training of their own.

    Parameters
    ----------
    root
        A trained root; it stays as it is, and it is the teacher.
    images
        Training images with labels.
    plan
        How.
    seed
        Of order, warping and sub-models.

    Yields
    ------
    tuple[int, float, Root]
        The step's number, its loss (nat), and the average of the weights so far, always the same
        object, in evaluation mode; its name is the root's with "-nested".
    """
    random = torch.Generator().manual_seed(seed)
    student = copy.deepcopy(root).requires_grad_(requires_grad=True)  # and its norms stay fixed
    student.name = root.name + NESTED_SUFFIX
    average = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE))
    average.requires_grad_(requires_grad=False)
    assert isinstance(average.module, Root)

    def loss_of(batch: Tensor, labels: Tensor) -> Tensor:
        soft = soft_answers(root, batch)
        whole = [lesson(logits, labels, soft) for logits in student.exits(batch)]
        loss = torch.stack(whole).mean()
        for _ in range(plan.submodels):
            loss = loss + lesson(_answer(student, batch, plan, random), labels, soft)
        return loss / (1 + plan.submodels)

    for number, loss in descend(student, images, plan, loss_of, random):
        average.update_parameters(student)
        yield number, loss, average.module


def _answer(root: Root, batch: Tensor, plan: AllInOne, random: torch.Generator) -> Tensor:
    """What a random sub-model says, with the gradient of the weights that it keeps."""
    last, dense, depth, place = torch.rand(4, generator=random).tolist()
    exit_ = root.num_exits if last < _LAST else int(depth * root.num_exits) + 1
    keep = 1.0 if dense < _DENSE else plan.least_keep**place
    bits = _WIDTHS[int(torch.randint(len(_WIDTHS), (), generator=random))]
    network = cut(root, exit_)
    submodel = derive(root, Recipe(root.name, exit_, keep, bits))
    logits: Tensor = functional_call(network, straight_through(network, submodel), (batch,))
    return logits


#: What the shipped all-in-one roots were trained with.
PLANS = {
    "resnet-digits": AllInOne(steps=1500),
    "vgg-digits": AllInOne(steps=2000),
    "vit-digits": AllInOne(steps=900, peak_rate=1e-3),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.levels.all_in_one",
        description="Train a shipped root's all-in-one weights.",
    )
    parser.add_argument("root", choices=PLANS, help="which root to train on")
    parser.add_argument("--seed", type=int, default=0, help="of order, warping, sub-models (0)")
    weights = Path(__file__).parents[1] / "weights"
    parser.add_argument("--out", type=Path, default=weights, help="folder for weights and card")
    options = parser.parse_args(arguments)
    plan, root = PLANS[options.root], load_root(options.root)
    start = time.perf_counter()
    images = load_data(options.root.rpartition("-")[2], "train")
    steps = all_in_one(root, images, plan, options.seed)
    bar = tqdm(steps, total=plan.steps, desc=options.root, unit="step")
    for number, loss, average in bar:
        bar.set_postfix(step=number, loss=f"{loss:.3f}")
        trained = average
    seconds = time.perf_counter() - start
    card = write_card(trained, asdict(plan), options.seed, seconds, options.out)
    write_model_card(options.out)
    print(f"{card['name']}: accuracy by exit", *(f"{a:.2%}" for a in card["accuracy"]))


if __name__ == "__main__":
    main()
