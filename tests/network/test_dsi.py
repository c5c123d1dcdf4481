"""Messages: what is well-formed becomes a situation; what is not is refused, and harms no other."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from insitu_widgets import Catalogue, Recipe, Situation, choose, load_catalogue
from insitu_widgets.air.channel import GUARDS
from insitu_widgets.levels.recipe import BITS
from insitu_widgets.network import dsi
from insitu_widgets.network.situation import NUMBERS, PRESETS

GOOD = {
    "version": 1,
    "device": "tag 7",
    "application": {"root": "vgg-digits", "name": "reading a meter"},
    "hardware": {"kind": "tag", "bits": [1, 2, 4], "guard": "none"},
    "memory_bytes": 4000,
    "link": {"bandwidth_hz": 2e5, "spectral_efficiency_bps_hz": 0.25, "bit_error_rate": 1e-3},
    "location": {"cell": "museum", "latitude_deg": 22.3, "longitude_deg": 114.2},
    "needs": {"latency_s": 1.0, "accuracy": 0.9},
}


def but(**changes):
    """The good message with other fields; ``link={…}`` adds to the link, ``None`` takes away."""
    message = json.loads(json.dumps(GOOD))
    for name, value in changes.items():
        if value is None:
            del message[name]
        elif isinstance(value, dict):
            message[name].update(value)
        else:
            message[name] = value
    return message


def test_the_schema_is_one_and_knows_the_situations_ranges():
    Draft202012Validator.check_schema(dsi.schema())
    properties = dsi.schema()["properties"]
    places = {
        **properties["link"]["properties"],
        **properties["needs"]["properties"],
        "memory_bytes": properties["memory_bytes"],
    }
    for name, item in NUMBERS.items():
        assert places[name]["minimum"] == item.metadata["low"], name
        assert places[name]["maximum"] == item.metadata["high"], name
    hardware = properties["hardware"]["properties"]
    assert tuple(hardware["guard"]["enum"]) == GUARDS
    assert tuple(hardware["bits"]["items"]["enum"]) == BITS


def test_a_message_becomes_a_situation():
    request = dsi.read(json.dumps(GOOD))
    assert request.situation == Situation(
        root="vgg-digits", application="reading a meter", memory_bytes=4000, guard="none",
        bandwidth_hz=2e5, spectral_efficiency_bps_hz=0.25, bit_error_rate=1e-3, latency_s=1.0,
    )  # fmt: skip
    assert (request.device, request.accuracy, request.cell) == ("tag 7", 0.9, "museum")
    assert request.bits == {1, 2, 4}
    assert request.place_deg == (22.3, 114.2)
    assert dsi.situation_of(GOOD) == request.situation


@pytest.mark.parametrize("name", PRESETS)
def test_write_and_read_are_inverse(name):
    assert dsi.situation_of(dsi.write(PRESETS[name], name)) == PRESETS[name]


@pytest.mark.parametrize(
    ("message", "field", "allowed"),
    [
        (but(memory_bytes=-5), "memory_bytes", "a number from 1000 to 1e+09"),
        (but(memory_bytes="much"), "memory_bytes", "a number from"),
        (but(memory_bytes=True), "memory_bytes", "a number from"),
        (but(link={"bandwidth_hz": -1}), "link.bandwidth_hz", "a number from 1000 to 1e+10"),
        (but(link=None), "link", "given"),
        (but(needs={"latency_s": 0}), "needs.latency_s", "a number from 0.001 to 10"),
        (but(needs={"accuracy": 2}), "needs.accuracy", "a number from 0 to 1"),
        (but(needs={"speed": 2}), "needs.speed", "left out, or one of latency_s, accuracy"),
        (but(version=2), "version", "1"),
        (but(device=""), "device", "text of 1 to 64 characters"),
        (but(hardware={"kind": "fridge"}), "hardware.kind", "one of tag, sensor"),
        (but(hardware={"bits": []}), "hardware.bits", "a list of 1 to 10 entries"),
        (but(hardware={"bits": [9]}), "hardware.bits.0", "one of 1, 2"),
        (but(application={"root": "gpt"}), "application.root", "one of resnet-digits"),
        ({**GOOD, "location": {"latitude_deg": 1}}, "location", "given with both latitude_deg"),
        ({**GOOD, "link": 3}, "link", "an object"),
        ([1], "message", "an object"),
        ("{", "message", "JSON"),
        (b"\xff", "message", "JSON"),
        ('{"memory_bytes": NaN}', "message", "JSON, whose numbers are finite"),
        ("[" * 60_000, "message", "JSON"),
        (" " * 70_000, "message", "at most 65536 bytes"),
        ({"device": {1, 2}}, "message", "JSON"),
        (json.dumps(GOOD).replace("4000", "1e999"), "memory_bytes", "a number from"),
    ],
)
def test_a_malformed_message_is_refused_with_its_reason(message, field, allowed):
    text = json.dumps(message) if isinstance(message, list) else message
    with pytest.raises(dsi.Refused) as caught:
        dsi.read(text)
    refusal = caught.value
    assert refusal.field == field
    assert refusal.allowed.startswith(allowed)
    assert refusal.received
    assert refusal.remedy.endswith(".")
    assert str(refusal).startswith(f"{field} must be ")
    assert len(str(refusal)) < 500


def test_a_refused_message_harms_no_other():
    bad = ["{", but(memory_bytes=-1), None, 7]
    mixed = [GOOD, bad[0], GOOD, bad[1], *bad[2:], GOOD]
    replies = list(dsi.answers(mixed))
    assert [reply.refusal is None for reply in replies] == [True, False, True, *[False] * 3, True]
    assert replies[0].decision == replies[2].decision == replies[-1].decision


def test_a_rate_of_errors_that_was_not_measured_is_refused_and_harms_no_other():
    beyond = but(application={"root": "resnet18-cifar100"}, link={"bit_error_rate": 0.05})
    replies = list(dsi.answers([GOOD, beyond, GOOD]))
    assert [reply.refusal is None for reply in replies] == [True, False, True]
    assert str(replies[1].refusal).startswith(
        "link.bit_error_rate must be at most 0.01, the highest that was measured; got 0.05. "
    )


def test_the_hardware_limits_the_choice():
    (free,) = dsi.answers([but(hardware={"bits": [32]}, memory_bytes=1e6)])
    assert free.decision.recipe.bits == 32
    unlimited = choose(free.request.situation, load_catalogue("vgg-digits"))
    assert unlimited.recipe.bits != 32
    narrow = Catalogue(r for r in load_catalogue("vgg-digits").rows if r.recipe.bits == 4)
    (refused,) = dsi.answers([but(hardware={"bits": [32]})], lambda _: narrow)
    assert refused.refusal.field == "hardware.bits"


def test_mixed_precision_is_for_hardware_of_every_width():
    row = load_catalogue("vgg-digits").find(Recipe("vgg-digits", bits=4), 1e-3, "none")
    mixed = replace(row, recipe=Recipe("vgg-digits", bits=4, mixed=True), num_bits=80)
    known = Catalogue([row, mixed])
    few, every = (
        but(hardware={"bits": bits}, memory_bytes=1e8, link={"bandwidth_hz": 1e8})
        for bits in ([4], [1, 2, 3, 4, 5, 6, 7, 8])
    )
    replies = list(dsi.answers([few, every], lambda _: known))
    assert [reply.decision.recipe.mixed for reply in replies] == [False, True]


def test_a_root_without_measurements_is_refused():
    (refused,) = dsi.answers([GOOD], lambda _: load_catalogue("moon"))
    assert "a root that was measured" in str(refused.refusal)


def test_met_compares_the_accuracy_asked_for():
    low, high = dsi.answers([but(needs={"accuracy": 0.1}), but(needs={"accuracy": 1.0})])
    assert (low.met, high.met) == (True, False)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each),
        max_leaves=6,
    ),
    st.sampled_from([*GOOD, "new"]),
)
def test_whatever_comes_is_understood_or_refused(value, name):
    (answer,) = dsi.answers([{**GOOD, name: value}])
    assert (answer.refusal is None) == (answer.decision is not None)
