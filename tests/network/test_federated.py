"""Federation: shares, packed updates, and a root that grows better."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from insitu_widgets import Recipe, derive, load_data, pack, unpack
from insitu_widgets.network.federated import (
    Federation,
    federate,
    fresh_root,
    pack_update,
    read_update,
    share_out,
    young_root,
)
from insitu_widgets.network.tuning import Tuning


@pytest.fixture(scope="module")
def train():
    return load_data("digits", "train", 300)


@pytest.fixture(scope="module")
def young(train):
    return young_root("vgg-digits", train.take(torch.arange(40)), Tuning(2, 2e-3), seed=0)


@given(
    devices=st.integers(1, 9), alpha=st.sampled_from([0.01, 0.1, 1.0, 1e4]), seed=st.integers(0, 99)
)
def test_every_image_is_on_one_device(devices, alpha, seed):
    labels = torch.arange(200) % 7
    parts = share_out(labels, devices, alpha, seed)
    assert len(parts) == devices
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(200))


def test_alpha_says_how_alike_the_devices_are():
    labels = torch.arange(1000) % 10

    def spread(alpha):
        counts = [labels[p].bincount(minlength=10) for p in share_out(labels, 4, alpha, 0)]
        return float(torch.stack(counts).float().std(0).mean())

    assert spread(1e4) < 1.5 < spread(1.0) < spread(0.1)


def test_a_fresh_root_is_its_seed_s_and_draws_on_nobody_s_generator(root):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one, two = fresh_root(root.name, 1), fresh_root(root.name, 1)
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name])
        assert tensor.shape == root.state_dict()[name].shape
    assert one(torch.randn(2, 1, 8, 8)).isfinite().all()


@pytest.mark.parametrize(("bits", "close"), [(32, 1e-6), (8, 0.03), (1, 1.0)])
def test_an_update_is_the_difference(root, bits, close):
    before, after = fresh_root(root.name, 1), root
    packet = pack_update(before, after, 1.0, bits)
    update = read_update(packet, before)
    assert update.keys() == root.state_dict().keys()
    for name, change in update.items():
        wanted = after.state_dict()[name] - before.state_dict()[name]
        error = (change - wanted).square().mean().sqrt()
        assert error <= close * wanted.square().mean().sqrt() + 1e-7
    weights = sum(
        p.numel() for n, p in root.named_parameters() if p.ndim > 1 and n[-6:] == "weight"
    )
    assert packet.breakdown()["parameters"] == pytest.approx(bits * weights, rel=1e-3)


def test_bits_are_those_of_the_packets_and_fewer_for_fewer(train, young):
    parts = share_out(train.labels, 2, 10.0, 0)
    uplinked = []
    for bits, keep in ((32, 1.0), (4, 1.0), (4, 0.1)):
        _, last = federate(young, train, parts, Federation(1, Tuning(1, batch=100), bits, keep))
        uplinked.append(last.uplink_bits)
    assert uplinked[0] > uplinked[1] > uplinked[2]
    packet = pack_update(young, young, 1.0, 4)
    assert uplinked[1] == 2 * packet.num_bits


def test_one_device_with_whole_floats_is_training_itself(train, young):
    parts = [torch.arange(len(train))]
    steps = list(federate(young, train, parts, Federation(2, Tuning(1, 2e-3, 50), bits=32)))
    assert [step.number for step in steps] == [0, 1, 2]
    assert steps[2].loss < steps[1].loss
    assert steps[0].uplink_bits == 0
    for name, tensor in steps[0].root.state_dict().items():
        assert torch.equal(tensor, young.state_dict()[name])


def test_the_improved_root_can_be_downloaded(train, young, few):
    before = {name: tensor.clone() for name, tensor in young.state_dict().items()}
    parts = share_out(train.labels, 3, 1.0, 0)
    *_, last = federate(young, train, parts, Federation(4, Tuning(2, 3e-3, 25), bits=4))
    for name, tensor in young.state_dict().items():
        assert torch.equal(tensor, before[name])
    received, report = unpack(pack(derive(last.root, Recipe("vgg-digits", bits=8))))
    assert report.intact
    right = [int((m(few.images).argmax(1) == few.labels).sum()) for m in (young, received)]
    assert right[1] > right[0] + 5


def test_feedback_makes_up_for_what_was_left_out(train, young):
    share = [torch.arange(100)]
    roots = []
    for feedback in (True, False):
        plan = Federation(2, Tuning(1, 1e-3, 50), bits=8, keep=0.02, feedback=feedback)
        *_, last = federate(young, train, share, plan)
        roots.append(last.root.state_dict())
    assert any(not torch.equal(roots[0][name], roots[1][name]) for name in roots[0])


def test_wrong_input(train, young):
    plan = Federation(1, Tuning())
    with pytest.raises(
        ValueError, match=r"device 2 of 2 must have at least 1 image; got 0\. Raise"
    ):
        next(federate(young, train, [torch.arange(3), torch.arange(0)], plan))
    with pytest.raises(ValueError, match="devices must be a whole number from 1"):
        next(federate(young, train, [], plan))
    with pytest.raises(ValueError, match=r"alpha must be a number from 0\.001"):
        share_out(train.labels, 3, 0.0, 0)
    with pytest.raises(ValueError, match="rounds must be"):
        Federation(0, Tuning())
    with pytest.raises(ValueError, match="bits must be one of"):
        Federation(1, Tuning(), bits=5.5)
    with pytest.raises(ValueError, match="root must be one of"):
        fresh_root("no-root", 0)
