"""Increments: made and packed in time, and what several channel uses cost beside one."""

from collections.abc import Iterator
from itertools import pairwise

from benchmarks.quantisers import samples_ms
from benchmarks.table import Row, timed
from insitu_widgets import Recipe, Root, derive, load_root, pack, unpack
from insitu_widgets.air.increment import order_bits
from insitu_widgets.cards import NESTED_ROOTS
from insitu_widgets.network.library import from_root

MADE_MS = 150.0
MOST_OVER = 0.05
KEEPS = (0.1, 0.2, 0.5, 1.0)


def run(*, quick: bool) -> Iterator[Row]:
    """Every all-in-one root."""
    times = 5 if quick else 20
    for name in NESTED_ROOTS:
        root = load_root(name)
        for step in pairwise(KEEPS):
            yield from _made(root, *step, times)
        for bits in (2, 4, 8, 16):
            yield _over(root, bits)
        recipe = Recipe(name, keep=0.2, bits=4)
        samples = samples_ms(lambda recipe=recipe: from_root(recipe), times)
        yield timed(f"on demand, the root loaded anew: {recipe}", samples, "ms")


def _made(root: Root, held: float, keep: float, times: int) -> Iterator[Row]:
    """An increment of the ladder."""
    base = derive(root, Recipe(root.name, keep=held, bits=4))
    recipe = Recipe(root.name, keep=keep, bits=4)

    def make() -> object:
        return pack(derive(root, recipe), base=base)

    samples = samples_ms(make, times)
    what = f"increment from keep {100 * held:g} % cut and packed: {recipe}"
    yield timed(what, samples, "ms", MADE_MS)
    packet = pack(derive(root, recipe), base=base)
    yield timed("the device applies it", samples_ms(lambda: unpack(packet, base=base), times), "ms")


def _over(root: Root, bits: int) -> Row:
    """All packets of a ladder together, beside one direct download of its last."""
    steps = [derive(root, Recipe(root.name, keep=keep, bits=bits)) for keep in KEEPS]
    parts = [pack(steps[0]), *(pack(new, base=old) for old, new in pairwise(steps))]
    held, _ = unpack(parts[0])
    for part in parts[1:]:
        held, _ = unpack(part, base=held)
    over = sum(part.num_bits for part in parts) / pack(steps[-1]).num_bits - 1
    what = f"four packets (keep 10, 20, 50, 100 %) against one: {root.name}, {bits} bit"
    wrong = "" if held == steps[-1] else "what has grown is not what was cut"
    told = order_bits(steps) / pack(steps[-1]).num_bits
    figure = (
        f"{abs(over):.1%} {'more' if over > 0 else 'less'} "
        f"(to tell which weights come when takes {told:.1%} at least)"
    )
    return Row(what, figure, f"≤ {MOST_OVER:.0%} more", over <= MOST_OVER, wrong)
