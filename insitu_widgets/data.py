"""Image sets: the embedded handwritten digits, CIFAR-100, or a user's own arrays."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from insitu_widgets import cifar100
from insitu_widgets.errors import in_range, of_type, one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

NAMES = ("digits", "cifar100")

#: Channels, height and width of the images of each set.
SHAPES = {"digits": (1, 8, 8), "cifar100": (3, 32, 32)}

#: Split of the digits: the first 1,000 scans train, the last 797 test. The file is ordered by
#: writer group, so the test images come from other hands than most of the training images.
DIGITS_TRAIN = 1000
DIGITS_COUNTS = {"train": DIGITS_TRAIN, "test": 797}
#: Mean and standard deviation of the training pixels, scaled to [0, 1].
DIGITS_MEAN, DIGITS_STD = 0.3070, 0.3764

#: Training images of each set that ``--holdout`` of a training keeps for decisions.
HELD_OUT = {"digits": 200, "cifar100": 5_000}


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels, ready for a root.

    NumPy's arrays become tensors: float32 images in the same memory, labels of any whole numbers.

    Attributes
    ----------
    images : Tensor
        float32 ``[N, C, H, W]``, normalised as the root expects.
    labels : Tensor
        int64 ``[N]``.
    classes : tuple[str, ...]
        Names of the classes.

    Raises
    ------
    ValueError
        If shapes, types or labels do not fit each other.
    TypeError
        If images or labels are neither a tensor nor an array.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        given = self.labels  # as they came: a label of 64 bits without a sign is none of int64
        for field, number, kind in (
            ("images", np.float32, np.float32),
            ("labels", np.integer, np.int64),
        ):
            object.__setattr__(self, field, _tensor(field, getattr(self, field), number, kind))
        if self.images.ndim != 4 or self.images.dtype != torch.float32:
            numbers = self.images.dtype == torch.float32
            remedy = "Reshape them: grey ones, images[:, None]" if numbers else "Convert: .float()"
            msg = (
                f"images must be float32 [N, C, H, W]; got {self.images.dtype} "
                f"{list(self.images.shape)}. {remedy}."
            )
            raise ValueError(msg)
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            numbers = self.labels.dtype == torch.int64
            remedy = "Give each image one label" if numbers else "Convert: .long()"
            msg = (
                f"labels must be int64 [N] with N = {self.images.shape[0]}, one for each image; "
                f"got {self.labels.dtype} {list(self.labels.shape)}. {remedy}."
            )
            raise ValueError(msg)
        if len(self) and not 0 <= int(given.min()) <= int(given.max()) < len(self.classes):
            msg = (
                f"labels must be from 0 to {len(self.classes) - 1}, one of the {len(self.classes)} "
                f"classes; got {int(given.min())} to {int(given.max())}. "
                f"Name every class in classes."
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        return self.images.shape[0]

    def take(self, index: Tensor) -> ImageSet:
        """The images at these positions, in this order."""
        return ImageSet(self.images[index], self.labels[index], self.classes)


def _tensor(field: str, given: object, number: type[np.generic], kind: type[np.generic]) -> Tensor:
    """An array as a tensor of its own memory, where torch can use that; a tensor as it is."""
    if not isinstance(given, np.ndarray):
        of_type(field, given, torch.Tensor, "Give a tensor or a NumPy array: np.asarray(…).")
        return cast("Tensor", given)
    if not np.issubdtype(given.dtype, number):
        msg = (
            f"{field} in an array must be {number.__name__}; got {given.dtype} "
            f"{list(given.shape)}. Convert with .astype(np.{kind.__name__})."
        )
        raise ValueError(msg)
    array = given.astype(kind, copy=False)
    strides = (stride >= 0 and stride % array.itemsize == 0 for stride in array.strides)
    usable = array.flags.writeable and all(strides)
    return torch.from_numpy(array if usable else array.copy())


def load_data(name: str, split: str = "test", limit: int | None = None) -> ImageSet:
    """Load an image set.

    Parameters
    ----------
    name
        ``"digits"``: 8×8 grey scans of handwritten digits (E. Alpaydin and C. Kaynak, UCI, 1998),
        from the file that scikit-learn ships; nothing is downloaded.
        ``"cifar100"``: 32×32 colour photographs of 100 kinds of things (A. Krizhevsky, 2009),
        from the folder that ``INSITU_DATA`` names or the user's cache, else downloaded into it.
    split
        ``"train"`` (1,000 digits or 50,000 photographs) or ``"test"`` (797 or 10,000).
    limit
        At most so many images, balanced over the classes; ``None`` for all.

    Returns
    -------
    ImageSet
        The same images in the same order, every time.

    Raises
    ------
    ValueError
        For an unknown name or split, or a limit out of range.
    DataError
        If the images' file is damaged, or there is none and it cannot be fetched.
    """
    one_of("name", name, NAMES)
    one_of("split", split, ("train", "test"))
    return _digits(split, limit) if name == "digits" else _cifar100(split, limit)


def has_data(name: str) -> bool:
    """Whether :func:`load_data` needs no download for this image set."""
    one_of("name", name, NAMES)
    return name == "digits" or cifar100.find() is not None


def count_of(name: str, split: str = "test") -> int:
    """How many images a set has, without loading them."""
    one_of("name", name, NAMES)
    return (cifar100.COUNTS if name == "cifar100" else DIGITS_COUNTS)[split]


def shape_of(name: str) -> tuple[int, int, int]:
    """Channels, height and width of a set's images, without loading them."""
    one_of("name", name, NAMES)
    return SHAPES[name]


