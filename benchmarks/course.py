"""What the course's panels wait for: an attack, a progressive download, the envelope, re-training.

And the plan of mixed precision for ResNet-18. Each beside a peer or a floor of the same run, on one
thread. Peers that choose (a strength, widths) are held to the same choice, and told how well they
chose.
"""

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from sklearn.linear_model import RidgeCV
from torch import Tensor
from torch.nn import functional

from benchmarks.packet import side_by_side
from benchmarks.quantisers import samples_ms
from benchmarks.table import DIGITS_ROOTS, Row, p95, timed
from insitu_widgets import ImageSet, Link, Recipe, Root, derive, load_data, load_root, pack, unpack
from insitu_widgets.evaluate import batch_of
from insitu_widgets.levels.allocation import (
    LayerLoss,
    allocate,
    shipped_sensitivity,
    widths_under,
)
from insitu_widgets.levels.pruning import Healing, heal
from insitu_widgets.levels.quantised import rebuilt
from insitu_widgets.levels.retrain import Hardening, retrain
from insitu_widgets.levels.split import split
from insitu_widgets.network import envelope
from insitu_widgets.network.privacy import RIDGES, attack, psnr_db
from insitu_widgets.network.progressive import arrivals, chunks
from insitu_widgets.network.split import pack_feature, unpack_feature

#: The attack: where, and at how many bits a value.
ATTACKED, POINTS, FEATURE_BITS = "resnet-digits", (1, 5), 4
KEEP, BITS = 0.5, 4
#: One candidate of so many is measured; one batch has so many images.
EVERY, STEPS, BATCH, RATE, BIT_ERROR_RATE = 8, 10, 100, 1e-3, 1e-3
#: The plan: of which root, its target, and bits for each weight on average.
PLANNED, PLAN_MS, AVERAGES = "resnet18-cifar100", 50.0, (2, 3)


