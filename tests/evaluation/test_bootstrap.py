import numpy as np
import pytest

from bert4rec_jax.evaluation.bootstrap import mean_intervals, metric_intervals
from bert4rec_jax.metrics import metrics_from_ranks


def test_an_interval_has_the_width_of_the_normal_approximation():
    """600 hits in 2000: the deviation of the mean is sqrt(.3 * .7 / 2000), times 1.96 each way."""
    ranks = np.repeat([0, 50], [600, 1400])
    low, high = metric_intervals(ranks, ks=(10,), resamples=20_000)["HR@10"]
    half = 1.959964 * np.sqrt(0.3 * 0.7 / 2000)
    assert low == pytest.approx(0.3 - half, abs=0.001)
    assert high == pytest.approx(0.3 + half, abs=0.001)


def test_groups_give_the_law_of_drawing_users_one_by_one():
    rng = np.random.default_rng(0)
    ranks = rng.geometric(0.1, size=300) - 1
    drawn = ranks[rng.integers(0, 300, size=(20_000, 300))]
    expected = np.quantile((1 / (drawn + 1)).mean(axis=1), [0.025, 0.975])
    found = metric_intervals(ranks, resamples=20_000)["MRR"]
    np.testing.assert_allclose(found, expected, atol=0.001)


def test_intervals_hold_the_figures_and_their_names():
    ranks = np.random.default_rng(1).integers(0, 30, size=1000)
    metrics, intervals = metrics_from_ranks(ranks), metric_intervals(ranks)
    assert list(metrics) == list(intervals)
    assert all(low < metrics[name] < high for name, (low, high) in intervals.items())


@pytest.mark.parametrize("ranks", [[3], [3, 3, 3, 3]])
def test_users_who_agree_leave_no_room(ranks):
    intervals = metric_intervals(np.array(ranks))
    assert intervals["MRR"] == [0.25, 0.25]
    assert intervals["HR@1"] == [0, 0]


def test_the_seed_alone_decides():
    ranks = np.random.default_rng(2).integers(0, 30, size=100)
    assert metric_intervals(ranks, seed=1) == metric_intervals(ranks, seed=1)
    assert metric_intervals(ranks, seed=1) != metric_intervals(ranks, seed=2)
    assert metric_intervals(ranks) == metric_intervals(ranks[::-1])


def test_pieces_are_independent_resamples():
    """So many groups that a piece holds a few resamples only; each must differ from the others."""
    values = np.random.default_rng(3).normal(size=(2**20, 1))
    low, high = mean_intervals(values, np.ones(2**20, np.int64), resamples=8)
    assert high - low > 1e-4