def _digits(split: str, limit: int | None) -> ImageSet:
    pixels, labels = _read_digits()
    part = slice(None, DIGITS_TRAIN) if split == "train" else slice(DIGITS_TRAIN, None)
    images = (pixels[part] / 16.0 - DIGITS_MEAN) / DIGITS_STD
    whole = ImageSet(
        torch.from_numpy(images.astype(np.float32)).reshape(-1, 1, 8, 8),
        torch.from_numpy(labels[part].astype(np.int64)),
        tuple("0123456789"),
    )
    if limit is None:
        return whole
    in_range("limit", limit, 1, len(whole), "images")
    return whole.take(balanced(whole.labels, limit))


def _cifar100(split: str, limit: int | None) -> ImageSet:
    pixels, codes, classes = cifar100.read(split)
    labels = torch.from_numpy(codes.astype(np.int64))
    if limit is not None:
        in_range("limit", limit, 1, len(labels), "images")
        index = balanced(labels, limit)
        pixels, labels = pixels[index.numpy()], labels[index]
    return ImageSet(torch.from_numpy(cifar100.normalise(pixels)), labels, classes)


def balanced(labels: Tensor, limit: int) -> Tensor:
    """Positions of ``limit`` images, every class as often as any other (± 1), in their order."""
    rank = torch.empty_like(labels)
    for label in labels.unique():
        where = labels == label
        rank[where] = torch.arange(int(where.sum()))
    return torch.argsort(rank, stable=True)[:limit].sort().values


def hold_out(images: ImageSet, data: str) -> tuple[ImageSet, ImageSet]:
    """Divide training images: those to train on, and those that decisions are made on."""
    count = HELD_OUT[data]
    if data == "digits":  # they lie by writer: the last ones are other hands
        kept, held = torch.arange(len(images)).split([len(images) - count, count])
    else:  # by chance, always the same, every class as often as any other
        shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        held = shuffled[balanced(images.labels[shuffled], count)].sort().values
        kept = torch.tensor(sorted(set(range(len(images))) - set(held.tolist())))
    return images.take(kept), images.take(held)


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    # Importing scikit-learn costs a second and 80 MB in every kernel; its file is all we need.
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        msg = "The digits come with scikit-learn, which is not installed: pip install scikit-learn"
        raise ModuleNotFoundError(msg)
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.float64)
    return table[:, :-1], table[:, -1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch an image set ahead of its use: ``python -m insitu_widgets.data cifar100``."""
    parser = argparse.ArgumentParser(prog="python -m insitu_widgets.data", description=main.__doc__)
    parser.add_argument("name", choices=NAMES, help="which image set")
    name = parser.parse_args(arguments).name
    try:
        sizes = [len(load_data(name, split)) for split in ("train", "test")]
    except cifar100.DataError as fault:
        parser.exit(1, f"{fault}\n")
    print(f"{name}: {sizes[0]:,} training and {sizes[1]:,} test images", cifar100.find() or "")


if __name__ == "__main__":
    main()
