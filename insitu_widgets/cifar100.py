"""CIFAR-100 on disk: found, fetched once, verified.

The images are A. Krizhevsky's (*Learning Multiple Layers of Features from Tiny Images*, 2009).
They may not be shipped, so one file, ``cifar100.npz``, is looked for in the folder that the
environment variable ``INSITU_DATA`` names, then in the user's cache; if it is in neither,
torchvision downloads the official archive and the cache is written from it.

The file holds ``x_train [50000, 32, 32, 3]``, ``y_train [50000]``, ``x_test [10000, 32, 32, 3]``
and ``y_test [10000]``, all uint8, and ``classes [100]``, the names. Its rows are sorted by class,
then by the file name that the archive gives for each image: wherever the images came from, they
come in the same order.
"""

from __future__ import annotations

import os
import pickle
import shlex
import shutil
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FILE = "cifar100.npz"
#: Images in each split.
COUNTS = {"train": 50_000, "test": 10_000}
#: Published mean and standard deviation of the training pixels' channels, scaled to [0, 1]: what
#: both splits are normalised with.
MEAN, STD = (0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)
#: What each split's own pixels must show: the mean and standard deviation over all channels.
STATISTICS = {"train": (0.478181, 0.268192), "test": (0.479377, 0.269139)}
#: As it may be copied into a shell, whichever environment this is.
FETCH = f"{shlex.quote(sys.executable or 'python')} -m insitu_widgets.data cifar100"
#: The archive, its extracted files and the cache written from them.
FETCH_BYTES = 600_000_000


class DataError(OSError):
    """An image set that cannot be read or fetched; the message says which file and what to do."""


def cache_folder() -> Path:
    """The user's cache folder for this package, by the platform's convention."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "insitu"


def find() -> Path | None:
    """Where the file lies: in ``INSITU_DATA``'s folder, in the cache, or nowhere yet."""
    named = os.environ.get("INSITU_DATA")
    folders = [*([Path(named)] if named else []), cache_folder()]
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


def misnamed() -> str:
    """A sentence on ``INSITU_DATA`` where it names no folder with the file; else nothing."""
    named = os.environ.get("INSITU_DATA")
    if not named or (Path(named) / FILE).is_file():
        return ""
    what = f"holds no {FILE}" if Path(named).is_dir() else "is no folder"
    return f"INSITU_DATA names {named}, which {what}: put {FILE} there, or correct the name."


