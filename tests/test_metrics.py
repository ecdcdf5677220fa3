import doctest

import numpy as np
import pytest

from bert4rec_jax import metrics
from tests import ranking_reference as reference


def test_the_docstrings_numbers_hold():
    result = doctest.testmod(metrics)
    assert result.attempted
    assert not result.failed


def test_values_worked_out_by_hand():
    values = metrics.metric_values(np.array([0, 1, 4, 5, 9, 10]))
    log = np.log2
    assert list(values) == ["HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR"]
    np.testing.assert_array_equal(values["HR@1"], [1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(values["HR@5"], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(values["HR@10"], [1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(values["NDCG@5"], [1, 1 / log(3), 1 / log(6), 0, 0, 0])
    np.testing.assert_array_equal(
        values["NDCG@10"], [1, 1 / log(3), 1 / log(6), 1 / log(7), 1 / log(11), 0]
    )
    np.testing.assert_array_equal(values["MRR"], [1, 1 / 2, 1 / 5, 1 / 6, 1 / 10, 1 / 11])


@pytest.mark.parametrize("ks", [(10,), (1,), (3, 20, 100), ()])
def test_any_list_of_cut_offs_agrees_with_the_loops(ks):
    ranks = np.random.default_rng(0).integers(0, 120, size=500).astype(np.int32)
    ours, theirs = metrics.metrics_from_ranks(ranks, ks), reference.metrics(ranks.tolist(), ks)
    assert list(ours) == list(theirs)
    assert ours == pytest.approx(theirs, rel=1e-13)


def test_mrr_is_not_cut():
    assert metrics.metrics_from_ranks([999])["MRR"] == 1 / 1000


@pytest.mark.parametrize(
    ("ranks", "ks", "message"),
    [
        ([], (1,), "no ranks"),
        ([0, -1], (1,), "start at 0, got -1"),
        ([0], (0, 5), "start at 1, got 0"),
    ],
)
def test_senseless_input_is_refused(ranks, ks, message):
    with pytest.raises(ValueError, match=message):
        metrics.metrics_from_ranks(np.array(ranks, np.int32), ks)


def test_unfilled_places_are_nobodys_recommendation():
    lists = np.array([[2, 3, 0], [2, 0, 0]])
    assert metrics.catalogue_coverage(lists, items=4) == 0.5
    assert metrics.mean_popularity(lists, np.array([1000, 7, 5, 2, 1])) == (5 + 2 + 5) / 3
    with pytest.raises(ValueError, match="nothing is recommended"):
        metrics.mean_popularity(np.zeros((2, 3), int), np.ones(5))
