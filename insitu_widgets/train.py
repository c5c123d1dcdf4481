"""Train a root with all its exits: ``python -m insitu_widgets.train resnet-digits``.

Every exit is trained at once: label-smoothed cross-entropy, and distillation from the last exit
(self-distillation: Zhang et al., "Be Your Own Teacher", ICCV 2019). What is shipped is the
exponential moving average of the weights, trained on all the training images; decisions are made
on held-out training images (``--holdout``), and the test images are looked at once, at the end.

A training that is killed goes on after its last whole epoch when the same command is given again.
It runs on a GPU where there is one.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from insitu_widgets.augment import augment, cutmix
from insitu_widgets.checkpoint import Checkpoint, Stateful
from insitu_widgets.cifar100 import cache_folder
from insitu_widgets.data import ImageSet, hold_out, load_data
from insitu_widgets.errors import in_range
from insitu_widgets.model_card import exit_accuracies, write_alone, write_card, write_model_card
from insitu_widgets.plans import PLANS, Plan, has_bfloat16
from insitu_widgets.roots import ARCHITECTURES, Root

if TYPE_CHECKING:
    from collections.abc import Sequence

WEIGHTS = Path(__file__).parent / "weights"
_ATTENTION = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
#: A checkpoint is written after an epoch, but no sooner than this after the last one.
CHECKPOINT_EVERY_S = 10.0


def exits_loss(logits: Sequence[Tensor], targets: Tensor, plan: Plan) -> Tensor:
    """Cross-entropy of every exit, and what the earlier learn from the last; later weigh more.

    ``targets`` are labels ``[N]``, or probabilities ``[N, classes]`` where images were mixed.
    """
    last = functional.log_softmax(logits[-1].detach() / plan.temperature, dim=1)
    weights = torch.linspace(plan.first_exit, 1.0, len(logits))
    loss = torch.zeros((), device=last.device)
    for weight, exit_logits in zip(weights, logits, strict=True):
        loss = loss + weight * functional.cross_entropy(
            exit_logits, targets, label_smoothing=plan.label_smoothing
        )
        if exit_logits is not logits[-1]:
            soft = functional.log_softmax(exit_logits / plan.temperature, dim=1)
            loss = loss + weight * plan.distillation * plan.temperature**2 * functional.kl_div(
                soft, last, reduction="batchmean", log_target=True
            )
    return loss / weights.sum()


class _Training:
    """One training under way: the root, its average, and what moves them."""

    def __init__(self, name: str, images: ImageSet, plan: Plan, seed: int) -> None:
        in_range("plan.batch", plan.batch, 1, len(images), "images")
        self.random = torch.Generator().manual_seed(seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.plan, self.classes = plan, len(images.classes)
        self.images, self.labels = images.images.to(self.device), images.labels.to(self.device)
        self.mixed_precision = plan.bfloat16 and has_bfloat16(self.device)
        # On a processor, "flash" attention's backward pass takes twice the time of the plain one.
        on_cpu = self.device.type == "cpu"
        self.attention = [SDPBackend.MATH] if on_cpu else list(_ATTENTION)
        with torch.random.fork_rng(devices=[]):  # fresh weights come from the global generator
            torch.manual_seed(seed)
            self.root = ARCHITECTURES[name]().train().to(self.device)
        if plan.bfloat16:
            self.root = self.root.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.root, multi_avg_fn=get_ema_multi_avg_fn(plan.average), use_buffers=True
        )
        self.optimiser = _optimiser(self.root, plan)
        self.steps_per_epoch = len(images) // plan.batch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            plan.peak_rate,
            total_steps=plan.epochs * self.steps_per_epoch,
            pct_start=0.2,
        )
        self.parts: dict[str, Stateful] = {
            "root": self.root,
            "average": self.average,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }

    def epoch(self, number: int, bar: tqdm[Any]) -> tuple[float, float]:
        """One pass over the images: mean loss, and the last exit's accuracy as it learnt."""
        order = torch.randperm(len(self.labels), generator=self.random)
        side_px = self.plan.side_px(number)
        losses, correct = [], torch.zeros((), device=self.device)
        for index in order.split(self.plan.batch)[: self.steps_per_epoch]:
            index = index.to(self.device)  # noqa: PLW2901
            loss, logits = self._step(self.images[index], self.labels[index], side_px)
            losses.append(loss)
            correct += (logits.argmax(1) == self.labels[index]).sum()
            bar.update()
        seen = self.steps_per_epoch * self.plan.batch
        return float(torch.stack(losses).mean()), float(correct) / seen

    def _step(self, images: Tensor, labels: Tensor, side_px: int | None) -> tuple[Tensor, Tensor]:
        plan, targets = self.plan, labels
        batch = augment(images, plan, self.random)
        if plan.mixed and float(torch.rand((), generator=self.random)) < plan.mixed:
            probabilities = functional.one_hot(labels, self.classes).to(batch.dtype)
            batch, targets = cutmix(batch, probabilities, self.random)
        if side_px is not None:
            batch = functional.interpolate(
                batch, (side_px, side_px), mode="bilinear", antialias=True
            )
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision),
            sdpa_kernel(self.attention),
        ):
            logits = [self.root(batch)] if plan.alone else self.root.exits(batch)
        logits = [exit_logits.float() for exit_logits in logits]
        loss = exits_loss(logits, targets, plan)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.root.parameters(), plan.clip)
        self.optimiser.step()
        self.schedule.step()
        self.average.update_parameters(self.root)
        return loss.detach(), logits[-1].detach()