def read(split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Pixels uint8 ``[N, 32, 32, 3]``, labels uint8 ``[N]`` and class names; fetched if need be.

    Raises
    ------
    DataError
        If the file is damaged, or is nowhere and cannot be fetched.
    """
    path = find() or fetch()
    try:
        with np.load(path, allow_pickle=False) as file:
            pixels, labels = file[f"x_{split}"], file[f"y_{split}"]
            classes = tuple(str(name) for name in file["classes"])
        _verify(split, pixels, labels, classes)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as fault:
        remedy = f"Delete it and run: {FETCH}" if path.parent == cache_folder() else "Replace it."
        msg = f"{path} is not a good copy of CIFAR-100 ({fault}). {remedy}"
        raise DataError(msg) from fault
    return pixels, labels, classes


def normalise(pixels: np.ndarray) -> np.ndarray:
    """Pixels uint8 ``[N, H, W, 3]`` to float32 ``[N, 3, H, W]`` of mean 0 and deviation 1."""
    images = np.empty((len(pixels), 3, *pixels.shape[1:3]), np.float32)
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        values = ((np.arange(256) / 255 - mean) / std).astype(np.float32)
        images[:, channel] = values[pixels[..., channel]]
    return images


def fetch() -> Path:
    """Download the official archive and write the cache from it, once and whole.

    Raises
    ------
    DataError
        If there is no network, no room, or what came is damaged. No half-written file is left.
    """
    folder = cache_folder()
    work = folder / "cifar100-download"  # a complete archive in it is not downloaded again
    try:
        work.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(work).free
    except OSError as fault:
        raise _not_fetched(fault) from fault
    if free < FETCH_BYTES:
        msg = (
            f"{folder}: fetching CIFAR-100 takes {FETCH_BYTES / 1e6:.0f} MB and only "
            f"{free / 1e6:.0f} MB are free. Make room, or name a folder on another disk with "
            f"XDG_CACHE_HOME (on Windows LOCALAPPDATA)."
        )
        raise DataError(msg)
    try:
        arrays = _sorted(_download(work))
        for split in COUNTS:
            _verify(split, arrays[f"x_{split}"], arrays[f"y_{split}"], tuple(arrays["classes"]))
        _write_whole(folder / FILE, arrays)
    except Exception as fault:  # whatever the network, the archive or the disk may do
        raise _not_fetched(fault) from fault
    shutil.rmtree(work, ignore_errors=True)
    return folder / FILE


def _not_fetched(fault: Exception) -> DataError:
    other = misnamed() or f"Or put {FILE} into a folder and name that folder in INSITU_DATA."
    return DataError(
        f"CIFAR-100 could not be fetched into {cache_folder() / FILE} ({fault}). Check the network "
        f"and the disk, then run: {FETCH}. {other} The digits roots work without it."
    )


def _download(work: Path) -> dict[str, Any]:
    # torchvision shows a progress bar and verifies the archive and its files by their MD5; it
    # leaves out the file names, so its files are read here.
    from insitu_widgets import vision  # noqa: F401, PLC0415  (makes torchvision importable)

    from torchvision.datasets import CIFAR100  # isort: skip  # noqa: PLC0415  (download only)

    official = CIFAR100(str(work), download=True)
    inner = Path(official.root) / official.base_folder
    return {name: pickle.loads((inner / name).read_bytes(), encoding="latin1")  # noqa: S301
            for name in (*COUNTS, "meta")}  # fmt: skip


def _sorted(archive: dict[str, Any]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for split in COUNTS:
        part = archive[split]
        labels = np.asarray(part["fine_labels"], np.uint8)
        order = np.lexsort((np.asarray(part["filenames"]), labels))
        pixels = np.asarray(part["data"], np.uint8).reshape(-1, 3, 32, 32)
        arrays[f"x_{split}"] = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)[order])
        arrays[f"y_{split}"] = labels[order]
    return arrays | {"classes": np.asarray(archive["meta"]["fine_label_names"])}


def _write_whole(path: Path, arrays: dict[str, np.ndarray]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _verify(split: str, pixels: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    count = COUNTS[split]
    wanted = {"pixels": ((count, 32, 32, 3), np.uint8), "labels": ((count,), np.uint8)}
    for (what, (shape, kind)), array in zip(wanted.items(), (pixels, labels), strict=True):
        if array.shape != shape or array.dtype != kind:
            msg = f"its {split} {what} are {array.dtype} {array.shape}, not uint8 {shape}"
            raise ValueError(msg)
    if len(classes) != 100 or not np.array_equal(labels, np.repeat(np.arange(100), count // 100)):
        msg = f"its {split} labels are not 100 classes of {count // 100} images each, in order"
        raise ValueError(msg)
    levels = np.zeros(256)
    for some in np.array_split(pixels.reshape(-1), 50):
        levels += np.bincount(some, minlength=256)
    values, shares = np.arange(256) / 255, levels / levels.sum()
    mean = float(values @ shares)
    std = float(np.sqrt((values - mean) ** 2 @ shares))
    if not np.allclose((mean, std), STATISTICS[split], atol=1e-4):
        msg = (
            f"its {split} pixels have mean {mean:.6f} and deviation {std:.6f}, "
            f"not {STATISTICS[split][0]:.6f} and {STATISTICS[split][1]:.6f}"
        )
        raise ValueError(msg)
