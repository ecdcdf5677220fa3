import numpy as np
import pytest

from bert4rec_jax.evaluation.inputs import SeenItems, model_inputs
from tests import ranking_reference as reference

# Item ids 1..9, so MASK is 10.
LOG = reference.small_log([[1, 2], [3, 4, 5, 6, 7, 3], [8]], items=9)


def test_mask_follows_the_last_items_and_zeros_follow_mask():
    items, length = model_inputs(
        LOG, np.array([0, 1, 1]), np.array([1, 5, 3]), max_length=4, append_mask=True
    )
    assert items.dtype == length.dtype == np.int32
    np.testing.assert_array_equal(items, [[1, 10, 0, 0], [5, 6, 7, 10], [3, 4, 5, 10]])
    np.testing.assert_array_equal(length, [2, 4, 4])


def test_without_mask_the_last_items_fill_the_window():
    items, length = model_inputs(
        LOG, np.array([0, 1, 2]), np.array([2, 6, 1]), max_length=4, append_mask=False
    )
    np.testing.assert_array_equal(items, [[1, 2, 0, 0], [5, 6, 7, 3], [8, 0, 0, 0]])
    np.testing.assert_array_equal(length, [2, 4, 1])


@pytest.mark.parametrize("append_mask", [True, False])
@pytest.mark.parametrize("max_length", [2, 7, 30])
def test_inputs_equal_those_of_the_loops(max_length, append_mask):
    rng = np.random.default_rng(0)
    log = reference.random_log(rng, users=40, items=25, longest=20)
    users = rng.permutation(40)
    ends = rng.integers(0, np.diff(log.offsets)[users] + 1)
    items, length = model_inputs(log, users, ends, max_length=max_length, append_mask=append_mask)
    for row, (user, end) in enumerate(zip(users, ends, strict=True)):
        expected = reference.model_input(
            log.history(user)[:end], max_length, 26 if append_mask else None
        )
        assert (items[row].tolist(), length[row]) == expected


def test_an_item_is_seen_from_its_first_occurrence_on():
    seen = SeenItems(LOG)
    assert seen.longest == 5
    users = np.array([1, 1, 1, 0])
    before = seen.before(users, np.array([0, 1, 6, 2]))
    assert [sorted(set(row.tolist()) - {0}) for row in before] == [[], [3], [3, 4, 5, 6, 7], [1, 2]]
    assert [sorted(row.tolist()) for row in seen.ever(np.array([2, 1]))] == [
        [0, 0, 0, 0, 8],
        [3, 4, 5, 6, 7],
    ]


def test_seen_items_are_distinct_and_complete():
    rng = np.random.default_rng(1)
    log = reference.random_log(rng, users=30, items=6, longest=15)
    users, ends = np.arange(30), rng.integers(0, np.diff(log.offsets) + 1)
    for user, row in enumerate(SeenItems(log).before(users, ends)):
        items = row[row > 0].tolist()
        assert sorted(items) == sorted(set(log.history(user)[: ends[user]].tolist()))
