import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from insitu_widgets.levels import bit
from insitu_widgets.levels.bit import GAUSSIAN_STEP, nested_codes, quantise, reconstruct
from insitu_widgets.levels.derive import weights_and_rest
from insitu_widgets.levels.parameter import magnitude_masks

ALL_BITS = range(1, 9)
weights_of_a_layer = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.floats(-100, 100, width=32),
).map(torch.from_numpy)


def everything(weights):
    return torch.ones_like(weights, dtype=torch.bool)


def naive(weights, mask, bits):
    """The oracle: one channel after the other, in float64."""
    levels = 2**bits
    codes, scales = np.zeros(weights.shape, np.int64), np.zeros(len(weights))
    for channel, (row, sent) in enumerate(zip(weights.astype(float), mask, strict=True)):
        kept = row[sent]
        outer = 2 / (levels - 1)
        starts = [outer * np.abs(kept).max(), GAUSSIAN_STEP[bits - 1] * np.sqrt(np.mean(kept**2))]
        if bits == 2:
            starts.append(outer * np.abs(kept).mean())
        fits = []
        for start in starts:
            multiples = np.clip(np.floor(kept / start), -(levels // 2), levels // 2 - 1) + 0.5
            fit = (kept * multiples).sum() / (multiples**2).sum()
            fits.append((np.square(kept - fit * multiples).sum(), fit))
        step = min(fits)[1]
        scales[channel] = step
        codes[channel] = np.clip(np.round(row / step + (levels - 1) / 2), 0, levels - 1)
    return codes, scales


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_against_a_naive_loop_over_channels(bits, share):
    random = np.random.default_rng(bits)
    weights = random.normal(size=(7, 50)).astype(np.float32)
    mask = random.random(weights.shape) < share
    codes, scales = quantise(torch.from_numpy(weights), torch.from_numpy(mask), bits)
    expected_codes, expected_scales = naive(weights, mask, bits)
    np.testing.assert_allclose(scales.numpy(), expected_scales, rtol=1e-5)
    np.testing.assert_array_equal(codes.numpy()[mask], expected_codes[mask])


@given(weights_of_a_layer, st.sampled_from(ALL_BITS))
def test_codes_stay_in_range_and_scales_above_zero(weights, bits):
    codes, scales = quantise(weights, everything(weights), bits)
    assert codes.dtype == torch.uint8
    assert int(codes.max()) < 2**bits
    assert (scales > 0).all()
    assert scales.isfinite().all()


@given(weights_of_a_layer, st.sampled_from(ALL_BITS))
def test_the_error_is_half_a_step_and_what_is_clipped(weights, bits):
    codes, scales = quantise(weights, everything(weights), bits)
    error = (weights - reconstruct(codes, scales[:, None], bits)).abs()
    outermost = scales[:, None] * (2**bits - 1) / 2
    bound = torch.maximum(scales[:, None] / 2, weights.abs() - outermost)
    assert (error <= bound * (1 + 1e-5) + 1e-30).all()


def squared_error(weight, mask, bits):
    codes, scales = quantise(weight, mask, bits)
    wide = scales.view(-1, *[1] * (weight.ndim - 1))
    return float((weight - reconstruct(codes, wide, bits))[mask].square().sum())


def squared_errors(weight, mask):
    return np.array([squared_error(weight, mask, bits) for bits in ALL_BITS])


def test_more_bits_distort_every_layer_less(root):
    for name, weight in weights_and_rest(root)[0].items():
        errors = squared_errors(weight, everything(weight))
        assert (np.diff(errors) < 0).all(), name
        assert errors[-1] < errors[0] / 50, name


@pytest.mark.parametrize("keep", [0.5, 0.2, 0.05])
def test_more_bits_distort_a_pruned_root_less(root, keep):
    weights, _ = weights_and_rest(root)
    masks = magnitude_masks(weights, keep)
    errors = sum(squared_errors(weight, masks[name]) for name, weight in weights.items())
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < errors[0] / 50


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("keep", [1.0, 0.2])
def test_no_step_of_a_fine_grid_is_much_better(root, keep, bits):
    """The oracle: the best of a hundred steps for each channel, over a whole root."""
    weights, _ = weights_and_rest(root)
    masks = magnitude_masks(weights, keep)
    ours = best = 0.0
    for name, weight in weights.items():
        rows, sent = weight.flatten(1), masks[name].flatten(1)
        cover = (rows * sent).abs().amax(1).clamp(min=1e-30) * 2 / (2**bits - 1)
        errors = []
        for share in torch.linspace(0.05, 1.3, 100):
            scales = (cover * share)[:, None]
            codes = (rows / scales + (2**bits - 1) / 2).round().clamp(0, 2**bits - 1)
            errors.append(((reconstruct(codes, scales, bits) - rows) * sent).square().sum(1))
        best += float(torch.stack(errors).amin(0).sum())
        ours += squared_error(weight, masks[name], bits)
    assert ours < 1.35 * best


@pytest.mark.parametrize("bits", ALL_BITS)
def test_the_step_is_the_one_that_distorts_a_gaussian_least(bits):
    """The oracle: the distortion integrated by the midpoint rule, minimised over the step."""
    x = (np.arange(200_000) + 0.5) * 5e-5  # one half of the axis, up to 10 sigma
    density = np.exp(-(x**2) / 2)
    half = 2 ** (bits - 1)

    def distortion(step):
        nearest = (np.clip(np.floor(x / step), 0, half - 1) + 0.5) * step
        return float((density * (x - nearest) ** 2).sum())

    table = GAUSSIAN_STEP[bits - 1]
    steps = table * np.linspace(0.98, 1.02, 41)
    best = min(steps, key=distortion)
    assert abs(best - table) <= table * 0.0025


@pytest.mark.parametrize("bits", ALL_BITS)
def test_one_bit_is_the_sign_and_every_code_is_a_level(bits):
    codes = torch.arange(2**bits, dtype=torch.uint8)
    levels = reconstruct(codes, torch.tensor(2.0), bits)
    assert torch.equal(levels, -levels.flip(0))
    assert (levels.diff() == 2.0).all()
    if bits == 1:
        assert levels.tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("value", [0.0, 1e-39, -1e-30, 1e-25, 1e30])
def test_channels_of_extreme_weights_keep_their_size(bits, value):
    """No channel, zero, tiny or huge, may come back as something of another size."""
    weights = torch.full((2, 5), value)
    codes, scales = quantise(weights, everything(weights), bits)
    restored = reconstruct(codes, scales[:, None], bits)
    tiny = torch.finfo(torch.float32).tiny
    assert ((weights - restored).abs() <= abs(value) * 1e-5 + tiny).all()


def test_a_channel_without_a_weight_left_disturbs_nothing():
    weights = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    mask = everything(weights)
    mask[1] = False
    codes, scales = quantise(weights, mask, 4)
    alone, alone_scales = quantise(weights[[0, 2]], mask[[0, 2]], 4)
    assert torch.equal(codes[[0, 2]], alone)
    assert torch.equal(scales[[0, 2]], alone_scales)
    assert scales[1] > 0


def in_full_passes(weights, mask, bits):
    """The oracle of speed: the same sums, over all weights at once, each kept in memory."""
    tiny = torch.finfo(torch.float32).tiny
    rows, sent = weights.flatten(1), mask.flatten(1)
    kept, count, levels = rows * sent, sent.sum(1).clamp(min=1), 2**bits
    widest = 2 / (levels - 1)
    largest = kept.abs().amax(1).clamp(min=tiny)
    cover = widest * largest
    gaussian = GAUSSIAN_STEP[bits - 1] * (kept.square().sum(1) / count).sqrt()
    starts = [torch.minimum(cover, gaussian)]
    if bits > 1:
        starts.append(cover)
    if bits == 2:
        starts.append(widest * kept.abs().sum(1) / count)
    scales, gain = torch.full_like(cover, tiny), torch.zeros_like(cover)
    for start in starts:
        steps = rows / start.clamp(min=tiny)[:, None]
        steps = steps.floor_().clamp_(-levels // 2, levels // 2 - 1).add_(0.5)
        product = torch.linalg.vecdot(kept, steps)
        power = torch.linalg.vecdot(steps * sent, steps).clamp(min=tiny)
        explained = (product / largest).square() / power
        scales = torch.where(explained > gain, product / power, scales)
        gain = torch.maximum(gain, explained)
    scales = scales.clamp(min=tiny)
    codes = (rows / scales[:, None] + (levels - 1) / 2).round_().clamp_(0, levels - 1)
    return codes.to(torch.uint8).view(weights.shape), scales


def same(found, expected):
    assert [t.dtype for t in found] == [t.dtype for t in expected]
    return [t.numpy().tobytes() for t in found] == [t.numpy().tobytes() for t in expected]


SHAPES = [(64, 576), (3, 40_000), (1, 70_000), (200, 9), (31, 33, 3, 3), (5, 1), (130, 1024)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_what_is_worked_on_in_pieces_is_the_same_to_the_bit(monkeypatch, shape, bits):
    monkeypatch.setattr(bit, "_AT_ONCE", 4096)
    random = torch.Generator().manual_seed(bits)
    weights = torch.randn(shape, generator=random) * torch.rand(shape[0], generator=random).view(
        -1, *[1] * (len(shape) - 1)
    )
    weights[0] = 0.0
    for share in (1.0, 0.3, 0.001):
        mask = torch.rand(shape, generator=random) < share
        assert same(quantise(weights, mask, bits), in_full_passes(weights, mask, bits))


@given(weights_of_a_layer, st.sampled_from(ALL_BITS), st.integers(0, 2**31))
def test_small_layers_are_the_same_to_the_bit(weights, bits, seed):
    mask = torch.rand(weights.shape, generator=torch.Generator().manual_seed(seed)) < 0.7
    assert same(quantise(weights, mask, bits), in_full_passes(weights, mask, bits))


@pytest.mark.parametrize("best_at", ALL_BITS)
def test_nested_codes_are_the_same_to_the_bit(monkeypatch, best_at):
    monkeypatch.setattr(bit, "_AT_ONCE", 4096)
    weights = torch.randn(70, 1000, generator=torch.Generator().manual_seed(best_at))
    _, step = in_full_passes(weights, everything(weights), best_at)
    fine = (step / 2 ** (8 - best_at))[:, None]
    codes = (weights / fine + 255 / 2).round().clamp(0, 255).to(torch.uint8)
    assert same(nested_codes(weights, 8, best_at), (codes, step))
