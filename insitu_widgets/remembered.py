"""What is worked out from a root's weights once and asked for with every sub-model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from torch import Tensor

T = TypeVar("T")


class Remembered(Generic[T]):
    """A function of a tensor whose results are kept as long as the tensor lives and stays the same.

    Tensors are told apart by identity, not by content: ask with a network's own parameter, not with
    a view of it. One that is trained further is worked out again.

    Parameters
    ----------
    function
        Of one tensor.
    """

    def __init__(self, function: Callable[[Tensor], T]) -> None:
        self._function = function
        self._results: MutableMapping[Tensor, tuple[int, T]] = WeakTensorKeyDictionary()

    def __call__(self, tensor: Tensor) -> T:
        """The function's result."""
        changes = tensor._version  # noqa: SLF001  (autograd's count of what was written into it)
        known = self._results.get(tensor)
        if known is None or known[0] != changes:
            known = self._results[tensor] = (changes, self._function(tensor.detach()))
        return known[1]
