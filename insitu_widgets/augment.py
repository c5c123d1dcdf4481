"""Random changes of training images, whole batches at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from insitu_widgets.plans import Plan


def augment(images: Tensor, plan: Plan, random: torch.Generator) -> Tensor:
    """Change each image ``[N, C, H, W]`` at random, in the plan's way."""
    return warp(images, plan, random) if plan.augmentation == "warp" else crop(images, plan, random)


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
    grid = functional.affine_grid(rows.to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def crop(images: Tensor, plan: Plan, random: torch.Generator) -> Tensor:
    """Shift and flip each image ``[N, C, H, W]`` at random, then erase a square of it."""
    count, _, height, width = images.shape
    device = images.device

    def some(high: int) -> Tensor:
        return torch.randint(high, (count, 1, 1), generator=random).to(device)

    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    y = some(2 * plan.crop_px + 1) + rows[:, None]
    x = some(2 * plan.crop_px + 1) + columns
    x = torch.where(some(2) > 0, x.flip(2), x)
    padded = functional.pad(images, [plan.crop_px] * 4, mode="reflect").permute(0, 2, 3, 1)
    cropped = padded[torch.arange(count, device=device)[:, None, None], y, x].permute(0, 3, 1, 2)
    if plan.erase_px:
        top, left = some(height) - plan.erase_px // 2, some(width) - plan.erase_px // 2
        inside_y = (rows[:, None] >= top) & (rows[:, None] < top + plan.erase_px)
        inside_x = (columns >= left) & (columns < left + plan.erase_px)
        cropped = cropped.masked_fill((inside_y & inside_x)[:, None], 0.0)
    return cropped


def cutmix(images: Tensor, targets: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace the same rectangle of each image by another image's (Yun et al., ICCV 2019).

    Parameters
    ----------
    images
        ``[N, C, H, W]``.
    targets
        Class probabilities ``[N, classes]``; they are mixed by the rectangle's share.
    random
        Where and how large.
    """
    height, width = images.shape[2:]
    share, y, x = torch.rand(3, generator=random).tolist()
    tall, wide = int(height * share**0.5), int(width * share**0.5)
    top, left = int(y * (height - tall + 1)), int(x * (width - wide + 1))
    mixed = images.clone()
    mixed[:, :, top : top + tall, left : left + wide] = images.flip(0)[
        :, :, top : top + tall, left : left + wide
    ]
    share = tall * wide / (height * width)
    return mixed, (1 - share) * targets + share * targets.flip(0)
