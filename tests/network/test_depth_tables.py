"""The depth level measured before: the tables hold what is measured live, whole and no more."""

import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import insitu_widgets
from insitu_widgets import Link, Recipe, accuracy, derive, load_data, load_root, pack
from insitu_widgets.cards import ROOTS
from insitu_widgets.cifar100 import FETCH
from insitu_widgets.levels.confidence import MEASURES, answer, cheapest
from insitu_widgets.levels.split import count, split
from insitu_widgets.network import depth_rows, depth_tables
from insitu_widgets.network.catalogue import condition, shipped
from insitu_widgets.network.depth_rows import (
    EXITS,
    GUESSES,
    PRIVACY,
    PROGRESSIVE,
    SPLITS,
    download_of,
    exits_of,
    guesses_of,
    heard_of,
    load_exits,
    load_privacy,
    load_progressive,
    load_splits,
    split_of,
)
from insitu_widgets.network.depth_tables import DOWNLOADS, STOPS, TOGETHERS, WIDEST_FITTED, main
from insitu_widgets.network.privacy import attack, blind_guess, class_guess
from insitu_widgets.network.progressive import arrivals, chunks
from insitu_widgets.network.split import Cooperation, Uplink, cooperative_exits
from tests.conftest import PHOTO_ROOTS

