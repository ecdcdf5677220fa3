"""Rows read left to right among Cloze rows, by hand."""

import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax.data.batching import make_row
from bert4rec_jax.encoder import Encoder
from bert4rec_jax.masking import Task, cloze, mask_counts
from bert4rec_jax.mixture import is_left_to_right, mixed, mixed_counts, rows_at_most

ITEMS, LENGTH = 20, 8
LOG = jnp.arange(1, 16, dtype=jnp.int32)
KEY = jax.random.key(0)
CLOZE = functools.partial(
    cloze,
    counts=jnp.asarray(mask_counts(LENGTH, proportion=0.4, budget=4)),
    mask_id=ITEMS + 1,
    last_only_rate=0.2,
)
ROW = make_row(LOG, jnp.array([0, 9]), jnp.array([5, 3]), max_length=LENGTH)


def test_half_of_the_rows_are_every_second_one():
    assert is_left_to_right(np.arange(6), 0.5).tolist() == [False, True] * 3


@pytest.mark.parametrize("rate", [Fraction(n, 1000) for n in (1, 250, 333, 375, 500, 900, 1000)])
def test_any_run_of_rows_has_its_share_and_no_more_than_the_most(rate):
    ahead = np.asarray(is_left_to_right(jnp.arange(3000), float(rate)))
    assert ahead.sum() == 3000 * rate
    for rows in (1, 3, 8, 11, 20):
        counts = np.convolve(ahead, np.ones(rows, int), mode="valid")
        assert counts.max() == rows_at_most(rows, float(rate)) == math.ceil(rows * rate)
        assert counts.min() == math.floor(rows * rate)


@pytest.mark.parametrize(("rows", "rate"), [(1, 0.25), (6, 0.9), (7, 0.45)])
def test_over_many_steps_each_place_of_a_batch_has_its_share(rows, rate):
    one = functools.partial(mixed, row=ROW, cloze=CLOZE, rate=rate)
    batch = jax.vmap(lambda key, place: one(key, place=place).causal, in_axes=(None, 0))
    steps = jax.random.split(KEY, 4000)
    causal = np.asarray(jax.jit(jax.vmap(batch, in_axes=(0, None)))(steps, jnp.arange(rows)))
    deviation = (rate * (1 - rate) / 4000) ** 0.5
    np.testing.assert_allclose(causal.mean(axis=0), rate, atol=4 * deviation)
    assert set(causal.sum(axis=1)) == {math.floor(rows * rate), math.ceil(rows * rate)}


def test_a_cloze_row_is_the_cloze_task():
    task = mixed(KEY, ROW, jnp.array(0), cloze=CLOZE, rate=0.0)
    assert not task.causal
    expected = CLOZE(jax.random.split(KEY)[1], ROW)
    assert expected.weights.sum() >= 2
    for found, field in zip(task[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(found, field)


def test_a_row_read_left_to_right_asks_for_masked_items_and_elsewhere_for_the_next():
    """The row's two histories are the items 1..5 and 10..12."""

    def second_of_each(key, row):
        masked = (row.segments > 0) & (row.positions == 1)
        inputs = jnp.where(masked, ITEMS + 1, row.items)
        return Task(inputs, row.items, masked.astype(jnp.float32))

    task = mixed(KEY, ROW, jnp.array(1), cloze=second_of_each, rate=1.0)
    assert task.causal
    assert task.inputs.tolist() == [1, 21, 3, 4, 5, 10, 21, 12]
    assert task.weights.tolist() == [1, 1, 1, 1, 0, 1, 1, 0]
    asked = task.weights > 0
    assert task.labels[asked].tolist() == [2, 2, 4, 5, 11, 11]


@pytest.mark.parametrize("last_only", [0.0, 1.0])
def test_a_row_asks_for_no_more_than_its_windows_counts(last_only):
    cloze = functools.partial(CLOZE.func, **CLOZE.keywords | {"last_only_rate": last_only})
    most = mixed_counts(LENGTH)
    for seed in range(20):
        task = mixed(jax.random.key(seed), ROW, jnp.array(1), cloze=cloze, rate=1.0)
        asked = np.bincount(np.asarray(ROW.segments), np.asarray(task.weights))
        assert asked[0] == 0
        assert (asked[1:] <= most[[5, 3]]).all()
        assert (asked[1:] >= most[[5, 3]] - 1).all()


@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_only_causal_rows_are_blind_to_what_follows(neighbours):
    model = Encoder(items=ITEMS, max_length=LENGTH, hidden=8, neighbours=neighbours)
    row = [field[None].repeat(2, 0) for field in (ROW.items, ROW.segments, ROW.positions)]
    variables, apply = jax.jit(model.init)(KEY, *row), jax.jit(model.apply)
    causal = jnp.array([False, True])
    before = apply(variables, *row, causal=causal)
    row[0] = row[0].at[:, 3].set(20)  # the fourth item of the first history
    moved = np.abs(apply(variables, *row, causal=causal) - before).max(-1) > 1e-6
    assert moved.tolist() == [[True] * 5 + [False] * 3, [False] * 3 + [True] * 2 + [False] * 3]
