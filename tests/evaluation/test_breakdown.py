import numpy as np
import pytest

from bert4rec_jax.evaluation.breakdown import by_history_length, by_item_popularity


def test_quarters_of_the_users_by_history_length():
    lengths = np.array([9, 1, 2, 3, 4, 5, 6, 7])
    ranks = np.array([0, 9, 99, 99, 0, 0, 99, 0])
    found = by_history_length(ranks, lengths, ks=(1,))
    assert list(found) == ["1-2", "3-4", "5-6", "7-9"]
    assert [group["users"] for group in found.values()] == [2, 2, 2, 2]
    assert [group["HR@1"] for group in found.values()] == [0, 0.5, 0.5, 1]
    assert found["1-2"]["MRR"] == pytest.approx((1 / 10 + 1 / 100) / 2)
    assert found["3-4"]["interval"]["HR@1"] == [0, 1]  # one hit of two: 0, 1 or 2 when drawn again
    assert found["7-9"]["interval"] == {"HR@1": [1, 1], "MRR": [1, 1]}


def test_users_of_equal_length_stay_together():
    found = by_history_length(np.zeros(10, int), np.array([4] * 6 + [5, 5, 8, 20]))
    assert {name: group["users"] for name, group in found.items()} == {
        "4-4": 6,
        "5-5": 2,
        "8-20": 2,
    }


def test_one_user_is_one_group():
    assert list(by_history_length(np.array([1]), np.array([7]))) == ["7-7"]


def test_thirds_of_the_interactions_by_item_popularity():
    # Ids need not be in order of training rows. By rows: 3 (12), 1 (8), 4 (6), 2 (4), 6 (4), 5 (2)
    # and 7 (0); 36 rows, so the borders are at 12 and 24. Item 1 begins at 12, 4 at 20, 2 at 26.
    counts = np.array([0, 8, 4, 12, 6, 2, 4, 0])
    targets = np.array([3, 3, 1, 4, 7, 5, 2])
    ranks = np.array([0, 1, 0, 5, 0, 9, 9])
    found = by_item_popularity(ranks, targets, counts, ks=(1,))
    assert {name: group["items"] for name, group in found.items()} == {
        "head": 1,
        "middle": 2,
        "tail": 4,
    }
    assert [group["users"] for group in found.values()] == [2, 2, 3]
    assert [group["HR@1"] for group in found.values()] == pytest.approx([1 / 2, 1 / 2, 1 / 3])


def test_a_group_without_users_has_no_figures():
    found = by_item_popularity(np.array([0]), np.array([1]), np.array([0, 5, 5, 5]))
    assert found["tail"] == {"items": 1, "users": 0}
    assert found["head"]["MRR"] == 1
