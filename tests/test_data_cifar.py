"""CIFAR-100: found, fetched, verified; on a made-up archive of two images a class."""

import os
import pickle
import shlex
import shutil
import subprocess
from collections import namedtuple
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from insitu_widgets import cifar100, data, load_data

COUNTS = {"train": 300, "test": 200}


def made_up(split):
    """As the official archive has it: rows in no order, channels first, names of files."""
    count = COUNTS[split]
    random = np.random.default_rng(count)
    labels = random.permutation(np.repeat(np.arange(100), count // 100))
    names = [f"thing_s_{number:06d}.png" for number in random.permutation(count)]
    pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": pixels, "fine_labels": labels.tolist(), "filenames": names}


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, small sets, and torchvision's download replaced by the made-up archive."""
    monkeypatch.delenv("INSITU_DATA", raising=False)
    monkeypatch.setattr(cifar100, "cache_folder", lambda: tmp_path / "insitu")
    monkeypatch.setattr(cifar100, "COUNTS", COUNTS)
    parts = {split: made_up(split) for split in COUNTS}
    levels = {split: part["data"] / 255 for split, part in parts.items()}
    monkeypatch.setattr(cifar100, "STATISTICS", {s: (v.mean(), v.std()) for s, v in levels.items()})
    classes = [f"class {i:02d}" for i in range(100)]
    downloads = []

    class Official:
        base_folder = "cifar-100-python"

        def __init__(self, root, *, download):
            assert download
            downloads.append(root)
            self.root = root
            os.makedirs(f"{root}/{self.base_folder}", exist_ok=True)  # noqa: PTH103
            for name, part in (*parts.items(), ("meta", {"fine_label_names": classes})):
                with open(f"{root}/{self.base_folder}/{name}", "wb") as file:  # noqa: PTH123
                    pickle.dump(part, file)

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", Official)
    record = namedtuple("Cache", "folder parts downloads")  # noqa: PYI024
    return record(tmp_path / "insitu", parts, downloads)


@pytest.mark.parametrize("split", COUNTS)
def test_a_download_gives_the_archives_images_in_the_canonical_order(cache, split):
    images, part = load_data("cifar100", split), cache.parts[split]
    keys = zip(part["fine_labels"], part["filenames"], strict=True)
    order = [row for row, _ in sorted(enumerate(keys), key=lambda entry: entry[1])]
    pixels = part["data"][order].reshape(-1, 3, 32, 32) / 255
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (cifar100.MEAN, cifar100.STD))
    assert images.images.dtype == torch.float32
    assert torch.allclose(images.images, torch.from_numpy((pixels - mean) / std).float(), atol=1e-6)
    assert images.labels.tolist() == sorted(part["fine_labels"])
    assert images.classes == tuple(f"class {i:02d}" for i in range(100))


def test_it_is_downloaded_once_and_nothing_else_is_left(cache):
    assert not data.has_data("cifar100")
    first, again = load_data("cifar100"), load_data("cifar100")
    assert torch.equal(first.images, again.images)
    assert len(cache.downloads) == 1
    assert data.has_data("cifar100")
    assert [path.name for path in cache.folder.iterdir()] == ["cifar100.npz"]


def test_a_named_folder_goes_before_the_cache(cache, monkeypatch, tmp_path):
    load_data("cifar100")
    named = tmp_path / "named"
    named.mkdir()
    monkeypatch.setenv("INSITU_DATA", str(named))
    assert cifar100.find() == cache.folder / "cifar100.npz"
    shutil.move(cache.folder / "cifar100.npz", named)
    assert cifar100.find() == named / "cifar100.npz"
    assert len(load_data("cifar100")) == 200
    assert len(cache.downloads) == 1


@pytest.mark.parametrize("limit", [1, 100, 150, 199])
def test_a_limit_is_balanced_and_keeps_the_order(cache, limit):
    whole, limited = load_data("cifar100"), load_data("cifar100", limit=limit)
    counts = limited.labels.bincount(minlength=100)
    assert len(limited) == limit
    assert counts.max() - counts.min() <= 1
    assert torch.equal(limited.images, whole.images[data.balanced(whole.labels, limit)])


@pytest.mark.parametrize("limit", [0, 201, True, 1.0])
def test_a_limit_out_of_range_is_refused(cache, limit):
    with pytest.raises(ValueError, match=r"^limit must be a whole number from 1 to 200 images"):
        load_data("cifar100", limit=limit)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "fewer", "unsorted", "grey"])
