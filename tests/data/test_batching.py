"""Windows, packing and batches, by their properties."""

import functools
import itertools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax.data.batching import Batches, make_row, make_rows, pack, sliding_windows
from bert4rec_jax.masking import mask_counts
from tests import reference

LENGTHS = st.lists(st.integers(1, 20), min_size=1, max_size=60)


@hypothesis.given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    max_length=st.integers(1, 12),
    stride=st.integers(1, 12),
)
def test_windows_are_the_originals(lengths, max_length, stride):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts, sizes = sliding_windows(
        offsets, np.array(lengths), max_length=max_length, stride=stride
    )
    expected = [
        (offset + start, end - start)
        for offset, length in zip(offsets, lengths, strict=False)
        for start, end in (reference.windows(length, max_length, stride) if length else [])
    ]
    assert list(zip(starts.tolist(), sizes.tolist(), strict=True)) == expected


def test_windows_end_where_training_ends():
    starts, sizes = sliding_windows(np.array([0, 5, 12]), np.array([3, 5]), max_length=4, stride=2)
    # User 0: items 0..2. User 1: 5 training items from place 5, so windows at 1 and at 0.
    assert starts.tolist() == [0, 6, 5]
    assert sizes.tolist() == [3, 4, 4]


def test_places_beyond_32_bits_stay_apart():
    offsets = np.array([0, 2**31 - 1, 2**31 + 4])
    starts, _ = sliding_windows(offsets, np.array([3, 5]), max_length=4, stride=2)
    assert starts.dtype == np.int64
    assert starts.tolist() == [0, 2**31, 2**31 - 1]


def packed_rows(lengths, capacity=20) -> list[list[int]]:
    held, begins = pack(np.array(lengths), capacity)
    return [held[start:stop].tolist() for start, stop in itertools.pairwise(begins)]


def best_fit_one_by_one(lengths, capacity=20) -> list[list[int]]:
    """Longest first, into the row with the least room that is enough; the last such to get it."""
    rows, since = [], []
    for at, length in enumerate(sorted(lengths, reverse=True)):
        fits = [row for row in range(len(rows)) if sum(rows[row]) + length <= capacity]
        if not fits:
            fits, rows, since = [len(rows)], [*rows, []], [*since, 0]
        best = max(fits, key=lambda row: (sum(rows[row]), since[row]))
        rows[best].append(length)
        since[best] = at
    return rows


@hypothesis.given(lengths=LENGTHS)
def test_packing_is_best_fit_window_by_window(lengths):
    assert packed_rows(lengths) == best_fit_one_by_one(lengths)


@hypothesis.given(lengths=LENGTHS)
def test_packing_places_everything_and_overflows_nowhere(lengths):
    rows = packed_rows(lengths)
    assert sorted(itertools.chain(*rows)) == sorted(lengths)
    assert max(map(sum, rows)) <= 20
    # Best fit: no two rows would fit into one.
    assert sum(sum(row) <= 10 for row in rows) <= 1


@hypothesis.given(lengths=LENGTHS, seed=st.integers(0, 3))
def test_rows_do_not_depend_on_the_order_of_the_windows(lengths, seed):
    shuffled = np.random.default_rng(seed).permutation(lengths)
    assert packed_rows(lengths) == packed_rows(shuffled)


def batches_of(lengths, **options) -> Batches:
    lengths = np.array(lengths, np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32)
    defaults = {"max_length": 20, "batch_size": 8, "devices": 1, "seed": 0}
    return Batches(starts, lengths, **(defaults | options))


def epoch_of(batches: Batches, epoch: int) -> list[tuple[int, int]]:
    """All (start, length) pairs of an epoch, in the order they are visited."""
    found = []
    for step in range(batches.steps_per_epoch):
        starts, lengths = batches(epoch * batches.steps_per_epoch + step)
        used = lengths > 0
        found += zip(starts[used].tolist(), lengths[used].tolist(), strict=True)
    return found


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("devices", [1, 4])
@hypothesis.given(lengths=LENGTHS)
def test_an_epoch_visits_every_window_once(packed, devices, lengths):
    batches = batches_of(lengths, packed=packed, devices=devices)
    windows = sorted(zip(batches.starts.tolist(), batches.lengths.tolist(), strict=True))
    assert sorted(epoch_of(batches, 0)) == windows
    assert sorted(epoch_of(batches, 3)) == windows


@hypothesis.given(lengths=LENGTHS)
def test_every_batch_has_one_shape_that_devices_share_evenly(lengths):
    batches = batches_of(lengths, devices=4)
    shapes = {batches(step)[0].shape for step in range(2 * batches.steps_per_epoch)}
    assert len(shapes) == 1
    assert shapes.pop()[0] % 4 == 0


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("devices", [1, 4])
@hypothesis.given(lengths=LENGTHS, batch_size=st.integers(1, 12))
def test_no_step_is_empty_and_none_has_two_rows_more_than_another(
    packed, devices, lengths, batch_size
):
    batches = batches_of(lengths, packed=packed, devices=devices, batch_size=batch_size)
    rows = [int((batches(i)[1].sum(axis=1) > 0).sum()) for i in range(batches.steps_per_epoch)]
    assert min(rows) >= 1
    assert max(rows) - min(rows) <= 1
    assert batches.rows - max(rows) < devices


