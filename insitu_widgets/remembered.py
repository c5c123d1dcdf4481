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
    a view of it. One that is trained further, or is given other memory, is worked out again. What
    is written into its ``.data`` is not seen: autograd does not count it.

    Parameters
    ----------
    function
        Of one tensor.
    """

    def __init__(self, function: Callable[[Tensor], T]) -> None:
        self._function = function
        self._results: MutableMapping[Tensor, tuple[tuple[int, int], T]] = WeakTensorKeyDictionary()

    def __call__(self, tensor: Tensor) -> T:
        """The function's result."""
        # Autograd's count of what was written into it, and where it lies.
        changes = tensor._version, tensor.data_ptr()  # noqa: SLF001
        known = self._results.get(tensor)
        if known is None or known[0] != changes:
            known = self._results[tensor] = (changes, self._function(tensor.detach()))
        return known[1]
