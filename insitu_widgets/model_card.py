"""What is written of a trained root: its weights, its card and the model card."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn

from insitu_widgets.cards import NESTED_SUFFIX
from insitu_widgets.data import ImageSet, balanced, load_data
from insitu_widgets.plans import has_bfloat16
from insitu_widgets.roots import Root, is_weight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: How much of an exit's accuracy half precision may change.
HALF_LOSS = 0.001


@torch.inference_mode()
def exit_accuracies(root: Root, images: ImageSet, batch: int = 500) -> list[float]:
    """Accuracy of every exit on ``images``, in [0, 1]."""
    correct = torch.zeros(root.num_exits)
    for index in torch.arange(len(images)).split(batch):
        for exit_index, logits in enumerate(root.exits(images.images[index])):
            correct[exit_index] += (logits.argmax(1) == images.labels[index]).sum()
    return [round(float(value) / len(images), 6) for value in correct]


def digest(tensors: Iterable[torch.Tensor]) -> str:
    """SHA-256 of what they hold, one after the other (their shapes do not matter)."""
    summed = hashlib.sha256()
    for tensor in tensors:
        summed.update(tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return summed.hexdigest()


def images_digest(images: ImageSet) -> str:
    """What tells images and their labels from others (SHA-256)."""
    return digest([images.images, images.labels])


def weights_digest(name: str) -> str:
    """What tells a shipped root's weights from others, as tables of measurements state it."""
    weights = (Path(__file__).parent / "weights" / f"{name}.safetensors").read_bytes()
    return f"SHA-256 {hashlib.sha256(weights).hexdigest()}"


def day_and_machine() -> str:
    """When, with which torch and on what kind of machine something is measured."""
    return f"{datetime.now(UTC):%Y-%m-%d}; torch {torch.__version__}, {platform.machine()}"


def _exit_parameters(root: Root) -> list[int]:
    def size(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    trunk, sizes = size(root.stem), []
    for block, head in zip(root.blocks, root.heads, strict=True):
        trunk += size(block)
        sizes.append(trunk + size(head))
    return sizes


def half_precision(root: Root) -> Root:
    """A copy whose weights have float16's values; norms, biases and embeddings stay as they are."""
    rounded = copy.deepcopy(root)
    for name, parameter in rounded.named_parameters():
        if is_weight(name, parameter):
            parameter.data = parameter.data.half().float()
    return rounded


def write_card(
    root: Root,
    plan: Mapping[str, Any],
    seed: int,
    seconds: float,
    folder: Path,
    *,
    mixed: bool = False,
) -> dict[str, Any]:
    """Evaluate every exit on the test images; write ``<name>.json`` and ``<name>.safetensors``.

    The photographs' roots and the all-in-one roots are shipped with weights of half precision, if
    that changes the accuracy of no exit by more than 0.1 point on 5,000 training images (or all
    there are); the test images then judge what is shipped, once. ``mixed`` tells whether the
    training was allowed bfloat16.
    """
    family, _, data = root.name.removesuffix(NESTED_SUFFIX).rpartition("-")
    train_set, test_set = load_data(data, "train"), load_data(data, "test")
    halved = False
    if data != "digits" or root.is_nested:
        rounded = half_precision(root)
        some = train_set.take(balanced(train_set.labels, 5_000))
        pairs = zip(exit_accuracies(root, some), exit_accuracies(rounded, some), strict=True)
        halved = all(abs(before - after) <= HALF_LOSS for before, after in pairs)
        root = rounded if halved else root
    card = {
        "name": root.name,
        "family": family,
        "data": data,
        "classes": len(test_set.classes),
        "parameters": root.num_parameters,
        "exit_parameters": _exit_parameters(root),
        "accuracy": exit_accuracies(root, test_set),
        "images": {"train": len(train_set), "test": len(test_set)},
        "data_sha256": {"train": images_digest(train_set), "test": images_digest(test_set)},
        "seed": seed,
        "seconds": round(seconds, 1),
        "device": _device(mixed=mixed),
        "torch": torch.__version__,
        "plan": dict(plan),
    }
    if halved:
        card["weights"] = "float16"
    tensors = {
        name: tensor.half() if halved and is_weight(name, tensor) else tensor
        for name, tensor in root.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{root.name}.safetensors"
    save_file(tensors, path)
    path.chmod(0o644)  # for all who may read the package
    text = json.dumps(card, indent=2) + "\n"
    (folder / f"{root.name}.json").write_text(text, encoding="utf-8")
    return card


def write_alone(
    name: str,
    plan: Mapping[str, Any],
    seed: int,
    folder: Path,
    *,
    accuracy: float,
    seconds: float,
) -> bool:
    """Put into a root's card what its last exit reaches when no other exit learns beside it.

    ``accuracy``, in [0, 1], is of the test images. Nothing is written, and the answer is False,
    where ``folder`` has no card of that root, or one of another plan or seed: these would differ
    by more than their exits.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        return False
    card = json.loads(path.read_text(encoding="utf-8"))
    if (card["plan"], card["seed"]) != (json.loads(json.dumps(dict(plan))), seed):
        return False
    mixed = bool(plan.get("bfloat16"))
    card["alone"] = {
        "accuracy": accuracy,
        "seconds": round(seconds, 1),
        "device": _device(mixed=mixed),
        "torch": torch.__version__,
    }
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return True


def _device(*, mixed: bool) -> str:
    if torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    else:
        machine = f"CPU, {platform.machine()}, {torch.get_num_threads()} threads"
    mixed = mixed and has_bfloat16(torch.device("cuda" if "CPU" not in machine else "cpu"))
    return f"{machine}, bfloat16" if mixed else machine


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 3600 else f"{seconds / 3600:.1f} hours"


def _steps(plan: Mapping[str, Any]) -> str:
    """Of one stage after another."""
    later = plan.get("then")
    return f"{plan['steps']} and {_steps(later)}" if later else str(plan["steps"])


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
        plan, images, kind = card["plan"], card["images"], card.get("weights", "float32")
        spent = _duration(card["seconds"])
        long = f"{plan['epochs']} epochs" if "epochs" in plan else f"{_steps(plan)} steps"
        if card["name"].endswith(NESTED_SUFFIX):
            long += f" from {card['name'].removesuffix(NESTED_SUFFIX)}"
        lines += [
            f"## {card['name']}",
            "",
            f"- Data: {card['data']}, {images['train']} training and {images['test']} test images",
            f"- SHA-256 of the test tensors: `{card['data_sha256']['test']}`",
            f"- Training: {long}, seed {card['seed']}, {spent}",
            f"- Machine: {card['device']}, torch {card['torch']}",
            f"- Parameters: {card['parameters']:,} (all heads included), {kind}",
            "",
            "| exit | parameters when cut there | accuracy |",
            "|---|---|---|",
        ]
        rows = zip(card["exit_parameters"], card["accuracy"], strict=True)
        lines += [f"| {i} | {size:,} | {acc:.2%} |" for i, (size, acc) in enumerate(rows, 1)]
        if alone := card.get("alone"):
            gain = 100 * (card["accuracy"][-1] - alone["accuracy"])
            lines += [
                "",
                f"The same training with its last exit alone: {alone['accuracy']:.2%}. The exits",
                f"before it change the last one by {gain:+.2f} points (one training of each;",
                f"{_duration(alone['seconds'])} on {alone['device']}, torch {alone['torch']}).",
            ]
        lines.append("")
    (folder / "MODEL_CARD.md").write_text("\n".join(lines), encoding="utf-8")
