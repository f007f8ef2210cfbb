"""Intervals behave as intervals should."""

import numpy as np
import pytest

from hrf_utils.intervals import interval, resamples, share, show, wilson


def test_clusters_are_drawn_whole(made):
    rows, _, weights = made
    for _, members in rows.groupby("group").indices.items():
        assert (weights[:, members] == weights[:, members[:1]]).all()


def test_the_interval_covers_as_often_as_it_says():
    rng, covered = np.random.default_rng(3), 0
    for _ in range(300):
        right = rng.random(150) < 0.8
        weights = resamples(np.arange(150), 200, seed=int(rng.integers(1e9)))
        cell = interval((weights @ right) / weights.sum(axis=1))
        covered += cell["low"] <= 0.8 <= cell["high"]
    assert 0.89 <= covered / 300 <= 0.98


def test_wilson_knows_that_nought_of_ten_is_not_never():
    cell = wilson(0, 10)
    assert cell["value"] == cell["low"] == 0 and cell["high"] == pytest.approx(0.2775, abs=1e-4)
    assert wilson(5, 10)["low"] == pytest.approx(1 - wilson(5, 10)["high"])
    assert np.isnan(wilson(0, 0)["value"])


def test_a_share_without_rows_is_not_a_number():
    assert np.isnan(share(np.array([]), np.ones((5, 0)))["value"])
    drawn = resamples(np.repeat(np.arange(20), 3), 200)
    for value in (0, 1):
        assert share(np.full(60, value), drawn) == wilson(20 * value, 20)
    assert share(np.array([1, 0, 1, 1]), np.ones((5, 4))) == {"value": 0.75, "low": 0.75, "high": 0.75}


@pytest.mark.parametrize(("cell", "says"), [
    ((0.99987, 0.9998, 0.99990), "over 99.9%"), ((0.9987, 0.9980, 0.9990), "99.9% (99.8% to 99.9%)"),
    ((0.962, 0.948, 0.971), "96% (95% to 97%)"), ((0.0, 0.0, 0.05), "0% (0% to 5%)"),
    ((0.001, 0.0, 0.004), "0.1% (0.0% to 0.4%)"), ((1.0, 0.8, 1.0), "100% (80% to 100%)")])
def test_percent_close_to_all_or_nothing(cell, says):
    assert show(dict(zip(["value", "low", "high"], cell, strict=True)), percent=True) == says
