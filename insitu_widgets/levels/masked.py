"""What a mask selects of a tensor, and back: numpy does both in a fraction of torch's time.

``tensor[mask]`` turns the mask into 64-bit positions first. For eleven million codes that takes ten
times as long as selecting them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def select(tensor: Tensor, mask: Tensor) -> Tensor:
    """The values where a mask is true, ``[kept]``, in their order: ``tensor[mask]``.

    ``tensor`` and the bool ``mask`` have one shape and lie in the processor's memory. Where all are
    selected they may share the tensor's memory.
    """
    values, wanted = tensor.detach().reshape(-1), mask.reshape(-1).numpy()
    if wanted.all():
        return values
    return torch.from_numpy(values.numpy().compress(wanted))


def scatter(values: Tensor, mask: Tensor) -> Tensor:
    """The inverse of :func:`select`: a tensor of the mask's shape, zero where it is false."""
    if values.numel() == mask.numel():
        return values.detach().view(mask.shape)
    whole = torch.zeros(mask.shape, dtype=values.dtype)
    whole.view(-1).numpy()[mask.reshape(-1).numpy()] = values.detach().numpy()
    return whole
