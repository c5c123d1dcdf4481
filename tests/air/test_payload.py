import math
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from insitu_widgets import (
    Link,
    Packet,
    PayloadError,
    Recipe,
    Root,
    accuracy,
    derive,
    pack,
    transmit,
    unpack,
)
from insitu_widgets.levels.depth import cut as cut_at
from insitu_widgets.levels.derive import sent as send
from insitu_widgets.levels.recipe import BITS, MIXED_BITS
from tests.conftest import DIGITS_ROOTS, losses_of

CHECKSUM = slice(24, 28)
FIRST_FIELD = 28  # after magic, version, lengths and checksums
ENVELOPE = (
    r"^(header: (not a sub-model packet|format version \d+|truncated|too long|damaged)"
    r"|body: \d+ bytes arrived).+\.$"
)
cuts = st.tuples(
    st.floats(0.001, 1) | st.just(1.0),
    st.sampled_from(BITS),
)


def signed(header):
    """A header with its length and its checksum made right: what a faulty sender could send."""
    fresh = bytearray(header)
    fresh[8:12] = struct.pack("<I", len(fresh))
    fresh[CHECKSUM] = bytes(4)
    fresh[CHECKSUM] = struct.pack("<I", zlib.crc32(fresh))
    return bytes(fresh)


def values_of(submodel):
    return torch.cat([layer.values.flatten().float() for layer in submodel.layers])


@pytest.fixture(scope="module")
def packets(tiny, roots):
    """Packets of every kind of header: pruned or not, codes or floats, a user's or a shipped root.

    Each with what unpack needs besides: the user's own root, or nothing.
    """
    cuts_ = [(2, 0.3, 3), (None, 1.0, 8), (1, 0.5, 16), (None, 1.0, 32), (1, 1e-9, 1)]
    mine = [(pack(derive(tiny, Recipe("tiny", *cut))), tiny) for cut in cuts_]
    mixed = Recipe("tiny", 2, 0.5, 3, mixed=True)
    mine.append((pack(derive(tiny, mixed, sensitivity=losses_of(tiny, 2))), tiny))
    vgg = roots["vgg-digits"]
    return [*mine, (pack(derive(vgg, Recipe(vgg.name, 2, 0.3, 4))), None)]


# There and back


@given(st.sampled_from([1, 2, None]), cuts)
@settings(max_examples=80)
def test_a_users_sub_model_comes_back_to_the_bit(tiny, exit_, cut):
    sent = derive(tiny, Recipe("tiny", exit_, *cut))
    packet = pack(sent)
    arrived, report = unpack(packet, root=tiny)
    assert arrived == sent
    assert (report.intact, report.out_of_range, report.not_a_number) == (True, 0, 0)
    assert sum(packet.breakdown().values()) == packet.num_bits


@given(st.sampled_from(DIGITS_ROOTS), st.integers(1, 6), cuts)
@settings(max_examples=40)
def test_a_shipped_sub_model_comes_back_to_the_bit(roots, name, exit_, cut):
    sent = derive(roots[name], Recipe(name, exit_, *cut))
    packet = pack(sent)
    arrived, _ = unpack(packet)
    assert arrived == sent
    assert pack(arrived) == packet
    assert sum(packet.breakdown().values()) == packet.num_bits


@pytest.mark.parametrize("mixed", [False, True])
def test_a_recalibrated_sub_model_comes_back_with_its_norms_in_as_many_bits(roots, mixed):
    plain = Recipe("resnet-digits", 4, 0.2, 3, mixed=mixed)
    recipe = replace(plain, recalibrated=True)
    sent = derive(roots["resnet-digits"], recipe)
    packet, before = pack(sent), pack(derive(roots["resnet-digits"], plain))
    arrived, _ = unpack(packet)
    assert arrived == sent
    assert arrived.recipe == recipe
    assert packet.body == before.body
    assert packet.breakdown() == before.breakdown()
    assert packet.header != before.header