FOLDER = Path(insitu_widgets.__file__).parent / "catalogue"
ROOT, LAST = "vgg-digits", 6
SUFFIXES = (EXITS, PROGRESSIVE, PRIVACY, SPLITS)
READERS = (
    *(depth_rows.read_exits, depth_rows.read_progressive, depth_rows.read_privacy),
    depth_rows.read_splits,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("insitu_widgets.network.privacy.STEPS", 5)
        return measured(tmp_path_factory.mktemp("tables"))


def measured(folder):
    main([ROOT, "--images", "60", "--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    return [
        list(read((folder / (ROOT + suffix)).read_text().splitlines()))
        for suffix, read in zip(SUFFIXES, READERS, strict=True)
    ]


def live(root, images, point, bits, measure):
    uplink = Uplink(bits, Link(1.0), np.random.default_rng(0))
    return answer(partial(cooperative_exits, root, point, uplink), images, measure)


@pytest.fixture(scope="module")
def images():
    return [load_data("digits", part, 60) for part in ("train", "test")]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("setting", [(4, 0), (4, 3), (32, None)])
def test_its_exits_are_those_of_live_answers(tables, images, roots, measure, setting):
    exits, (bits, point) = dict(tables[0]), setting
    at = 2 if point is None else point  # exact features are the same at any split
    train, test = (live(roots[ROOT], part, at, bits, measure) for part in images)
    aside, reported = test.halves()
    held = exits[bits, point, measure, "aside"]
    assert held.alone == reported.everyone()
    assert {each.threshold for each in held.aside} >= set(STOPS)
    for each, routing in zip(held.aside, held.reported, strict=True):
        assert each.estimate == aside.route(each.threshold).estimate
        assert routing == reported.route(each.threshold)
    thresholds = [each.threshold for each in held.aside]
    for target in (0.5, 0.9, 1.0):
        expected, found = cheapest(aside, target, thresholds), held.cheapest(target)
        assert (found and (found.threshold, found.estimate)) == (
            expected and (expected.threshold, expected.estimate)
        )
    source = (bits, point, measure, "train")
    assert (source in exits) == (point is None)
    if point is None:
        for each in exits[source].aside:
            assert each.estimate == train.route(each.threshold).estimate


def test_its_downloads_are_those_of_live_arrivals(tables, images, roots):
    root, test = roots[ROOT], images[1]
    assert [(d.keep, d.bits, d.bit_error_rate) for d in tables[1]] == list(DOWNLOADS)
    for held in tables[1]:
        link, random = Link(1.0, bit_error_rate=held.bit_error_rate), np.random.default_rng(0)
        live = arrivals(root, chunks(root, held.keep, held.bits), link, random, "clamp")
        for arrival, (num_bits, estimate) in zip(live, held.exits, strict=True):
            *_, last = accuracy(arrival.network, test)
            assert (arrival.num_bits, last) == (num_bits, estimate)
        packet = pack(derive(root, Recipe(ROOT, keep=held.keep, bits=held.bits)))
        assert held.whole[0] == packet.num_bits
        assert held.whole[1].seen == 60


def test_its_attacks_are_those_of_live_attackers(tables, images, roots, monkeypatch):
    monkeypatch.setattr("insitu_widgets.network.privacy.STEPS", 5)
    train, test = images
    found = {(each.bits, each.attacker): each.psnr_db for each in tables[2]}
    assert found.keys() == {(0, name) for name in GUESSES} | set(depth_tables.ATTACKS)
    assert found[0, "class"][0] == pytest.approx(class_guess(train, test).psnr_db, abs=1e-3)
    assert found[0, "nothing"][0] == pytest.approx(blind_guess(train, test).psnr_db, abs=1e-3)
    for bits, attacker in depth_tables.ATTACKS:
        assert list(found[bits, attacker]) == list(range(LAST))
        for point in (0, 3):
            live = attack(roots[ROOT], point, train, test, bits=bits, attacker=attacker)
            assert found[bits, attacker][point] == pytest.approx(live.psnr_db, abs=1e-3)


def test_its_splits_are_those_of_a_live_uplink(tables, images, roots):
    root, test = roots[ROOT], images[1]
    assert [held.sent for held in tables[3]] == list(TOGETHERS)
    for held in tables[3]:
        assert list(held.estimates) == list(range(LAST + 1))
        for point in (0, 2, LAST):
            recipe = Recipe(ROOT, point or None, held.keep, held.bits)
            halves = split(root, point, derive(root, recipe).module if point else None)
            link = Link(1.0, bit_error_rate=held.bit_error_rate)
            uplink = Uplink(held.feature_bits, link, np.random.default_rng(0))
            *_, last = accuracy(Cooperation(halves, uplink), test)
            assert held.estimates[point] == last
    exact = tables[3][1].estimates
    *_, whole = accuracy(root, test)
    assert set(exact.values()) == {whole}  # wherever it is split


def test_stopped_it_goes_on_with_what_is_not_whole(folder, tmp_path, monkeypatch):
    """As if it had been stopped in each table: once inside a line, too."""
    monkeypatch.setattr("insitu_widgets.network.privacy.STEPS", 5)
    whole = {path.name: path.read_text() for path in folder.iterdir()}
    for suffix, stop in zip(SUFFIXES, ("4,3,", "1.0,32,", "1,ridge,0,", "1.0,4,8,"), strict=True):
        text = whole[ROOT + suffix]
        (tmp_path / (ROOT + suffix)).write_text(text[: text.index(f"{ROOT},{stop}") + 7])
    calls = []

    def counted(name):
        real = getattr(depth_tables, name)
        return lambda *all_: calls.append(name) or real(*all_)

    for name in ("exits", "download", "attacks", "guesses", "together"):
        monkeypatch.setattr(depth_tables, name, counted(name))
    measured(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == whole
    begun_anew = {"together": 4, "exits": 3, "download": 4, "attacks": LAST}
    assert Counter(calls) == begun_anew
    with pytest.raises(SystemExit, match="other weights or images"):
        main([ROOT, "--images", "61", "--out", str(tmp_path)])


def test_nonsense_is_told(capsys):
    with pytest.raises(SystemExit):
        main([ROOT, "--images", "5"])
    assert "images must be a whole number from 20 to 797; got 5" in capsys.readouterr().err


@pytest.mark.parametrize("root", PHOTO_ROOTS)
def test_what_is_shipped_is_whole(root):
    last = ROOTS[root].num_exits
    for suffix in SUFFIXES:
        assert root in shipped(suffix)
        assert (FOLDER / (root + suffix)).stat().st_size < 100_000
        assert condition(root, suffix).startswith("images: 1000 test images of cifar100")
    exits = load_exits(root)
    places = [(32, None), *((4, point) for point in range(last))]
    aside = {(*place, measure, "aside") for place in places for measure in MEASURES}
    assert exits.keys() == aside | {(32, None, measure, "train") for measure in MEASURES}
    for (*_, source), held in exits.items():
        thresholds = [each.threshold for each in held.aside]
        assert thresholds == sorted(thresholds)
        assert set(STOPS) <= set(thresholds)
        assert len(thresholds) > 35
        assert {each.estimate.seen for each in held.aside} == {1000 if source == "train" else 500}
        assert {(len(r.left), sum(r.left)) for r in held.reported} == {(last, 500)}
        assert held.reported[0].estimate == held.alone[0]
        assert len(held.alone) == last
    downloads = load_progressive(root)
    assert [(d.keep, d.bits, d.bit_error_rate) for d in downloads] == list(DOWNLOADS)
    for held in downloads:
        sent = [num_bits for num_bits, _ in held.exits]
        assert (len(sent), sent) == (last, sorted(sent))
        assert held.whole[0] < sent[-1]
    splits = load_splits(root)
    assert [held.sent for held in splits] == list(TOGETHERS)
    for held in splits:
        assert list(held.estimates) == list(range(last + 1))
        assert {each.seen for each in held.estimates.values()} == {1000}
    assert len(set(splits[1].estimates.values())) == 1  # exact features, wherever it is split
    sizes = count(load_root(root), (3, 32, 32)).values
    for held in load_privacy(root):
        points = [p for p in range(last) if held.attacker == "ridge" or sizes[p] <= WIDEST_FITTED]
        assert list(held.psnr_db) == ([0] if held.attacker in GUESSES else points)
    assert guesses_of(root)["class"] > guesses_of(root)["nothing"] > 10


@pytest.mark.skipif(not os.environ.get("INSITU_DATA"), reason="INSITU_DATA names no folder")
def test_a_shipped_table_agrees_with_the_images():
    """Another processor may round otherwise, and move an image or two across a threshold."""
    name, point = "vgg16-cifar100", 3
    root, train, test = (
        load_root(name),
        load_data("cifar100", "train", 1000),
        load_data("cifar100", limit=1000),
    )
    _, reported = live(root, test, point, 4, "probability").halves()
    held = exits_of(name, bits=4, point=point, measure="probability", source="aside")
    for routing in held.reported:
        now = reported.route(routing.threshold)
        assert now.left == pytest.approx(routing.left, abs=4)
        assert now.estimate.correct == pytest.approx(routing.estimate.correct, abs=4)
    sent = download_of(name, keep=1.0, bits=4, bit_error_rate=0.0, guard="none", seed=9)
    random = np.random.default_rng(9)
    first = next(arrivals(root, chunks(root, 1.0, 4), Link(1.0), random, "none"))
    *_, last = accuracy(first.network, test)
    assert first.num_bits == sent.exits[0][0]
    assert last.correct == pytest.approx(sent.exits[0][1].correct, abs=4)
    heard = heard_of(name, bits=4, attacker="ridge").psnr_db
    now = attack(root, point, train, test, bits=4).psnr_db
    assert now == pytest.approx(heard[point], abs=0.05)


def test_what_plays_no_part_may_be_anything():
    name = "vit-cifar100"
    clean = {"keep": 1.0, "bits": 32, "bit_error_rate": 0.0}
    assert download_of(name, **clean, guard="none", seed=5) == download_of(
        name, **clean, guard="zero", seed=0
    )
    codes = {"keep": 1.0, "bits": 4, "bit_error_rate": 1e-3, "seed": 0}
    assert download_of(name, **codes, guard="none") == download_of(name, **codes, guard="clamp")
    ways = [
        exits_of(name, bits=bits, point=point, measure="entropy", source="aside")
        for bits, point in ((32, 0), (32, 3), (1, ROOTS[name].num_exits))
    ]
    assert ways[0] == ways[1] == ways[2]


def test_what_was_not_measured_is_refused_and_what_was_is_named():
    name = "vit-cifar100"
    sentence = (
        r"feature bits and blocks on the device must be .* of vit-cifar100, whose images are not "
        r"here: 32 bit with thresholds from test images \(any split\); 32 bit with .* training "
        r"images \(any split\); 4 bit .* test images \(0, 1, 2, 3, 4, 5 blocks on the device\)\. "
        r"Got 8 bit, 2 on the device, thresholds from test images\. Choose one of these, or get "
    )
    with pytest.raises(ValueError, match=sentence) as told:
        exits_of(name, bits=8, point=2, measure="entropy", source="aside")
    assert str(told.value).endswith(FETCH)
    with pytest.raises(ValueError, match=r"Got 4 bit, 2 .* from training images"):
        exits_of(name, bits=4, point=2, measure="entropy", source="train")
    sentence = r"20 % of the weights · 4 bit · no bit errors; .* Got 50 % of the weights · 4 bit"
    wanted = {"bits": 4, "bit_error_rate": 0.0, "guard": "clamp", "seed": 0}
    with pytest.raises(ValueError, match=sentence):
        download_of(name, keep=0.5, **wanted)
    with pytest.raises(ValueError, match=r"Got 20 % of the weights"):
        download_of(name, keep=0.204, **wanted)  # near is not the same
    floats = {"keep": 1.0, "bits": 32, "bit_error_rate": 1e-3}
    for guard, seed in (("none", 0), ("clamp", 1)):
        with pytest.raises(ValueError, match=f"Got .* guard {guard} · seed {seed}"):
            download_of(name, **floats, guard=guard, seed=seed)
    sentence = (
        r"the split must be .*: 100 % at 4 bit · features 4 bit · bit-error rate 0; .* "
        r"Got 100 % at 4 bit · features 3 bit · bit-error rate 0"
    )
    with pytest.raises(ValueError, match=sentence):
        split_of(name, keep=1.0, bits=4, feature_bits=3, bit_error_rate=0.0)
    with pytest.raises(ValueError, match=r"ridge on 4 bit; ridge on 1 bit; network on 4 bit\. Got"):
        heard_of(name, bits=1, attacker="network")
    with pytest.raises(ValueError, match="Got class on 0 bit"):
        heard_of(name, bits=0, attacker="class")
    with pytest.raises(ValueError, match=r"threshold must be a measured one \(0, .*; got 0\.123"):
        exits_of(name, bits=32, point=2, measure="entropy", source="aside").route(0.123)
    for load in (load_exits, load_progressive, load_privacy, load_splits):
        with pytest.raises(ValueError, match=r"root must be one of resnet18-c.*got 'vgg-d"):
            load(ROOT)


def test_the_rows_need_no_torch():
    code = (
        "import sys; from insitu_widgets.network.depth_rows import exits_of;"
        "exits_of('vit-cifar100', bits=4, point=2, measure='entropy', source='aside').route(1.0);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_fewer_bits_and_deeper_splits_give_less_away():
    """What the table shows: every root's features, by a linear attacker."""
    for name in PHOTO_ROOTS:
        fine, coarse = (heard_of(name, bits=bits, attacker="ridge").psnr_db for bits in (4, 1))
        assert all(coarse[point] < fine[point] for point in fine)
        assert list(fine.values()) == sorted(fine.values(), reverse=True)
        assert torch.tensor(list(fine.values())).isfinite().all()
