"""The Markov chain on a log of four items, and against counting in loops."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax import mesh
from bert4rec_jax.markov import fit_markov, markov_scores

# The last item of each history is held out. Training: 1 2 1 2 | 1 3 | 4. So 1 -> 2 twice, 2 -> 1
# once, 1 -> 3 once; 3 and 4 lead nowhere; shares of the rows: 3/7, 2/7, 1/7, 1/7.
HISTORIES = [[1, 2, 1, 2, 4], [1, 3, 3], [4, 4]]
POPULARITY = np.array([3, 2, 1, 1]) / 7


def fit(histories, catalogue, *, held_out=1, smoothing=2.0):
    lengths = np.array([len(h) for h in histories])
    return fit_markov(
        np.concatenate(histories).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]),
        lengths - held_out,
        catalogue=catalogue,
        smoothing=smoothing,
    )


def scores(params, *histories):
    items = np.zeros((len(histories), 6), np.int32)
    for row, history in enumerate(histories):
        items[row, : len(history)] = history
    lengths = jnp.array([len(h) for h in histories], jnp.int32)
    return np.asarray(markov_scores(params, jnp.asarray(items), lengths))


def test_four_items_by_hand():
    found = scores(fit(HISTORIES, 4), [1], [4, 3, 2], [2, 3], [4])
    assert found.dtype == np.float32
    expected = [
        (np.array([0, 2, 1, 0]) + 2 * POPULARITY) / 5,
        (np.array([1, 0, 0, 0]) + 2 * POPULARITY) / 3,
        POPULARITY,
        POPULARITY,
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.01, 1.0, 1000.0])
def test_a_larger_log_is_the_loops_and_rows_sum_to_1(smoothing):
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 20, rng.integers(2, 9)).tolist() for _ in range(60)]
    pairs, rows = collections.Counter(), collections.Counter()
    for history in histories:
        pairs.update(itertools.pairwise(history[:-1]))
        rows.update(history[:-1])
    total = sum(rows.values())
    # Item 20 is in the catalogue and in no history.
    found = scores(fit(histories, 20, smoothing=smoothing), *[[i] for i in range(1, 21)])
    for i in range(1, 21):
        follows = sum(pairs[i, j] for j in range(1, 21))
        expected = [
            (pairs[i, j] + smoothing * rows[j] / total) / (follows + smoothing)
            for j in range(1, 21)
        ]
        np.testing.assert_allclose(found[i - 1], expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_a_log_without_transitions_is_popularity():
    params = fit([[1, 2], [1, 1], [3, 1]], 3)
    np.testing.assert_allclose(scores(params, [1], [2]), [[2 / 3, 0, 1 / 3]] * 2, rtol=1e-6)


def test_memory_grows_with_transitions_not_with_the_square_of_items():
    params = fit(HISTORIES, 100_000)
    assert sum(x.nbytes for x in jax.tree.leaves(params)) < 20 * 100_000


def test_four_devices_score_as_one_does():
    params = fit(HISTORIES, 4)
    items = np.array([[1, 2], [3, 0], [4, 1], [2, 4]] * 2, np.int32)
    length = np.array([2, 1, 2, 2] * 2, np.int32)
    where = mesh.make_mesh(4)
    mapped = mesh.map_over_devices(
        markov_scores, where, in_axes=(None, "data", "data"), out_axes="data"
    )
    four = mapped(params, *mesh.put_split((items, length), where))
    np.testing.assert_array_equal(four, markov_scores(params, items, length))