@given(st.sampled_from([1, 2]), st.floats(0.001, 1) | st.just(1.0), st.sampled_from(MIXED_BITS))
def test_a_mixed_sub_model_comes_back_to_the_bit(tiny, exit_, keep, bits):
    recipe = Recipe("tiny", exit_, keep, bits, mixed=True)
    sent = derive(tiny, recipe, sensitivity=losses_of(tiny, exit_))
    packet = pack(sent)
    arrived, report = unpack(packet, root=tiny)
    assert arrived == sent
    assert [layer.bits for layer in arrived.layers] == [layer.bits for layer in sent.layers]
    assert report.intact
    assert pack(arrived) == packet
    assert sum(packet.breakdown().values()) == packet.num_bits
    codes = sum(layer.bits * layer.values.numel() for layer in sent.layers)
    assert 8 * len(packet.body) - 7 * len(sent.layers) <= codes <= bits * sent.num_weights


@pytest.mark.parametrize("bits", [1, 4, 16, 32])
def test_it_computes_what_the_sender_computes(root, few, bits):
    sent = derive(root, Recipe(root.name, 3, 0.4, bits))
    arrived, _ = unpack(pack(sent))
    assert torch.equal(arrived(few.images), sent(few.images))


@pytest.mark.parametrize("cut", [(None, 1.0, 32), (2, 0.2, 4), (None, 0.5, 8)])
def test_a_photo_roots_sub_model_comes_back_to_the_bit(photo_root, noise, cut):
    sent = derive(photo_root, Recipe(photo_root.name, *cut))
    arrived, _ = unpack(pack(sent))
    assert arrived == sent
    with torch.inference_mode():
        assert torch.equal(arrived(noise.images[:2]), sent(noise.images[:2]))


@pytest.mark.parametrize("guard", ["none", "clamp", "zero"])
@pytest.mark.parametrize("bits", BITS)
def test_no_guard_touches_what_arrived_whole(tiny, bits, guard):
    sent = derive(tiny, Recipe("tiny", keep=0.7, bits=bits))
    arrived, report = unpack(pack(sent), guard, tiny)
    assert arrived == sent
    assert (report.guard, report.out_of_range, report.not_a_number) == (guard, 0, 0)


def test_the_receiver_needs_the_architecture_only(tiny):
    """The user's root at the receiver has other weights; none of them reaches the sub-model."""
    blank = Root.wrap("tiny", tiny.stem, tiny.blocks, tiny.heads)
    for tensor in [*blank.parameters(), *blank.buffers()]:
        tensor.fill_(math.nan)
    sent = derive(tiny, Recipe("tiny", keep=0.5, bits=4))
    arrived, _ = unpack(pack(sent), root=blank)
    assert arrived == sent
    assert torch.equal(arrived(torch.ones(1, 1, 8, 8)), sent(torch.ones(1, 1, 8, 8)))


# The bytes

