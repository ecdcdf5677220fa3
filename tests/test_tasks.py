"""What the rows of a step are asked, by the settings of a run."""

import jax
import numpy as np
import pytest

from bert4rec_jax import tasks
from bert4rec_jax.data.batching import Batches
from bert4rec_jax.errors import UserError
from bert4rec_jax.training.step import Budget


def batches(rows):
    """Windows of ten items, one a row."""
    starts = np.arange(0, 10 * rows, 10)
    return Batches(starts, np.full(rows, 10), 10, rows, rows, seed=0, packed=False)


def budgets(rows, rate):
    _, found = tasks.cloze(
        batches(rows),
        rows=rows,
        mask_id=9,
        static_key=jax.random.key(0),
        proportion=0.2,
        budget=10,
        left_to_right_rate=rate,
        last_only_rate=0.1,
        mask_rate=1.0,
        static_copies=0,
    )
    return found


@pytest.mark.parametrize(
    ("rows", "rate", "expected"),
    [
        (4, 0.0, [Budget(4, 2)]),
        (4, 0.5, [Budget(2, 10), Budget(2, 2)]),
        (5, 0.5, [Budget(3, 10), Budget(2, 2)]),
        (4, 0.9, [Budget(4, 10)]),
        (1, 0.5, [Budget(1, 10)]),
    ],
)
def test_rows_read_left_to_right_ask_for_all_their_items_and_others_for_a_fifth(
    rows, rate, expected
):
    """No budget is of no rows: there is nothing to compute for one."""
    assert budgets(rows, rate) == expected


def test_a_left_to_right_model_needs_a_history_of_two_items():
    alone = Batches(np.arange(4), np.ones(4, int), 10, 4, 4, seed=0, packed=False)
    with pytest.raises(UserError, match="no user has two training items"):
        tasks.next_items(alone, rows=4)