def test_a_damaged_cache_is_named_with_the_remedy(cache, damage):
    load_data("cifar100")
    path = cache.folder / "cifar100.npz"
    good = path.read_bytes()
    with np.load(path) as file:
        arrays = dict(file)
    if damage == "cut":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "flipped":
        with np.load(path) as file:
            middle = file.zip.getinfo("x_test.npy").header_offset + 5000
        path.write_bytes(good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :])
    elif damage in {"empty", "text"}:
        path.write_bytes(b"" if damage == "empty" else b"<html>404</html>")
    elif damage == "fewer":
        np.savez(path, **arrays | {"x_test": arrays["x_test"][:-1]})
    elif damage == "unsorted":
        np.savez(path, **arrays | {"y_test": arrays["y_test"][::-1]})
    else:
        np.savez(path, **arrays | {"x_test": arrays["x_test"] // 2})
    with pytest.raises(cifar100.DataError, match="is not a good copy") as caught:
        load_data("cifar100")
    assert str(path) in str(caught.value)
    assert f"Delete it and run: {cifar100.FETCH}" in str(caught.value)


def test_a_damaged_file_in_a_named_folder_is_not_passed_over(cache, monkeypatch, tmp_path):
    (tmp_path / "cifar100.npz").write_bytes(b"")
    monkeypatch.setenv("INSITU_DATA", str(tmp_path))
    with pytest.raises(cifar100.DataError, match=r"good copy .+ Replace it\.$"):
        load_data("cifar100")
    assert not cache.downloads


def left_behind(folder):
    return [p.name for p in folder.rglob("*") if p.name.startswith("cifar100") and p.is_file()]


def test_without_a_network_it_says_what_to_do(cache, monkeypatch, capsys):
    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", offline)
    with pytest.raises(cifar100.DataError, match=r"no route to host.+Check the network") as caught:
        load_data("cifar100")
    assert str(cache.folder / "cifar100.npz") in str(caught.value)
    assert not left_behind(cache.folder)
    with pytest.raises(SystemExit, match="1"):
        data.main(["cifar100"])
    assert "INSITU_DATA" in capsys.readouterr().err


def test_the_command_that_is_told_gets_as_far_as_the_network(tmp_path):
    """In a process of its own, where nothing has made torchvision importable."""
    places = ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME")
    closed = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    env = os.environ | dict.fromkeys(places, str(tmp_path)) | closed | {"INSITU_DATA": ""}
    done = subprocess.run(
        shlex.split(cifar100.FETCH), check=False, env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "could not be fetched" in done.stderr
    assert "Connection refused" in done.stderr


def test_a_named_folder_that_is_not_there_is_told(cache, monkeypatch, tmp_path):
    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", offline)
    assert cifar100.misnamed() == ""
    monkeypatch.setenv("INSITU_DATA", str(tmp_path / "gone"))
    with pytest.raises(cifar100.DataError, match=r"INSITU_DATA names .+/gone, which is no folder:"):
        load_data("cifar100")
    monkeypatch.setenv("INSITU_DATA", str(tmp_path))
    with pytest.raises(
        cifar100.DataError, match=r"which holds no cifar100\.npz: put cifar100\.npz"
    ):
        load_data("cifar100")
    (tmp_path / "cifar100.npz").touch()
    assert cifar100.misnamed() == ""


def test_without_room_it_does_not_begin(cache, monkeypatch):
    usage = namedtuple("usage", "free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(5_000_000))
    with pytest.raises(
        cifar100.DataError, match=r"takes 600 MB and only 5 MB are free\. Make room"
    ):
        load_data("cifar100")
    assert not cache.downloads


def test_a_disk_that_fills_while_writing_leaves_no_half_file(cache, monkeypatch):
    def fill(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fill)
    with pytest.raises(cifar100.DataError, match="No space left on device"):
        load_data("cifar100")
    assert not left_behind(cache.folder)


def test_a_cache_that_cannot_be_made_is_an_error_of_ours(cache):
    cache.folder.write_text("a file where the folder should be")
    with pytest.raises(cifar100.DataError, match="could not be fetched"):
        load_data("cifar100")


def test_the_command_fetches_ahead(cache, capsys):
    data.main(["cifar100"])
    assert "cifar100: 300 training and 200 test images" in capsys.readouterr().out
    assert (cache.folder / "cifar100.npz").is_file()


@pytest.mark.parametrize(
    ("platform", "variable", "end"),
    [("linux", "XDG_CACHE_HOME", "insitu"), ("win32", "LOCALAPPDATA", "insitu")],
)
def test_the_cache_is_where_the_platform_puts_caches(
    monkeypatch, tmp_path, platform, variable, end
):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert cifar100.cache_folder() == tmp_path / end
    monkeypatch.delenv(variable)
    assert cifar100.cache_folder().name == end
    monkeypatch.setattr("sys.platform", "darwin")
    assert cifar100.cache_folder().parts[-3:] == ("Library", "Caches", "insitu")


@pytest.mark.skipif(not os.environ.get("INSITU_DATA"), reason="INSITU_DATA names no folder")
def test_the_real_test_images():
    images = load_data("cifar100", limit=1000)
    assert images.images.shape == (1000, *data.shape_of("cifar100")) == (1000, 3, 32, 32)
    assert set(images.labels.bincount().tolist()) == {10}
    assert images.classes[:2] == ("apple", "aquarium_fish")
    assert images.images.mean().abs() < 0.1
    assert abs(float(images.images.std()) - 1) < 0.1