GOLDEN = [
    # three bits, pruned to a half: masks and scales
    (
        Recipe("golden", exit=1, keep=0.5, bits=3),
        [
            ("49534d44", "magic: ISMD"),
            ("01 000000", "version 1, three zero bytes"),
            ("67000000", "header length: 103"),
            ("0300000000000000", "body length: 3"),
            ("a1ec1300", "CRC-32 of the body"),
            ("cef5a985", "CRC-32 of the header"),
            ("0100", "exit 1"),
            ("03", "3 bits"),
            ("000000000000e03f", "keep 0.5"),
            ("0200", "2 layers"),
            ("04000000", "4 scales"),
            ("b15726a4", "CRC-32 of the architecture"),
            ("0600 676f6c64656e", "the root's name: 6 bytes, golden"),
            ("02 00 05000000 01000000", "layer 1: bitmap, no parameter, 5 kept, 1 byte of mask"),
            ("02 00 01000000 01000000", "layer 2: bitmap, no parameter, 1 kept, 1 byte of mask"),
            ("b5", "mask of layer 1: 1011 0101"),
            ("80", "mask of layer 2: 1000, padded"),
            ("0000803f 0000803f", "scales of layer 1: 1, 1"),
            ("0000003f 00008000", "scales of layer 2: 0.5, and the smallest for an empty channel"),
            ("0000003f 000080bf", "bias: 0.5, -1"),
        ],
        [
            ("eb0a", "layer 1: codes 7 2 6 0 5: 111 010 110 000 101, padded"),
            ("e0", "layer 2: code 7: 111, padded"),
        ],
    ),
    # half precision, nothing pruned: ranges, no mask, no scale
    (
        Recipe("golden", bits=16),
        [
            ("49534d44 01 000000 65000000", "magic, version 1, header length: 101"),
            ("1800000000000000 c940355f", "body length: 24, CRC-32 of the body"),
            ("a674c57c", "CRC-32 of the header"),
            ("0000 10 000000000000f03f", "last exit, 16 bits, keep 1"),
            ("0200 00000000 b15726a4", "2 layers, no scale, CRC-32 of the architecture"),
            ("0600 676f6c64656e", "the root's name: 6 bytes, golden"),
            ("00 00 08000000 00000000", "layer 1: all 8 kept, no mask"),
            ("000060c0 00006040", "layer 1: from -3.5 to 3.5"),
            ("00 00 04000000 00000000", "layer 2: all 4 kept, no mask"),
            ("0000a0bf 0000e03f", "layer 2: from -1.25 to 1.75"),
            ("0000003f 000080bf", "bias: 0.5, -1"),
        ],
        [
            ("0043 0034 00be 0041", "layer 1, channel 1: 3.5 0.25 -1.5 2.5"),
            ("0000 00c3 0030 003e", "layer 1, channel 2: 0 -3.5 0.125 1.5"),
            ("003f 0038 00bd 00b4", "layer 2: 1.75 0.5 -1.25 -0.25"),
        ],
    ),
]


def joined(part):
    return bytes.fromhex("".join(text for text, _ in part))


@pytest.fixture(scope="module")
def golden():
    """A root whose weights are exact in binary, and stay so through every step of the coding."""
    blocks, heads = [nn.Linear(4, 2, bias=False)], [nn.Linear(2, 2)]
    root = Root.wrap("golden", nn.Flatten(), blocks, heads)
    block, head = root.blocks[0], root.heads[0]
    block.weight.copy_(torch.tensor([[3.5, 0.25, -1.5, 2.5], [0.0, -3.5, 0.125, 1.5]]))
    head.weight.copy_(torch.tensor([[1.75, 0.5], [-1.25, -0.25]]))
    head.bias.copy_(torch.tensor([0.5, -1.0]))
    return root


@pytest.mark.parametrize(("recipe", "header", "body"), GOLDEN, ids=["3 bits", "16 bits"])
def test_golden_bytes(golden, recipe, header, body):
    header, body = joined(header), joined(body)
    packet = pack(derive(golden, recipe))
    assert packet.header.hex(" ") == header.hex(" ")
    assert packet.body.hex(" ") == body.hex(" ")
    assert unpack(Packet(header, body), root=golden)[0] == derive(golden, recipe)


def test_golden_bytes_of_a_mixed_packet(golden):
    """With three bits for each layer it is the first packet above, but for bits and widths."""
    recipe, header, body = GOLDEN[0]
    fields = [bytes.fromhex(text) for text, _ in header]
    masks = {layer.name: layer.mask for layer in derive(golden, recipe).layers}
    mixed = Recipe("golden", exit=1, keep=0.5, bits=3, mixed=True)
    three = send(cut_at(golden, 1), mixed, masks, widths=dict.fromkeys(masks, 3))
    fields[7] = b"\x83"  # 3 bits, and 128 more: mixed
    fields.insert(15, b"\x48")  # after the records, widths less 1: 010 010, padded
    packet = pack(three)
    assert packet.header.hex(" ") == signed(b"".join(fields)).hex(" ")
    assert packet.body == joined(body)
    assert unpack(packet, root=golden)[0] == three
    plain = pack(derive(golden, recipe)).breakdown()
    grown = {"topology": plain["topology"] + 8}
    assert packet.breakdown() == plain | grown


