"""Training against bit errors measured before: every accuracy is that of received bytes."""

from collections import deque

import pytest

from insitu_widgets import Link, Recipe, accuracy, derive, load_data, load_root, pack, unpack
from insitu_widgets.air.channel import transmit
from insitu_widgets.levels.retrain import Hardening, retrain
from insitu_widgets.network import hardened
from insitu_widgets.network.catalogue import shipped
from insitu_widgets.network.hardened import (
    BIT_ERROR_RATES,
    BITS,
    CLIP,
    COLUMNS,
    FLIPPED,
    NOT_TRAINED,
    SUFFIX,
    TRAINED,
    WAYS,
    load_hardened,
    main,
    read,
)

ROOT = "vgg-digits"


@pytest.fixture
def command(tmp_path, monkeypatch):
    path = tmp_path / "some.csv"
    monkeypatch.setattr(hardened, "BIT_ERROR_RATES", (0.0, 1e-2))

    def run(*options, ways=WAYS):
        monkeypatch.setattr(hardened, "WAYS", ways)
        main([ROOT, "--images", "200", "--steps", "5", "--batch", "50", "--draws", "2", "--out",
              str(path), *options])  # fmt: skip
        with path.open() as file:
            return path, list(read(file))

    return run


def test_its_rows_are_what_arrives(command):
    _, rows = command()
    root, images = load_root(ROOT), load_data("digits", limit=200)
    plans = {
        NOT_TRAINED: None,
        TRAINED: Hardening(4, 5, peak_rate=5e-4, batch=50),
        FLIPPED: Hardening(4, 5, 1e-2, 1.5, 5e-4, 50),
    }
    draws = ((0.0, 0), (1e-2, 0), (1e-2, 1))
    assert [(row.network, row.bit_error_rate, row.seed) for row in rows] == [
        (network, *draw) for network in plans for draw in draws
    ]
    for network, plan in plans.items():
        mine = [row for row in rows if row.network == network]
        trained = root
        if plan:
            steps = retrain(root, load_data("digits", "train"), plan)
            trained = deque(steps, maxlen=1).pop().as_root(root)
        packet = pack(derive(trained, Recipe(ROOT, bits=4)))
        for row, (rate, seed) in zip(mine, draws, strict=True):
            assert row.plan == plan
            assert (row.seconds > 0) == bool(plan)
            arrived, _ = unpack(transmit(packet, Link(1.0, bit_error_rate=rate), seed))
            *_, estimate = accuracy(arrived, images)
            assert (row.right, row.seen) == (estimate.correct, estimate.seen)


def test_it_goes_on_with_the_next_network(command, monkeypatch):
    path, rows = command(ways=WAYS[:2])
    text = path.read_text()
    done = []
    measure = hardened.measure
    monkeypatch.setattr(hardened, "measure", lambda *all_: done.append(all_[1]) or measure(*all_))
    _, more = command()
    assert path.read_text().startswith(text)
    assert more[: len(rows)] == rows
    assert done == [FLIPPED]


def test_another_pace_is_refused_and_nonsense_is_told(command, capsys):
    command(ways=WAYS[:1])
    for option in (("--peak-rate", "1e-3"), ("--draws", "3"), ("--batch", "20")):
        with pytest.raises(SystemExit, match="other weights or images"):
            command(*option)
    for option, told in (("--steps", "steps must be"), ("--draws", "--draws must be")):
        with pytest.raises(SystemExit):
            command(option, "0")
        assert told in capsys.readouterr().err


def test_a_root_without_a_table_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^root must be one of .*; got 'vgg-digits'\. Choose"):
        load_hardened(ROOT)


def test_what_is_shipped_is_whole():
    assert "resnet18-cifar100" in shipped(SUFFIX)
    for root in shipped(SUFFIX):
        rows = load_hardened(root)
        assert list(dict.fromkeys(row.network for row in rows)) == list(WAYS)
        for network in WAYS:
            mine = [row for row in rows if row.network == network]
            assert [row.bit_error_rate for row in mine] == [
                rate for rate in BIT_ERROR_RATES for _ in range(5 if rate else 1)
            ]
            (plan,) = {row.plan for row in mine}
            assert plan is None or plan.bits == BITS
        assert rows[-1].plan.clip == CLIP
        assert len(hardened.written(root, rows[0])) == len(COLUMNS)