@hypothesis.given(lengths=LENGTHS, batch_size=st.integers(1, 12))
def test_an_epoch_computes_fewer_empty_rows_than_a_step_has(lengths, batch_size):
    batches = batches_of(lengths, batch_size=batch_size)
    used = sum((batches(i)[1].sum(axis=1) > 0).sum() for i in range(batches.steps_per_epoch))
    wanted = math.ceil(used * batch_size / len(lengths))  # for so many windows, on average
    assert 0 <= batches.steps_per_epoch * batches.rows - used < wanted
    assert batches.rows <= wanted


def test_the_rows_of_a_step_by_hand():
    """Seven full rows, two a step: four steps, of 1, 2, 2 and 2."""
    batches = batches_of([20] * 7, batch_size=2)
    assert (batches.steps_per_epoch, batches.rows) == (4, 2)
    held = [int((batches(step)[1] == 20).sum()) for step in range(4)]
    assert held == [1, 2, 2, 2]


def test_epochs_differ_and_a_step_is_always_the_same_batch():
    lengths = [3, 3, 3, 7, 7, 12, 5, 5] * 20
    first, second = batches_of(lengths), batches_of(lengths)
    assert epoch_of(first, 0) != epoch_of(first, 1)
    for step in (5, 0, 33, 5):  # in any order, by any object
        for a, b in zip(first(step), second(step), strict=True):
            np.testing.assert_array_equal(a, b)
    assert epoch_of(batches_of(lengths, seed=1), 0) != epoch_of(first, 0)


def test_packing_keeps_the_number_of_steps():
    lengths = [3, 3, 3, 7, 7, 12, 5, 5] * 20
    packed = batches_of(lengths, batch_size=80)
    plain = batches_of(lengths, batch_size=80, packed=False)
    assert packed.steps_per_epoch == plain.steps_per_epoch == 2  # 160 windows, 80 a step
    assert packed.fill > 0.9 > 0.3 > plain.fill


@hypothesis.given(lengths=LENGTHS, devices=st.sampled_from([1, 2, 4]))
def test_no_row_predicts_more_than_the_most(lengths, devices):
    batches = batches_of(lengths, devices=devices)
    counts = mask_counts(20, proportion=0.3, budget=4)
    for step in range(batches.steps_per_epoch):
        per_row = counts[batches(step)[1]].sum(axis=1)
        assert per_row.max() <= batches.most_predictions(counts)


def test_a_row_by_hand():
    log = jnp.arange(100, 120, dtype=jnp.int32)
    row = make_row(log, jnp.array([4, 0, 0]), jnp.array([3, 2, 0]), max_length=7)
    assert row.items.tolist() == [104, 105, 106, 100, 101, 0, 0]
    assert row.segments.tolist() == [1, 1, 1, 2, 2, 0, 0]
    assert row.positions.tolist() == [0, 1, 2, 0, 1, 0, 0]
    assert row.lengths.tolist() == [3, 3, 3, 2, 2, 0, 0]
    assert row.starts.tolist() == [4, 4, 4, 0, 0, 0, 0]


def test_an_empty_row_is_all_padding():
    log = jnp.arange(5, dtype=jnp.int32)
    row = make_row(log, jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32), max_length=3)
    assert all((np.asarray(field) == 0).all() for field in row)


def test_rows_are_the_same_whoever_reads_the_items():
    lengths = [3, 9, 4, 20, 1, 6]
    log = jnp.arange(1, 1 + sum(lengths), dtype=jnp.int32)
    starts, sizes = batches_of(lengths)(0)
    read = np.zeros((len(starts), 20), np.int32)
    for row, windows in enumerate(zip(starts, sizes, strict=True)):
        items = [log[start : start + size] for start, size in zip(*windows, strict=True)]
        read[row, : sizes[row].sum()] = np.concatenate(items)
    ours = make_rows(log, starts, sizes, max_length=20)
    fed = make_rows(jnp.asarray(read), starts, sizes, max_length=20)
    for one, other in zip(ours, fed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_of_a_batch_hold_the_windows_it_names():
    lengths = [3, 9, 4, 20, 1, 6]
    batches = batches_of(lengths)
    log = jnp.arange(1, 1 + sum(lengths), dtype=jnp.int32)
    starts, sizes = batches(0)
    rows = jax.vmap(functools.partial(make_row, log, max_length=20))(starts, sizes)
    items = np.asarray(rows.items)
    assert sorted(items[items > 0].tolist()) == log.tolist()