def _optimiser(root: Root, plan: Plan) -> torch.optim.Optimizer:
    decayed = [p for p in root.parameters() if p.ndim > 1]
    free = [p for p in root.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    if plan.optimiser == "sgd":
        return torch.optim.SGD(
            groups,
            lr=plan.peak_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=plan.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(groups, lr=plan.peak_rate, weight_decay=plan.weight_decay)


def train(
    name: str, images: ImageSet, plan: Plan, seed: int = 0, checkpoint: Checkpoint | None = None
) -> Root:
    """Train a fresh root on ``images``, or go on from the checkpoint.

    A progress bar shows epoch, loss and time left; beside the checkpoint grows a log.
    """
    training = _Training(name, images, plan, seed)
    done = checkpoint.restore(training.parts, training.random) if checkpoint else 0
    before = checkpoint.seconds if checkpoint else 0.0
    start = saved = time.perf_counter()
    per_epoch = training.steps_per_epoch
    with tqdm(
        total=plan.epochs * per_epoch, initial=done * per_epoch, desc=name, unit="step"
    ) as bar:
        for epoch in range(done, plan.epochs):
            began = time.perf_counter()
            loss, accuracy = training.epoch(epoch, bar)
            now = time.perf_counter()
            line = f"epoch {epoch + 1}/{plan.epochs}"
            bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.3f}")
            if checkpoint is None:
                continue
            checkpoint.log(
                f"{line} loss {loss:.4f} batch accuracy {accuracy:.4f} {now - began:.1f} s"
            )
            if now - saved >= CHECKPOINT_EVERY_S or epoch + 1 == plan.epochs:
                checkpoint.save(epoch + 1, training.parts, training.random, before + now - start)
                saved = now
    trained = copy.deepcopy(training.average.module).to("cpu")
    assert isinstance(trained, Root)
    trained = trained.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return trained.eval().requires_grad_(requires_grad=False)


def _record_alone(options: argparse.Namespace, plan: Plan, **measured: float) -> None:
    name, folder = options.root, options.out
    if write_alone(name, plan.record(), options.seed, folder, **measured):
        write_model_card(folder)
    else:
        print(f"not written: {folder} has no card of {name} with this plan and seed")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m insitu_widgets.train", description=__doc__)
    parser.add_argument("root", choices=PLANS, help="which root to train")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order, warping (0)")
    parser.add_argument("--epochs", type=int, help="instead of the plan's (longer, or a quick try)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for weights and card")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=cache_folder() / "checkpoints",
        help="folder for checkpoint and log (%(default)s)",
    )
    parser.add_argument(
        "--holdout",
        action="store_true",
        help="keep some training images back (200 digits, 5,000 photographs), report on these, "
        "write nothing",
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="train the last exit only, to see what the others cost it: its accuracy goes into the "
        "card of the root that was trained with all of them, its weights nowhere",
    )
    options = parser.parse_args(arguments)
    plan = replace(PLANS[options.root], alone=options.alone)
    if options.epochs is not None:
        try:
            plan = replace(plan, epochs=in_range("--epochs", options.epochs, 1, 10_000))
        except ValueError as error:
            parser.error(str(error))
    data = options.root.rpartition("-")[2]
    images = held = load_data(data, "train")
    if options.holdout:
        images, held = hold_out(images, data)
    if options.alone and not options.holdout:
        held = load_data(data)
    run = options.root + "-alone" * options.alone + "-holdout" * options.holdout
    settings = f"{asdict(plan)}, seed {options.seed}, {len(images)} images"
    checkpoint = Checkpoint(options.checkpoints / f"{run}.pt", settings)
    root = train(options.root, images, plan, options.seed, checkpoint)
    if options.alone:
        accuracy = exit_accuracies(root, held)[-1]
        print(f"{options.root}: last exit alone {accuracy:.2%}")
        if not options.holdout:
            _record_alone(options, plan, accuracy=accuracy, seconds=checkpoint.seconds)
    elif options.holdout:
        print(*(f"{a:.1%}" for a in exit_accuracies(root, held)))
    else:
        mixed = plan.bfloat16
        seconds = checkpoint.seconds
        card = write_card(root, plan.record(), options.seed, seconds, options.out, mixed=mixed)
        write_model_card(options.out)
        print(f"{card['name']}: accuracy by exit", *(f"{a:.2%}" for a in card["accuracy"]))
    checkpoint.remove()


if __name__ == "__main__":
    main()