def run(*, quick: bool) -> Iterator[Row]:
    """The digits, and the shipped sensitivity of ResNet-18."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = 3 if quick else 9
    roots = [load_root(name) for name in DIGITS_ROOTS]
    try:
        for point in POINTS:
            yield from _attack(load_root(ATTACKED), point, times)
        for root in roots:
            yield _progressive(root, times)
        for root in roots:
            yield _envelope(root, times)
        for root in roots:
            yield from _training(root, times)
        for average in AVERAGES:
            yield from _plan(average, 20 if quick else 100)
    finally:
        torch.set_num_threads(threads)


def _attack(root: Root, point: int, times: int) -> Iterator[Row]:
    """Ridge regression with a strength that is chosen; the peers get the same uploads."""
    train, test = load_data("digits", "train"), load_data("digits")
    device = split(root, point).device

    def heard(images: Tensor) -> Tensor:
        with torch.no_grad():
            feature = device(images)
        packet = pack_feature(feature, FEATURE_BITS)
        return unpack_feature(packet, feature.shape[1:], FEATURE_BITS).flatten(1)

    wanted = train.images.flatten(1)
    peak = float(wanted.max() - wanted.min())

    def ridge() -> Tensor:
        features = heard(train.images)
        unit = float((features - features.mean(0)).square().sum() / len(features))
        model = RidgeCV([strength * unit for strength in RIDGES])
        model.fit(features.numpy(), wanted.numpy())
        return torch.from_numpy(model.predict(heard(test.images).numpy()))

    def plain() -> Tensor:
        features = heard(train.images)
        centre, target = features.mean(0), wanted.mean(0)
        weights = torch.linalg.lstsq(features - centre, wanted - target, driver="gelsd").solution
        return (heard(test.images) - centre) @ weights + target

    def fidelity(guesses: Tensor) -> float:
        shown = guesses.float().clamp(wanted.min(), wanted.max()).view_as(test.images)
        return psnr_db(test.images, shown, peak)

    def ours() -> object:
        return attack(root, point, train, test, bits=FEATURE_BITS)

    found = attack(root, point, train, test, bits=FEATURE_BITS).psnr_db
    for peer, name in (
        (ridge, "scikit-learn's RidgeCV, which chooses among the same strengths"),
        (plain, "torch.linalg.lstsq, which chooses none"),
    ):
        what = f"attack on split {point} of {root.name} against {name}, on the same uploads"
        row = side_by_side(what, ours, lambda peer=peer: peer, times)
        yield Row(what, f"{row.figure}; {found:.1f} and {fidelity(peer()):.1f} dB")


def _progressive(root: Root, times: int) -> Row:
    """Cut, packed and unpacked layer by layer; the floor is the same in one packet."""
    recipe, link = Recipe(root.name, keep=KEEP, bits=BITS), Link(1e6)

    def ours() -> object:
        packets = chunks(root, KEEP, BITS)
        return deque(arrivals(root, packets, link, np.random.default_rng(0)), maxlen=1)

    def peer() -> object:
        return unpack(pack(derive(root, recipe)))[0].module

    over = sum(p.num_bits for p in chunks(root, KEEP, BITS)) / pack(derive(root, recipe)).num_bits
    what = f"download in {root.num_exits} chunks against one packet (floor 1): {recipe}"
    row = side_by_side(what, ours, lambda: peer, times)
    return Row(what, f"{row.figure}, {over - 1:.1%} more bits")


def _envelope(root: Root, times: int) -> Row:
    """Candidates cut, packed, unpacked and evaluated; the floor is to run the same networks."""
    images = load_data("digits")
    recipes = envelope.recipes(root.name, envelope.TOGETHER, root.num_exits)[::EVERY]
    networks = [unpack(pack(derive(root, recipe)), root=root)[0].module for recipe in recipes]
    batches = images.images.split(batch_of(images.images))

    def ours() -> object:
        return [envelope.measure(root, recipe, images, envelope.Channel()) for recipe in recipes]

    def peer() -> None:
        with torch.inference_mode():
            for network in networks:
                for batch in batches:
                    network(batch)

    what = f"{len(recipes)} candidates of the envelope against their networks alone (floor 1)"
    return side_by_side(f"{what}: {root.name}", ours, lambda: peer, times)


def _training(root: Root, times: int) -> Iterator[Row]:
    """Batches of re-training; the floor is forward, backward and Adam of the same network."""
    train, recipe = load_data("digits", "train"), Recipe(root.name, keep=KEEP, bits=BITS)
    healing = Healing(STEPS, RATE, BATCH)
    hardening = Hardening(BITS, STEPS, BIT_ERROR_RATE, 1.5, RATE, BATCH)
    ways: tuple[tuple[str, Callable[[], object]], ...] = (
        (f"re-trained: {recipe}", lambda: deque(heal(root, recipe, train, healing), maxlen=1)),
        (
            f"hardened against a bit-error rate of {BIT_ERROR_RATE:g}: {root.name}, {BITS} bit",
            lambda: deque(retrain(root, train, hardening), maxlen=1),
        ),
    )
    for name, ours in ways:
        what = f"{STEPS} batches of {BATCH} against bare steps of torch's Adam (floor 1), {name}"
        yield side_by_side(what, ours, lambda: lambda: _bare_steps(root, train), times)


def _bare_steps(root: Root, train: ImageSet) -> None:
    network = rebuilt(root, {}).train().requires_grad_(requires_grad=True)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    random = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        index = torch.randint(len(train), (BATCH,), generator=random)
        optimiser.zero_grad()
        functional.cross_entropy(network(train.images[index]), train.labels[index]).backward()
        optimiser.step()


def _plan(average: int, times: int) -> Iterator[Row]:
    """Widths of all layers from the shipped sensitivity; the peer finds the best there is."""
    measured = shipped_sensitivity(PLANNED)[max(shipped_sensitivity(PLANNED))]
    kept = {layer.name: layer.weights for layer in measured}
    samples = samples_ms(lambda: widths_under(measured, kept, average), times)
    what = f"plan of mixed precision from a cached sensitivity: {PLANNED}, {average} bit on average"
    yield timed(what, samples, "ms", PLAN_MS)
    budget = average * sum(kept.values())
    exact = samples_ms(lambda: _programmed(measured, budget), 3)
    loss, best = allocate(measured, budget).expected_loss, _programmed(measured, budget)
    wrong = "" if loss >= best * (1 - 1e-3) else "the plan is better than the best there is"
    figure = f"{p95(samples) / p95(exact):.2g} of its time (p95), {loss / best:.3f} of its loss"
    yield Row(f"{what}, against scipy.optimize.milp, which is exact", figure, wrong=wrong)


def _programmed(measured: tuple[LayerLoss, ...], budget: int) -> float:
    """The least loss, by an integer programme: one width for each layer, all within the budget."""
    losses = np.array([layer.losses for layer in measured])
    weights = np.array([layer.weights for layer in measured])
    layers, widths = losses.shape
    size = (weights[:, None] * np.arange(1, widths + 1) / budget).reshape(1, -1)
    one_each = np.kron(np.eye(layers), np.ones(widths))
    found = milp(
        losses.ravel(),
        integrality=np.ones(losses.size),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(size, ub=1), LinearConstraint(one_each, 1, 1)],
    )
    return float(found.fun)
