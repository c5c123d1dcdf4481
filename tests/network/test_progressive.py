"""Layer by layer: each chunk is a packet, and after each the device can answer."""

import numpy as np
import pytest
import torch

from insitu_widgets import Link, Recipe, derive, pack
from insitu_widgets.network.progressive import arrivals, chunk, chunks

LINK = Link(1e6, delay_s=0.01)


def arrive(root, packets, link=LINK, guard="none", seed=0):
    return list(arrivals(root, packets, link, np.random.default_rng(seed), guard))


def test_each_exit_is_the_roots_own_to_the_bit(root, few):
    for arrival in arrive(root, chunks(root)):
        assert torch.equal(arrival.network(few.images), root(few.images, exit=arrival.exit))
        assert arrival.report.intact


def test_bits_and_time_are_those_of_the_packets(roots):
    packets = chunks(roots["vgg-digits"], keep=0.5, bits=4)
    sent = np.cumsum([packet.num_bits for packet in packets])
    for arrival, bits in zip(arrive(roots["vgg-digits"], packets), sent, strict=True):
        assert arrival.num_bits == bits
        assert arrival.time_s == pytest.approx(0.01 + bits / 1e6)


def test_the_weights_kept_are_the_largest_of_the_whole_root(roots):
    root = roots["vgg-digits"]
    packets = chunks(root, keep=0.25, bits=32)
    kept = sum(len(packet.body) // 4 for packet in packets)
    every = sum(len(packet.body) // 4 for packet in chunks(root))
    assert kept == round(0.25 * every)
    shares = [len(a.body) / len(b.body) for a, b in zip(packets, chunks(root), strict=True)]
    assert max(shares) > 2 * min(shares)


def test_the_whole_costs_little_more_than_in_one_piece(root):
    for bits in (4, 32):
        together = sum(packet.num_bits for packet in chunks(root, bits=bits))
        alone = pack(derive(root, Recipe(root.name, bits=bits))).num_bits
        assert alone < together < 1.05 * alone


def test_errors_are_really_made_and_the_same_for_a_seed(roots, few):
    root = roots["vgg-digits"]
    link = Link(1e6, bit_error_rate=1e-2)
    first, again = (arrive(root, chunks(root), link, "clamp") for _ in range(2))
    assert not any(arrival.report.intact for arrival in first)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.network(few.images), b.network(few.images))
    assert not torch.equal(first[-1].network(few.images), root(few.images))


def test_a_users_root_arrives_like_a_shipped_one(tiny):
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for arrival in arrive(tiny, chunks(tiny)):
        assert torch.equal(arrival.network(images), tiny(images, exit=arrival.exit))


def test_the_root_stays_as_it_is(tiny):
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    arrive(tiny, chunks(tiny, 0.5, 2))
    assert all(torch.equal(before[name], t) for name, t in tiny.state_dict().items())


def test_wrong_input_is_named(tiny):
    with pytest.raises(ValueError, match=r"exit of tiny .* 1 to 2; got 3"):
        chunk(tiny, 3)
    with pytest.raises(ValueError, match="keep"):
        chunks(tiny, 0.0)
    with pytest.raises(ValueError, match="guard"):
        arrive(tiny, chunks(tiny), guard="pray")
