"""The Cloze task, by its properties."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bert4rec_jax.masking import Row, cloze, mask_counts
from tests import reference

MASK_ID = 100
NO_PADDING = 10_000  # a start that no other window has


def row_of(*lengths: int, room: int = 0) -> Row:
    """A row of windows of these lengths, items 1, 2, 3, ..., and `room` padding positions."""
    fields = []
    item = itertools.count(1)
    for segment, length in enumerate(lengths, start=1):
        for position in range(length):
            fields.append((next(item), segment, position, length, NO_PADDING * segment))
    fields += [(0, 0, 0, 0, 0)] * room
    return Row(*(jnp.array(column, jnp.int32) for column in zip(*fields, strict=True)))


def counts_for(row: Row, **options) -> jax.Array:
    return jnp.asarray(mask_counts(len(row.items), **{"proportion": 0.4, "budget": 99, **options}))


def many(row: Row, draws: int = 200, **options):
    """`draws` independent tasks of one row, fields [draws, N]."""
    defaults = {"counts": counts_for(row), "mask_id": MASK_ID, "last_only_rate": 0.0}

    def one(key):
        return cloze(key, row, **(defaults | options))

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), draws))


@pytest.mark.parametrize("proportion", [0.1, 0.15, 0.2, 0.4, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("budget", [1, 20, 200])
def test_counts_are_the_originals_rounding(proportion, budget):
    counts = mask_counts(200, proportion=proportion, budget=budget)
    expected = [reference.cloze_counts(length, proportion, budget) for length in range(1, 201)]
    assert counts.tolist() == [0, *expected]


def test_each_history_masks_its_own_count_and_padding_none():
    row = row_of(1, 5, 10, room=4)
    weights = np.asarray(many(row).weights)
    # round(0.4 * length), at least one: 1, 2 and 4.
    np.testing.assert_array_equal(weights[:, :1].sum(axis=1), 1)
    np.testing.assert_array_equal(weights[:, 1:6].sum(axis=1), 2)
    np.testing.assert_array_equal(weights[:, 6:16].sum(axis=1), 4)
    np.testing.assert_array_equal(weights[:, 16:], 0)


def test_masked_items_are_replaced_and_the_others_are_kept():
    row = row_of(7, 3, room=2)
    task = many(row)
    items = np.broadcast_to(row.items, task.inputs.shape)
    np.testing.assert_array_equal(task.labels, items)
    np.testing.assert_array_equal(task.inputs, np.where(task.weights == 1, MASK_ID, items))


def test_every_choice_of_items_is_equally_likely():
    row = row_of(5)
    draws = 5000
    masks = np.asarray(many(row, draws).weights).astype(int)
    seen = {mask: 0 for mask in itertools.product((0, 1), repeat=5) if sum(mask) == 2}
    for mask in masks.tolist():
        seen[tuple(mask)] += 1
    assert stats.chisquare(list(seen.values())).pvalue > 0.001  # 10 choices of 2 among 5


def test_last_only_rows_come_at_their_rate_and_mask_the_last_item():
    row = row_of(10)
    draws = 4000
    weights = np.asarray(many(row, draws, last_only_rate=0.25).weights)
    single = weights.sum(axis=1) == 1  # the others mask four
    assert stats.binomtest(int(single.sum()), draws, 0.25).pvalue > 0.001
    np.testing.assert_array_equal(weights[single, -1], 1)
    always = np.asarray(many(row, 50, last_only_rate=1.0).weights)
    np.testing.assert_array_equal(always.sum(axis=0), [0] * 9 + [50])


def test_position_0_can_be_masked():
    assert np.asarray(many(row_of(3)).weights)[:, 0].sum() > 0


def test_a_windows_masks_depend_on_the_window_alone():
    """Not on what shares its row, nor where in the row it stands: packing changes nothing."""
    together, key = row_of(4, 6, room=2), jax.random.key(3)
    options = {"counts": counts_for(together), "mask_id": MASK_ID, "last_only_rate": 0.2}
    task = cloze(key, together, **options)
    second = Row(*(jnp.concatenate([f[4:10], jnp.zeros(6, jnp.int32)]) for f in together))
    second = second._replace(segments=jnp.minimum(second.segments, 1))
    alone = cloze(key, second, **options)
    np.testing.assert_array_equal(alone.weights[:6], task.weights[4:10])
    np.testing.assert_array_equal(alone.inputs[:6], task.inputs[4:10])


def test_masks_are_fresh_at_every_step():
    masks = np.asarray(many(row_of(20), 100).weights)
    assert len(np.unique(masks, axis=0)) > 95  # of 125,970 possible ones


def test_static_copies_bound_the_masks_of_a_window():
    row = row_of(20)
    weights = many(row, 300, static_key=jax.random.key(9), static_copies=3).weights
    assert len(np.unique(np.asarray(weights), axis=0)) == 3


def test_eighty_ten_ten():
    row = row_of(10)
    draws = 3000
    task = many(row, draws, mask_rate=0.8)
    masked = np.asarray(task.weights) == 1
    inputs, labels = np.asarray(task.inputs)[masked], np.asarray(task.labels)[masked]
    # A random item is the item itself once in 99 times.
    expected = np.array([0.8, 0.1 + 0.1 / 99, 0.1 * 98 / 99]) * len(inputs)
    is_mask, is_kept = inputs == MASK_ID, inputs == labels
    found = [is_mask.sum(), is_kept.sum(), (~is_mask & ~is_kept).sum()]
    assert stats.chisquare(found, expected).pvalue > 0.001
    assert inputs.min() >= 1
    others = inputs[~is_mask & ~is_kept]
    assert others.max() < MASK_ID
    assert len(np.unique(others)) > 90
    np.testing.assert_array_equal(
        np.asarray(task.inputs)[~masked], np.asarray(task.labels)[~masked]
    )
