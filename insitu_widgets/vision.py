"""torchvision, importable beside a torch of another build, too: import this module before it.

Its wheel on PyPI is built for CUDA. Beside a CPU torch it cannot load its compiled operators, of
which its Python modules only need two to be declared; a matching build declares them itself.
"""

import torch

try:
    import torchvision  # noqa: F401  (imported for its effect)
except RuntimeError:
    for _operator in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{_operator}",
            "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )
