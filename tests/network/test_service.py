"""The service under load: a known queue, an independent recursion, and what never may happen."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu_widgets import Situation, choose, derive, load_catalogue, load_root, pack, sweep
from insitu_widgets.network.menu import Staircase, best_sizes
from insitu_widgets.network.outcome import run, summary
from insitu_widgets.network.population import SPECIES, Population, Species, draw
from insitu_widgets.network.service import POLICIES, RULES, Service, homes, menu, serve
from insitu_widgets.network.situation import candidates
from insitu_widgets.network.study import Study, outcomes
from insitu_widgets.network.tiers import KINDS, TIERS

SMALL = Population(devices=300, applications=5)
SERVICES = tuple(Service(policy) for policy in POLICIES)
TABLET = Species("tablet", 1.0, 1e9, 5.0, 0.0, "none", (0.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def asked():
    return draw(SMALL, 20.0, 1500, 1)


def same(one, other):
    return all(
        np.array_equal(getattr(one, f.name), getattr(other, f.name), equal_nan=True)
        for f in fields(one)
    )


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["resnet-digits", "vgg-digits", "vit-digits"]),
    st.sampled_from([(0.0, "none"), (1e-4, "clamp"), (1e-3, "none"), (1e-2, "zero")]),
    st.floats(1e3, 1e7),
    st.floats(0.02, 5.0),
    st.floats(1e3, 1e6),
)
def test_a_staircase_answers_what_choose_answers(root, channel, hz, latency, memory):
    catalogue = load_catalogue(root)
    situation = Situation(
        root=root, bandwidth_hz=hz, spectral_efficiency_bps_hz=1.0, delay_s=0.0, guard=channel[1],
        latency_s=latency, memory_bytes=memory, bit_error_rate=channel[0],
    )  # fmt: skip
    stair = Staircase(candidates(situation, catalogue))
    place = stair.best(min(hz * latency, 8 * memory))
    expected = choose(situation, catalogue).recipe
    assert (stair.rows[place].recipe if place >= 0 else None) == expected


def test_worth_is_the_best_after_its_price():
    stair = Staircase(load_catalogue("vgg-digits").at("vgg-digits", 0.0, "none"))
    assert stair.worth(1e9, 0.0) == len(stair.sizes) - 1
    assert stair.worth(1e9, 1.0) == -1
    for price in (1e-6, 1e-5):
        values = [a - price * b for a, b in zip(stair.accuracies, stair.sizes, strict=True)]
        assert values[stair.worth(1e9, price)] == max(values)


def test_best_sizes_are_taken_for_the_greatest_gain():
    rows = load_catalogue("vgg-digits").at("vgg-digits", 0.0, "none")
    limits = np.array([[2600.0] * 60 + [1e9] * 40])
    few = best_sizes(limits, [rows], 3)
    assert len(few) == 2
    by_recipe = {row.recipe: row for row in rows}
    assert by_recipe[few[0]].num_bits > 2600
    assert by_recipe[few[1]].num_bits <= 2600


def test_it_is_an_m_d_1_queue_where_all_are_alike():
    """Pollaczek and Khinchine: mean wait = ρ S / (2 (1 - ρ)), for Poisson arrivals and one size."""
    alike = replace(
        SMALL, shadowing_db=0.0, fading_db=0.0, slices=(0.0, 0.0, 1.0), species=(TABLET,)
    )
    service = Service(
        "one size",
        tiers=(replace(TIERS[0], capacity_bytes=1e9),),
        roots=("vgg-digits",),
        delay_s=0.0,
    )
    first = serve(service, alike, draw(alike, 1.0, 1, 0))
    duration = float(first.end_s[0] - first.start_s[0])
    for busy in (0.3, 0.6):
        requests = draw(alike, busy / duration, 60_000, 3)
        waits = (serve(service, alike, requests).start_s - requests.arrival_s)[1000:]
        assert waits.mean() == pytest.approx(busy * duration / (2 * (1 - busy)), rel=0.06)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_events_come_when_lindleys_recursion_says(policy, asked):
    """A packet goes on the air when it is ready and the one before it has been sent."""
    served = serve(Service(policy, making_s=0.01), SMALL, asked)
    found, free_s = np.full((2, len(asked)), np.nan), np.zeros(len(KINDS))
    for i in np.flatnonzero(served.num_bits):
        found[0, i] = max(served.ready_s[i], free_s[asked.kind[i]])
        found[1, i] = found[0, i] + served.num_bits[i] / asked.rate_bps[i]
        free_s[asked.kind[i]] = found[1, i]
    np.testing.assert_allclose(found, [served.start_s, served.end_s], rtol=1e-9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("policy", POLICIES)
def test_no_limit_is_broken_and_hits_are_in_time(policy, rule, asked):
    served = serve(Service(policy, rule, making_s=0.01), SMALL, asked)
    sent = served.num_bits > 0
    memory = np.array([s.memory_bytes for s in SPECIES])[asked.species]
    latency = np.array([kind.latency_s for kind in KINDS])[asked.kind]
    assert (served.num_bits <= 8 * memory).all()
    assert (served.ready_s >= asked.arrival_s)[sent].all()
    assert (served.start_s >= served.ready_s - 1e-9)[sent].all()  # the clock's last digit
    in_time = served.end_s + 0.001 - asked.arrival_s <= latency * (1 + 1e-9)
    assert (served.hit[sent] == in_time[sent]).all()
    assert not served.hit[~sent].any()
    assert ((served.accuracy > 0) <= served.hit).all()
    assert served.hit[sent].all()  # what the network believes is what is: nothing comes too late
    for kind in range(3):
        mine = sent & (asked.kind == kind)
        assert (served.start_s[mine][1:] >= served.end_s[mine][:-1] - 1e-12).all()


def test_what_the_network_believes_wrongly_comes_too_late():
    wrong = draw(replace(SMALL, report_error_db=6.0), 20.0, 1500, 1)
    served = serve(Service("in-situ"), SMALL, wrong)
    assert not served.hit[served.num_bits > 0].all()


def test_the_same_seed_gives_the_same_result(asked):
    assert same(asked, draw(SMALL, 20.0, 1500, 1))
    assert not same(asked, draw(SMALL, 20.0, 1500, 2))
    one, other = (serve(Service("in-situ", "price"), SMALL, asked) for _ in range(2))
    assert same(one, other)


def test_a_device_is_sent_what_it_needs_or_nothing(asked):
    served = serve(Service("in-situ", least_accuracy=0.9), SMALL, asked)
    assert served.accuracy[served.hit].min() >= 0.9


def test_sizes_are_those_of_real_packets():
    for root, recipes in menu(Service("a few sizes"), SMALL).items():
        assert len(recipes) <= 3
        for recipe in recipes:
            row = load_catalogue(root).find(recipe, 0.0, "none")
            assert pack(derive(load_root(root), recipe)).num_bits == row.num_bits


def test_popularity_is_zipfs_and_slices_share_the_air():
    asked = draw(replace(SMALL, zipf=1.0, shadowing_db=0.0, fading_db=0.0), 1.0, 40_000, 0)
    counts = np.bincount(asked.application % 5, minlength=5)
    assert counts / counts.sum() == pytest.approx(
        np.array([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]) / 2.283, abs=0.01
    )
    phones = asked.species == 3
    assert set(asked.rate_bps[phones & (asked.kind == 2)]) == {1e6 * 0.2 * 5.0}
    assert np.diff(asked.arrival_s).mean() == pytest.approx(1.0, rel=0.03)


def test_real_time_models_live_at_the_edge_and_what_has_no_room_goes_outwards():
    service = Service("one size")
    few = [[Staircase(load_catalogue(root).at(root, 0.0, "none"))] for root in service.roots]
    roomy = replace(service, tiers=(replace(TIERS[0], capacity_bytes=1e9), *TIERS[1:]))
    assert homes(roomy, SMALL, few)[0] == [0] * 5 + [1] * 5 + [2] * 5
    none = replace(service, tiers=(replace(TIERS[0], capacity_bytes=0.0), *TIERS[1:]))
    assert homes(none, SMALL, few)[0] == [1] * 10 + [2] * 5
    with pytest.raises(ValueError, match="capacity_bytes of edge must hold every application's"):
        homes(replace(service, tiers=none.tiers[:1]), SMALL, few)


def test_more_room_at_the_edge_is_hit_more_often(asked):
    rates = []
    for room in (1e4, 1e6, 1e9):
        tiers = (replace(TIERS[0], capacity_bytes=room), *TIERS[1:])
        service = Service("one size", tiers=tiers)
        outcome = summary(
            service, SMALL, asked, serve(service, SMALL, asked), load_per_s=20.0, seed=1
        )
        assert sum(outcome.tiers.values()) == pytest.approx(1.0)
        rates.append(outcome.tiers["edge"])
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


def test_with_a_price_on_the_air_a_richer_menu_does_better():
    population = Population()
    few = [run(Service(policy, "price"), population, 20.0, 4000, 0) for policy in POLICIES]
    assert few[0].accuracy < few[1].accuracy < few[2].accuracy


def test_a_study_runs_every_service_on_the_same_requests():
    study = Study(SERVICES, SMALL, loads=(5.0, 50.0), requests=300, seeds=(0, 1))
    done = list(outcomes(study))
    assert len(done) == 12
    assert done[0] == run(SERVICES[0], SMALL, 5.0, 300, 0)
    assert sweep(study, progress=False) == tuple(done)


def test_a_study_goes_on_where_it_was_stopped(tmp_path):
    study, path = Study(SERVICES, SMALL, loads=(5.0,), requests=200), tmp_path / "study.jsonl"
    stopped = outcomes(study, path=path)
    first = next(stopped)
    next(stopped)
    stopped.close()
    with path.open("a") as file:
        file.write('{"cut')
    again = sweep(study, path=str(path))
    assert again[0] == first
    assert again == tuple(outcomes(study))
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "foreign", ["my one line", '{"mine": 1}', "1\n2\n", '{"a": 1}\n', "a,b\n1,2\ncut"]
)
def test_a_study_refuses_a_file_of_another_and_leaves_it(tmp_path, foreign):
    study, path = Study(SERVICES, SMALL, loads=(5.0,), requests=200), tmp_path / "study.jsonl"
    path.write_text(foreign)
    with pytest.raises(
        ValueError, match=r"^path must be .*study\.jsonl is another .* Name another"
    ):
        sweep(study, path=path, progress=False)
    assert path.read_text() == foreign


def test_a_study_on_dask_is_the_same():
    distributed = pytest.importorskip("distributed")
    study = Study(SERVICES, SMALL, loads=(5.0,), requests=200)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        there = sweep(study, client=client, progress=False)
    assert sorted(there, key=str) == sorted(outcomes(study), key=str)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: Service("all"), "policy must be one of one size, a few sizes, in-situ; got 'all'"),
        (lambda: Service("in-situ", "luck"), "rule must be one of choose, price"),
        (lambda: Service("in-situ", making_s=-1.0), "making_s must be a number"),
        (lambda: Service("in-situ", roots=()), "A library must not be empty"),
        (lambda: Service("in-situ", tiers=()), "tiers must be at least one"),
        (lambda: Population(devices=0), "devices must be a whole number from 1"),
        (lambda: Population(bandwidth_hz=-1.0), "bandwidth_hz must be a number"),
        (lambda: Population(slices=(0.5, 0.5, 0.5)), "slices must be 3 shares that add up to 1"),
        (lambda: Population(slices=(0.0, 0.5, 0.5)), "slices must give real-time models a share"),
        (lambda: Population(species=()), "shares of the species must be one or more shares"),
        (lambda: replace(TABLET, guard="luck"), "guard must be one of"),
        (lambda: replace(TABLET, asks=(1.0,)), "asks of tablet must be 3 shares"),
        (lambda: draw(SMALL, -1.0, 10, 0), "load_per_s must be a number"),
        (lambda: draw(SMALL, 1.0, 10, -1), "seed must be a whole number"),
        (lambda: best_sizes(np.ones((1, 1)), [[]], 1), "rows must hold at least one measurement"),
        (lambda: Study([], SMALL), "services must hold at least one value"),
        (lambda: Study(SERVICES, SMALL, loads=(-1.0,)), "each of loads must be a number"),
        (lambda: Study(SERVICES, SMALL, requests=0), "requests must be a whole number from 1"),
        (lambda: Study(SERVICES, SMALL, seeds=(-1,)), "each of seeds must be a whole number"),
    ],
)
def test_wrong_input(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        wrong()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            lambda: Study(POLICIES, SMALL),
            "each of services must be of type Service; got 'one",
        ),
        (lambda: Study(SERVICES[0], SMALL), "services must be of type Iterable; got Service"),
        (lambda: Study(SERVICES, 3), "population must be of type Population; got 3"),
        (lambda: sweep(Study(SERVICES, SMALL), guards=("none",)), "must be left out with a study"),
        (lambda: sweep(Study(SERVICES, SMALL), client=3), "client must be of type Client; got 3"),
    ],
)
def test_a_study_of_something_else(wrong, sentence):
    with pytest.raises(TypeError, match=sentence):
        wrong()
