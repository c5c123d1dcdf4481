"""A fading channel: its power, its correlation, its seed."""

import numpy as np
import pytest
from scipy.special import j0

from insitu_widgets.air.trace import Trace, jakes


def power(seed, antennas=1, doppler_hz=5.0):
    trace = jakes(20.0, doppler_hz, 1.0, np.random.default_rng(seed), antennas=antennas)
    return 10 ** (np.array(trace.snr_db) / 10 - 2)


@pytest.mark.parametrize("antennas", [1, 4])
def test_the_mean_power_is_the_mean(antennas):
    mean = np.mean([power(seed, antennas).mean() for seed in range(300)])
    rounded_down = 10 ** (-0.025)  # reports lose a quarter of a decibel on average
    assert mean == pytest.approx(antennas * rounded_down, rel=0.06)


def test_the_correlation_is_bessels():
    """Of the power: the square of the field's J0 (Jakes, section 1.3)."""
    draws = np.array([power(seed) for seed in range(1500)]) / 10 ** (-0.025)
    lags = np.array([0, 2, 4, 8, 12])
    measured = [
        (draws[:, 0] * draws[:, lag]).mean() - draws[:, 0].mean() * draws[:, lag].mean()
        for lag in lags
    ]
    assert np.array(measured) == pytest.approx(j0(2 * np.pi * 5.0 * 0.01 * lags) ** 2, abs=0.15)


def test_standing_still_nothing_changes():
    assert len(set(jakes(10.0, 0.0, 1.0, np.random.default_rng(0)).snr_db)) == 1


def test_the_same_seed_is_the_same_channel():
    first, again, other = (jakes(10.0, 3.0, 1.0, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == again != other
    assert len(first.snr_db) == 100
    assert first.times_s[:2] == (0.0, 0.01)


def test_antennas_make_fades_shallower():
    depth = [np.log(power(3, antennas)).std() for antennas in (1, 8)]
    assert depth[1] < depth[0]


def test_wrong_input_is_named():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="doppler_hz must be a number from 0 to 1000 Hz"):
        jakes(10.0, -1.0, 1.0, random)
    with pytest.raises(ValueError, match="duration_s must be"):
        jakes(10.0, 1.0, 0.0, random)
    with pytest.raises(ValueError, match="snr_db must be a number from -30 to 60 dB; got 99"):
        Trace(0.01, (99.0,))
