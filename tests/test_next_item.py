"""The next-item task, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.data.batching import make_row
from bert4rec_jax.next_item import next_counts, next_item

LOG = jnp.array([11, 12, 13, 14, 15, 16, 17], jnp.int32)
KEY = jax.random.key(0)


def row(starts, lengths, max_length=8):
    return make_row(LOG, jnp.array(starts), jnp.array(lengths), max_length=max_length)


def asked(task):
    """(position, input, label) where something is asked."""
    weights = np.asarray(task.weights)
    assert weights.dtype == np.float32
    assert set(weights.tolist()) <= {0.0, 1.0}
    places = np.flatnonzero(weights)
    return [(int(i), int(task.inputs[i]), int(task.labels[i])) for i in places]


def test_every_item_is_asked_for_the_next_of_its_own_history():
    task = next_item(KEY, row([0, 5, 3], [3, 1, 2]))
    assert task.inputs.tolist() == [11, 12, 13, 16, 14, 15, 0, 0]
    assert asked(task) == [(0, 11, 12), (1, 12, 13), (4, 14, 15)]


def test_the_next_item_of_the_log_beyond_the_window_is_not_asked_for():
    task = next_item(KEY, row([0], [4], max_length=4))
    assert asked(task) == [(0, 11, 12), (1, 12, 13), (2, 13, 14)]


def test_an_empty_row_asks_for_nothing():
    assert asked(next_item(KEY, row([0], [0]))) == []


def test_counts_are_what_is_asked():
    counts = next_counts(6)
    assert counts.dtype == np.int32
    found = [len(asked(next_item(KEY, row([0], [n], max_length=6)))) for n in range(7)]
    assert counts.tolist() == found == [0, 0, 1, 2, 3, 4, 5]
