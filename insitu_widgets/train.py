"""Train a root with all its exits: ``python -m insitu_widgets.train resnet-digits``.

Every exit is trained at once: label-smoothed cross-entropy, and distillation from the last exit
(self-distillation: Zhang et al., "Be Your Own Teacher", ICCV 2019). What is shipped is the
exponential moving average of the weights. The test images are looked at once, at the end.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from insitu_widgets.data import ImageSet, load_data
from insitu_widgets.errors import in_range
from insitu_widgets.roots import ARCHITECTURES, Root

if TYPE_CHECKING:
    from collections.abc import Sequence

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Plan:
    """Hyper-parameters of one root's training."""

    epochs: int
    peak_rate: float
    batch: int = 100
    first_exit: float = 0.1  # weight of the first exit's loss; the last one's is 1
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    distillation: float = 1.0
    temperature: float = 2.0
    average: float = 0.99
    rotation_deg: float = 12.0
    zoom: float = 0.12
    shear: float = 0.15
    shift_px: float = 0.8


PLANS = {
    "resnet-digits": Plan(epochs=200, peak_rate=4e-3),
    "vgg-digits": Plan(epochs=250, peak_rate=4e-3),
    "vit-digits": Plan(epochs=170, peak_rate=2e-3),
}


def warp(images: Tensor, plan: Plan, random: torch.Generator) -> Tensor:
    """Rotate, zoom, shear and shift each image ``[N, C, H, W]`` at random, by bilinear sampling."""
    count, _, height, _ = images.shape

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=random) * 2 - 1) * limit

    angle = uniform(plan.rotation_deg * torch.pi / 180)
    zoom_x, zoom_y, shear = 1 + uniform(plan.zoom), 1 + uniform(plan.zoom), uniform(plan.shear)
    shift = 2 * plan.shift_px / height
    rows = torch.stack(
        [
            torch.stack([angle.cos() * zoom_x, shear - angle.sin(), uniform(shift)], dim=1),
            torch.stack([angle.sin(), angle.cos() * zoom_y, uniform(shift)], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def exits_loss(logits: Sequence[Tensor], labels: Tensor, plan: Plan) -> Tensor:
    """Cross-entropy of every exit, and what the earlier learn from the last; later weigh more."""
    last = functional.log_softmax(logits[-1].detach() / plan.temperature, dim=1)
    weights = torch.linspace(plan.first_exit, 1.0, len(logits))
    loss = torch.zeros(())
    for weight, exit_logits in zip(weights, logits, strict=True):
        loss = loss + weight * functional.cross_entropy(
            exit_logits, labels, label_smoothing=plan.label_smoothing
        )
        if exit_logits is not logits[-1]:
            soft = functional.log_softmax(exit_logits / plan.temperature, dim=1)
            loss = loss + weight * plan.distillation * plan.temperature**2 * functional.kl_div(
                soft, last, reduction="batchmean", log_target=True
            )
    return loss / weights.sum()


def train(name: str, images: ImageSet, plan: Plan, seed: int = 0) -> Root:
    """Train a fresh root on ``images``; a progress bar shows epoch, loss and time left."""
    in_range("plan.batch", plan.batch, 1, len(images), "images")
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # fresh weights come from the global generator
        torch.manual_seed(seed)
        root = ARCHITECTURES[name]().train()
    average = AveragedModel(root, multi_avg_fn=get_ema_multi_avg_fn(plan.average), use_buffers=True)
    steps = plan.epochs * (len(images) // plan.batch)
    decayed = [p for p in root.parameters() if p.ndim > 1]
    free = [p for p in root.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.peak_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.peak_rate, total_steps=steps, pct_start=0.2
    )
    with tqdm(total=plan.epochs, desc=name, unit="epoch") as bar:
        for _ in range(plan.epochs):
            order = torch.randperm(len(images), generator=random)
            for index in order.split(plan.batch)[: len(images) // plan.batch]:
                batch = warp(images.images[index], plan, random)
                loss = exits_loss(root.exits(batch), images.labels[index], plan)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(root.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                average.update_parameters(root)
            bar.set_postfix(loss=f"{loss.item():.3f}")
            bar.update()
    trained = copy.deepcopy(average.module)
    assert isinstance(trained, Root)
    return trained.eval().requires_grad_(requires_grad=False)


@torch.inference_mode()
def exit_accuracies(root: Root, images: ImageSet, batch: int = 500) -> list[float]:
    """Accuracy of every exit on ``images``, in [0, 1]."""
    correct = torch.zeros(root.num_exits)
    for index in torch.arange(len(images)).split(batch):
        for exit_index, logits in enumerate(root.exits(images.images[index])):
            correct[exit_index] += (logits.argmax(1) == images.labels[index]).sum()
    return [round(float(value) / len(images), 6) for value in correct]


def _digest(images: ImageSet) -> str:
    payload = images.images.numpy().tobytes() + images.labels.numpy().tobytes()
    return hashlib.sha256(payload).hexdigest()


def _exit_parameters(root: Root) -> list[int]:
    def size(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    trunk, sizes = size(root.stem), []
    for block, head in zip(root.blocks, root.heads, strict=True):
        trunk += size(block)
        sizes.append(trunk + size(head))
    return sizes


def write_card(root: Root, plan: Plan, seed: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Evaluate every exit on the test images; write ``<name>.json`` and ``<name>.safetensors``."""
    train_set, test_set = load_data("digits", "train"), load_data("digits", "test")
    card = {
        "name": root.name,
        "family": root.name.partition("-")[0],
        "data": "digits",
        "classes": len(test_set.classes),
        "parameters": root.num_parameters,
        "exit_parameters": _exit_parameters(root),
        "accuracy": exit_accuracies(root, test_set),
        "images": {"train": len(train_set), "test": len(test_set)},
        "data_sha256": {"train": _digest(train_set), "test": _digest(test_set)},
        "seed": seed,
        "seconds": round(seconds, 1),
        "device": f"CPU, {platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "plan": asdict(plan),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(root.state_dict(), folder / f"{root.name}.safetensors")
    text = json.dumps(card, indent=2) + "\n"
    (folder / f"{root.name}.json").write_text(text, encoding="utf-8")
    return card


def write_model_card(folder: Path) -> None:
    """Write ``MODEL_CARD.md`` from the cards in ``folder``."""
    lines = [
        "# Model card",
        "",
        "Written by `python -m insitu_widgets.train`; do not edit. Every figure is read from the",
        "training run named in its row; accuracies are top-1 on the test images.",
        "",
    ]
    for path in sorted(folder.glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        plan, images = card["plan"], card["images"]
        lines += [
            f"## {card['name']}",
            "",
            f"- Data: {card['data']}, {images['train']} training and {images['test']} test images",
            f"- SHA-256 of the test tensors: `{card['data_sha256']['test']}`",
            f"- Training: {plan['epochs']} epochs, seed {card['seed']}, {card['seconds']:.0f} s",
            f"- Machine: {card['device']}, torch {card['torch']}",
            f"- Parameters: {card['parameters']:,} (all heads included), float32",
            "",
            "| exit | parameters when cut there | accuracy |",
            "|---|---|---|",
        ]
        rows = zip(card["exit_parameters"], card["accuracy"], strict=True)
        lines += [f"| {i} | {size:,} | {acc:.2%} |" for i, (size, acc) in enumerate(rows, 1)]
        lines.append("")
    (folder / "MODEL_CARD.md").write_text("\n".join(lines), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m insitu_widgets.train", description=__doc__)
    parser.add_argument("root", choices=PLANS, help="which root to train")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order, warping (0)")
    parser.add_argument("--epochs", type=int, help="instead of the plan's (a quick try)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for weights and card")
    parser.add_argument(
        "--holdout",
        action="store_true",
        help="train on the first 800 images, report on the other 200, write nothing",
    )
    options = parser.parse_args(arguments)
    plan = PLANS[options.root]
    if options.epochs is not None:
        in_range("--epochs", options.epochs, 1, 10_000)
        plan = Plan(**{**asdict(plan), "epochs": options.epochs})
    images = load_data("digits", "train")
    if options.holdout:
        root = train(options.root, images.take(torch.arange(800)), plan, options.seed)
        print(*(f"{a:.1%}" for a in exit_accuracies(root, images.take(torch.arange(800, 1000)))))
        return
    start = time.perf_counter()
    root = train(options.root, images, plan, options.seed)
    card = write_card(root, plan, options.seed, time.perf_counter() - start, options.out)
    write_model_card(options.out)
    print(f"{card['name']}: accuracy by exit", *(f"{a:.2%}" for a in card["accuracy"]))


if __name__ == "__main__":
    main()
