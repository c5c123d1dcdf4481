"""Situations as links: what a link holds, and what is said of a wrong one."""

import re
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from insitu_widgets import Recipe, Situation
from insitu_widgets.network.permalink import LABELS, NAMES, from_query, to_query
from tests.network.test_situation import situations


@given(situations())
@example(Situation())
@example(Situation(application="50 % & more = ü?#+.0", latency_s=1 / 3))
@settings(max_examples=100)
def test_a_link_opens_the_same_situation(situation):
    query = to_query(situation)
    assert from_query(query) == (situation, ())
    assert from_query(f"?{query}") == (situation, ())
    assert re.fullmatch(r"[\w.%&=+~-]*", query, flags=re.ASCII)


def test_a_link_holds_what_is_not_default_only():
    assert to_query(Situation()) == ""
    assert to_query(Situation(latency_s=2.0, guard="zero")) == "latency_s=2&guard=zero"
    assert from_query("") == (Situation(), ())


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("latency_s=soon", "latency_s"),
        ("latency_s=", "latency_s"),
        ("latency_s=nan", "latency_s"),
        ("bandwidth_hz=-1", "bandwidth_hz"),
        ("memory_bytes=1e99", "memory_bytes"),
        ("bit_error_rate=0.2", "bit_error_rate"),
        ("guard=clip", "guard"),
        ("seed=1.5", "seed"),
        ("seed=-1", "seed"),
        ("seed=²", "seed"),
        ("seed=99999999999", "seed"),
        ("root=alexnet", "root"),
        ("recipe=the+best", "recipe"),
        ("recipe=vgg-digits+·+exit+3+·+keep+20+%25+·+4+bit", "recipe"),
        ("recipe=resnet-digits+·+exit+9+·+keep+20+%25+·+4+bit", "recipe"),
        (f"recipe=resnet-digits+·+exit+{'9' * 400}+·+keep+20+%25+·+4+bit", "recipe"),
        ("recipe=resnet-digits+·+exit+3+·+keep+0+%25+·+4+bit", "recipe"),
        ("recipe=resnet-digits+·+exit+3+·+keep+20+%25+·+9+bit", "recipe"),
        ("as_if=GPT", "as_if"),
    ],
)
def test_a_bad_value_in_a_link_is_reported_and_replaced(query, name):
    situation, problems = from_query(f"{query}&delay_s=0.5")
    assert situation == Situation(delay_s=0.5)
    (problem,) = problems
    assert problem.startswith(f"The link's {LABELS[name]} ({name}=")
    assert ") must " in problem
    assert problem.endswith(" instead.")
    assert len(problem) < 300


@pytest.mark.parametrize(
    ("query", "came", "allowed", "used"),
    [
        (
            "latency_s=0,5",
            "latency budget (latency_s=0,5)",
            "a number from 1 ms to 10 s, written in s without the unit, as in latency_s=0.1",
            "100 ms is used",
        ),
        (
            "memory_bytes=1MB",
            "device memory (memory_bytes=1MB)",
            "a number from 1 kB to 1 GB, written in B without the unit, as in memory_bytes=1000000",
            "1 MB is used",
        ),
        ("guard=Clamp", "guard (guard=Clamp)", "one of none, clamp, zero", "clamp is used"),
        (
            "recipe=vgg-digits · exit 2 · keep 5 %25 · 4 bit",
            "sub-model (recipe=vgg-digits · exit 2 · keep 5 % · 4 bit)",
            "cut from the link's root model, resnet-digits, not from vgg-digits",
            "The network chooses",
        ),
        (
            "recipe=resnet-digits · exit 9 · keep 5 %25 · 4 bit",
            "sub-model (recipe=resnet-digits · exit 9 · keep 5 % · 4 bit)",
            "one that can be cut: its exit of resnet-digits must be a whole number from 1 to 6",
            "The network chooses",
        ),
    ],
)
def test_what_is_wrong_is_said_to_one_who_did_not_write_the_link(query, came, allowed, used):
    problem = f"The link's {came} must be {allowed}. {used} instead."
    assert from_query(query) == (Situation(), (problem,))


def test_a_sub_model_that_cannot_be_read_is_told_with_one_that_can():
    (problem,) = from_query("recipe=the+best")[1]
    example = problem.partition("“")[2].partition("”")[0]
    assert from_query(f"recipe={quote(example)}")[0].recipe == Recipe.parse(example)


def test_every_thing_that_a_link_carries_has_a_name_for_the_reader():
    assert LABELS.keys() == set(NAMES)


def test_every_bad_value_is_reported_and_every_good_one_kept():
    situation, problems = from_query("latency_s=x&guard=y&delay_s=0.5&root=vgg-digits&colour=red")
    assert situation == Situation(root="vgg-digits", delay_s=0.5)
    found = ("latency budget (latency_s=x)", "guard (guard=y)", "is left out: colour.")
    assert all(part in problem for part, problem in zip(found, problems, strict=True))


def test_a_name_given_twice_and_names_that_are_not_known_are_told():
    query = "delay_s=0.1&delay_s=0.2&colour=red&colour=blue&voila-theme=dark&token=x&<b>=1"
    situation, problems = from_query(query)
    assert situation == Situation(delay_s=0.2)
    twice, unknown = problems
    assert twice == (
        "The link must give its delay (delay_s) once, and gives it 2 times. The last value is used."
    )
    assert unknown.startswith("What the explorer does not know in the link is left out: ")
    assert unknown.endswith(f": colour, <b>. A link may hold {', '.join(NAMES)}.")
    (many,) = from_query("&".join(f"n{number}=1" for number in range(9)))[1]
    assert "is left out: n0, n1, n2, n3, n4 and 4 more. A link may" in many
    assert "is left out: latency (perhaps latency_s). A link" in from_query("latency=1")[1][0]


@given(st.text(max_size=60) | st.binary(max_size=30).map(lambda b: b.decode("latin-1")))
@example("%ff=%00&&;=&recipe=%F0%9F")
def test_no_link_makes_an_exception(query):
    for text in (query, f"recipe={query}", f"latency_s={query}", f"root={query}", f"seed={query}"):
        situation, problems = from_query(text)
        assert isinstance(situation, Situation)
        ends = (" instead.", "The last value is used.", f"{NAMES[-1]}.")
        assert all(problem.endswith(ends) for problem in problems)
        assert all(len(problem.splitlines()) == 1 for problem in problems)  # an item each