def test_the_golden_checksums_are_zlibs():
    for _, *parts in GOLDEN:
        header, body = map(joined, parts)
        assert signed(header) == header
        assert struct.unpack_from("<I", header, 20) == (zlib.crc32(body),)
    names = "blocks.0.weight(2, 4)\nhead.weight(2, 2)\nhead.bias(2,)"
    assert zlib.crc32(names.encode()) == struct.unpack("<I", bytes.fromhex("b15726a4"))[0]


def test_the_whole_root_is_its_weights_side_by_side(root):
    weights = [p for name, p in root.named_parameters() if p.ndim > 1 and name.endswith("weight")]
    used = [
        w for w in weights if not any(w is h for head in root.heads[:-1] for h in head.parameters())
    ]
    packet = pack(derive(root, Recipe(root.name)))
    assert packet.body == b"".join(weight.numpy().tobytes() for weight in used)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("keep", [1.0, 0.3])
def test_the_breakdown_says_where_each_bit_went(tiny, keep, bits):
    submodel = derive(tiny, Recipe("tiny", 2, keep, bits))
    packet = pack(submodel)
    parts = packet.breakdown()
    kept = [layer.values.numel() for layer in submodel.layers]
    assert list(parts) == ["topology", "mask", "scales", "norms and biases", "parameters"]
    assert parts["parameters"] == 8 * len(packet.body) == sum(8 * -(-n * bits // 8) for n in kept)
    assert parts["norms and biases"] == 32 * sum(t.numel() for t in submodel.rest.values())
    channels = sum(layer.mask.shape[0] for layer in submodel.layers)
    assert parts["scales"] == (32 * channels if bits <= 8 else 64 * len(submodel.layers))
    assert (parts["mask"] == 0) == (keep == 1.0)
    assert parts["topology"] == 8 * (FIRST_FIELD + 23 + len("tiny") + 10 * len(submodel.layers))
    assert sum(parts.values()) == packet.num_bits == 8 * len(packet.header + packet.body)


# Damage to the envelope


@given(st.data())
@settings(max_examples=200)
def test_flipped_header_bytes_are_always_noticed(packets, data):
    packet, root = data.draw(st.sampled_from(packets))
    places = st.integers(0, len(packet.header) - 1)
    turned = data.draw(st.dictionaries(places, st.integers(1, 255), min_size=1, max_size=6))
    header = bytearray(packet.header)
    for place, mask in turned.items():
        header[place] ^= mask
    with pytest.raises(PayloadError, match=ENVELOPE):
        unpack(Packet(bytes(header), packet.body), root=root)


def test_every_single_bit_of_the_header_is_guarded(packets):
    for packet, root in packets[:6]:
        for place in range(8 * len(packet.header)):
            header = bytearray(packet.header)
            header[place // 8] ^= 1 << place % 8
            with pytest.raises(PayloadError, match=ENVELOPE):
                unpack(Packet(bytes(header), packet.body), root=root)


@given(st.data())
def test_a_header_cut_short_or_grown_is_noticed(packets, data):
    packet, root = data.draw(st.sampled_from(packets))
    length = data.draw(st.integers(0, len(packet.header) - 1))
    more = data.draw(st.binary(min_size=1, max_size=40))
    with pytest.raises(PayloadError, match=rf"^header: truncated, {length} bytes of .+ Ask for"):
        unpack(Packet(packet.header[:length], packet.body), root=root)
    with pytest.raises(PayloadError, match=r"^header: too long, .+ Ask for the packet again"):
        unpack(Packet(packet.header + more, packet.body), root=root)


@given(st.data())
def test_a_body_cut_short_or_grown_is_noticed(packets, data):
    packet, root = data.draw(st.sampled_from(packets))
    length = data.draw(st.integers(0, len(packet.body) - 1))
    more = data.draw(st.binary(min_size=1, max_size=40))
    for body in (packet.body[:length], packet.body + more):
        with pytest.raises(PayloadError, match=rf"^body: {len(body)} bytes arrived, .+ Ask for"):
            unpack(Packet(packet.header, body), root=root)


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_any_other_bytes_are_no_packet(header, body):
    with pytest.raises(PayloadError, match=ENVELOPE):
        unpack(Packet(header, body))


def test_each_fault_has_its_own_sentence(packets):
    packet, root = packets[0]

    def sentence(header=packet.header, body=packet.body):
        with pytest.raises(PayloadError) as caught:
            unpack(Packet(header, body), root=root)
        return str(caught.value)

    version = bytearray(packet.header)
    version[4] = 2
    damaged = bytearray(packet.header)
    damaged[40] ^= 1
    assert "not a sub-model packet, it begins with b'SISM'" in sentence(b"SISM" + packet.header)
    assert "format version 2, this receiver reads version 1" in sentence(bytes(version))
    assert "format version 2" in sentence(signed(version))
    assert "damaged, its checksum does not match" in sentence(bytes(damaged))
    assert "header: truncated" in sentence(packet.header[:-1])
    assert "header: too long" in sentence(packet.header + b"\0")
    assert "body: 0 bytes arrived" in sentence(body=b"")


# A sender that contradicts itself, or means another root


def test_an_unknown_root_is_refused(packets):
    with pytest.raises(
        PayloadError, match=r"does not know the architecture 'tiny'.+unpack\(packet"
    ):
        unpack(packets[0][0])


def test_another_root_is_refused(packets, roots):
    with pytest.raises(PayloadError, match="the packet is for 'tiny', the root given is 'vgg-dig"):
        unpack(packets[0][0], root=roots["vgg-digits"])


def test_another_architecture_of_the_same_name_is_refused(tiny, roots):
    wider = Root.wrap("tiny", nn.Flatten(), [nn.Linear(64, 5)], [nn.Linear(5, 3)])
    fake = Root("vgg-digits", nn.Flatten(), [nn.Linear(64, 5)], [nn.Linear(5, 3)]).eval()
    with pytest.raises(PayloadError, match="made for another architecture of 'tiny'"):
        unpack(pack(derive(tiny, Recipe("tiny"))), root=wider)
    with pytest.raises(
        PayloadError, match="the packet is for exit 2, this receiver's 'tiny' has 1"
    ):
        unpack(pack(derive(tiny, Recipe("tiny", exit=2))), root=wider)
    with pytest.raises(PayloadError, match="made for another architecture of 'vgg-digits'"):
        unpack(pack(derive(fake, Recipe("vgg-digits"))))
    with pytest.raises(PayloadError, match="made for another architecture of 'vgg-digits'"):
        unpack(pack(derive(roots["vgg-digits"], Recipe("vgg-digits"))), root=fake)


@given(st.data())
@settings(max_examples=200)
def test_a_signed_contradiction_is_a_payload_error_or_a_model(packets, data):
    """Whatever the checksums vouch for, nothing but PayloadError is ever raised."""
    packet, root = data.draw(st.sampled_from(packets[:6]))
    names = FIRST_FIELD + 23 + len("tiny") + 90  # the fields and the records, not only the floats
    places = st.integers(FIRST_FIELD, min(len(packet.header), names) - 1)
    values = st.sampled_from([0, 1, 2, 127, 128, 255]) | st.integers(0, 255)
    header = bytearray(packet.header)
    for place, value in data.draw(st.dictionaries(places, values, max_size=4)).items():
        header[place] = value
    header = header[: data.draw(st.just(len(header)) | st.integers(FIRST_FIELD, len(header)))]
    forged = Packet(signed(header), packet.body)
    guard = data.draw(st.sampled_from(["none", "clamp", "zero"]))
    try:
        submodel, _ = unpack(forged, guard, root)
    except PayloadError as error:
        assert str(error).startswith(("header: ", "body: "))  # noqa: PT017
    else:
        assert submodel(torch.zeros(1, 1, 8, 8)).shape == (1, 3)
        assert submodel.num_weights == sum(int(layer.mask.sum()) for layer in submodel.layers)


def forged(packet, at, fields, *values):
    header = bytearray(packet.header)
    struct.pack_into(fields, header, at, *values)
    return Packet(signed(header), packet.body)


@pytest.mark.parametrize(
    ("at", "fields", "value", "sentence"),
    [
        (28, "<H", 2000, "its fields do not make a packet .exit of tiny must be"),
        (30, "<B", 9, "its fields do not make a packet .bits must be one of"),
        (30, "<B", 128 + 9, "its fields do not make a packet .bits must be one of"),
        (30, "<B", 128 + 1, "its fields do not make a packet .bits of a mixed recipe must be"),
        (30, "<B", 128 + 16, "its fields do not make a packet .bits of a mixed recipe must be"),
        (31, "<d", math.nan, "its fields do not make a packet .keep must be"),
        (31, "<d", 0.0, "its fields do not make a packet .keep must be a number above 0"),
        (39, "<H", 60_000, "its fields do not make a packet"),
        (39, "<H", 1, "body: the layers need"),
        (41, "<I", 2**31, "its masks and scales are longer than the header"),
        (41, "<I", 0, "another architecture"),
        (45, "<I", 0, "another architecture"),
        (51, "<4s", b"\xff\xff\xff\xff", "its fields do not make a packet .*utf-8"),
        (51, "<4s", b"tony", "the packet is for 'tony'"),
        (57, "<I", 26, "body: the layers need|mask: the bytes are not a mask"),
        (57, "<I", 2**32 - 1, "body: the layers need"),
        (55, "<B", 7, "mask: the bytes are not a mask of 27 positions"),
    ],
)
def test_each_forged_field_has_a_sentence(tiny, at, fields, value, sentence):
    packet = forged(pack(derive(tiny, Recipe("tiny", 2, 0.3, 8))), at, fields, value)
    with pytest.raises(PayloadError, match=sentence):
        unpack(packet, root=tiny)


@pytest.mark.parametrize("end", [1e6, -1e6, math.inf])
@pytest.mark.parametrize("guard", ["none", "clamp", "zero"])
def test_a_forged_range_beyond_half_precision_has_a_sentence(tiny, end, guard):
    first_range = FIRST_FIELD + 23 + len("tiny") + 10
    packet = forged(pack(derive(tiny, Recipe("tiny", bits=16))), first_range, "<f", end)
    with pytest.raises(PayloadError, match="a layer's range is beyond half precision"):
        unpack(packet, guard, tiny)


def test_a_header_that_ends_before_its_widths_has_a_sentence(packets):
    packet, tiny = packets[5]
    records = FIRST_FIELD + 23 + len("tiny") + 10 * 4
    short = Packet(signed(packet.header[:records]), packet.body)
    with pytest.raises(PayloadError, match="the widths of its layers are longer than the header"):
        unpack(short, root=tiny)


def test_a_header_that_cannot_be_read_has_no_breakdown(packets):
    packet, _ = packets[0]
    with pytest.raises(PayloadError, match="header: truncated"):
        Packet(packet.header[:20], packet.body).breakdown()


def test_a_guard_that_does_not_exist_is_refused(packets):
    with pytest.raises(ValueError, match="guard must be one of none, clamp, zero; got 'clip'"):
        unpack(packets[0][0], "clip", packets[0][1])


# Damage to the body


def test_a_thousand_corruptions_leave_nothing_infinite_behind_a_guard(tiny):
    """Every bit width, both guards, bit errors from a few to noise; without a guard none raises."""
    sent = {
        bits: pack(derive(tiny, Recipe("tiny", None if bits % 2 else 1, keep, bits)))
        for bits, keep in [(1, 1.0), (3, 0.5), (8, 1.0), (16, 1.0), (32, 0.4)]
    }
    ranges = {
        bits: [(layer.values.min(), layer.values.max()) for layer in unpack(p, root=tiny)[0].layers]
        for bits, p in sent.items()
    }
    infinite = 0
    for seed in range(1000):
        bits = (1, 3, 8, 16, 32)[seed % 5]
        error_rate = 10 ** -(seed % 31 / 10) / 2
        arrived = transmit(sent[bits], Link(1.0, bit_error_rate=error_rate), seed)
        guarded, _ = unpack(arrived, ("clamp", "zero")[seed % 2], tiny)
        for layer, (low, high) in zip(guarded.layers, ranges[bits], strict=True):
            assert layer.dense().isfinite().all()
            if bits > 8:
                inside = (layer.values >= low) & (layer.values <= high)
                assert (inside | (layer.values == 0)).all()
        bare, report = unpack(arrived, "none", tiny)
        infinite += not values_of(bare).isfinite().all()
        assert report.intact == (arrived.body == sent[bits].body)
    assert infinite > 100


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("guard", ["none", "clamp", "zero"])
def test_the_guards_against_a_naive_loop(tiny, bits, guard):
    packet = pack(derive(tiny, Recipe("tiny", 1, 0.6, bits)))
    before = [layer.values.tolist() for layer in unpack(packet, root=tiny)[0].layers]
    arrived = transmit(packet, Link(1.0, bit_error_rate=0.05), 0)
    raw = [layer.values.tolist() for layer in unpack(arrived, root=tiny)[0].layers]
    submodel, report = unpack(arrived, guard, tiny)
    missing = beyond = 0
    for layer, sent, values in zip(submodel.layers, before, raw, strict=True):
        low, high, expected = min(sent), max(sent), []
        for value in values:
            nan, out = math.isnan(value), value < low or value > high
            missing, beyond = missing + nan, beyond + out
            inside = 0.0 if nan else min(max(value, low), high)
            zero = 0.0 if nan or out else value
            expected.append({"none": value, "clamp": inside, "zero": zero}[guard])
        np.testing.assert_array_equal(layer.values.double().numpy(), np.array(expected))
    assert (report.not_a_number, report.out_of_range) == (missing, beyond)
    assert missing > 0
    assert beyond > missing


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_codes_cannot_leave_their_range_so_no_guard_acts(tiny, bits):
    packet = pack(derive(tiny, Recipe("tiny", keep=0.5, bits=bits)))
    arrived = transmit(packet, Link(1.0, bit_error_rate=0.2), 0)
    models = [unpack(arrived, guard, tiny)[0] for guard in ("none", "clamp", "zero")]
    assert models[0] == models[1] == models[2] != unpack(packet, root=tiny)[0]
    assert (values_of(models[0]) < 2**bits).all()


@given(st.data())
def test_any_body_of_the_right_length_makes_a_model(packets, tiny, data):
    packet, root = data.draw(st.sampled_from(packets))
    size = len(packet.body)
    assume(size < 1000)
    body = data.draw(st.binary(min_size=size, max_size=size))
    guard = data.draw(st.sampled_from(["clamp", "zero"]))
    submodel, report = unpack(packet.with_body(body), guard, root)
    assert all(layer.dense().isfinite().all() for layer in submodel.layers)
    assert report.intact == (zlib.crc32(body) == zlib.crc32(packet.body))
    unpack(packet.with_body(body), "none", root)


def test_without_a_guard_a_ruined_model_evaluates_to_its_honest_accuracy(root, few):
    packet = pack(derive(root, Recipe(root.name)))
    floats = np.frombuffer(packet.body, "<f4").copy()
    floats[::50], floats[1::50], floats[2::50] = np.inf, np.nan, -np.inf
    ruined, report = unpack(packet.with_body(floats.tobytes()))
    assert report.not_a_number == len(floats[1::50])
    assert report.out_of_range == len(floats[::50]) + len(floats[2::50])
    assert values_of(ruined).numpy().tobytes() == floats.tobytes()
    logits = ruined(few.images).numpy()
    assert np.isnan(logits).any()
    *_, last = accuracy(ruined, few)
    assert last.correct == int((logits.argmax(1) == few.labels.numpy()).sum())
    assert last.seen == len(few)
