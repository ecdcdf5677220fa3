"""The Cloze task (paper, section 3.6): hide some items of a history and predict them.

Everything here is a pure function of its key and works on one row; the caller batches it with
`jax.vmap`. A row may hold several histories (see `data/batching.py`), so "a history" below is a
maximal run of positions with the same segment number.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Row(NamedTuple):
    """One row of N positions, all fields int32 [N]; padding is 0 in every field.

    Attributes:
        items: item ids, 1..n.
        segments: which history of the row a position belongs to, 1.. (0: padding).
        positions: index of the item within its history window, from 0.
        lengths: length of the window that the position belongs to.
        starts: where that window starts in the log: its identity, and so its random key.
    """

    items: jax.Array
    segments: jax.Array
    positions: jax.Array
    lengths: jax.Array
    starts: jax.Array


class Task(NamedTuple):
    """What one row asks of the model: predict `labels` where `weights` is 1.

    Attributes:
        inputs: int32 [N], ids that the encoder reads.
        labels: int32 [N], ids to be predicted.
        weights: float32 [N], 1 at the positions that count, else 0.
        causal: bool scalar, whether the row is read left to right; None for a model that reads all
            rows alike.
    """

    inputs: jax.Array
    labels: jax.Array
    weights: jax.Array
    causal: jax.Array | None = None


def mask_counts(max_length: int, *, proportion: float, budget: int) -> np.ndarray:
    """How many items to mask in a history of each length: int32 [max_length + 1].

    Entry `l` is round(proportion * l), halves away from zero, at least one and at most `budget`
    (gen_data_fin.py, lines 431-432); entry 0 is 0. A table, so that host and device agree to the
    last unit on how many masked positions a row can hold.
    """
    counts = [0] + [
        min(budget, max(1, math.floor(proportion * length + 0.5)))
        for length in range(1, max_length + 1)
    ]
    return np.array(counts, np.int32)


def random_order(keys: jax.Array, segments: jax.Array, positions: jax.Array) -> jax.Array:
    """Each position's place in a uniformly random order of its history: int32 [N], from 0.

    `keys` holds one key per position, shape [N]. The first k places of every history are a uniform
    draw of k of its items without replacement, so all n-choose-k masks are equally likely.
    """
    draws = jax.vmap(jax.random.bits)(keys)
    # Padding sorts last, so a history's sorted positions stay within the range it occupies.
    group = jnp.where(segments > 0, segments, jnp.iinfo(jnp.int32).max)
    index = jnp.arange(len(segments), dtype=jnp.int32)
    _, _, order = jax.lax.sort((group, draws, index), num_keys=2)
    place_in_row = jnp.zeros_like(index).at[order].set(index, unique_indices=True)
    return place_in_row - (index - positions)


def cloze(
    key: jax.Array,
    row: Row,
    *,
    counts: jax.Array,
    mask_id: int,
    last_only_rate: float,
    mask_rate: float = 1.0,
    static_key: jax.Array | None = None,
    static_copies: int = 0,
) -> Task:
    """The Cloze task of one row; every history in it gets masks of its own.

    With probability `last_only_rate` a history masks only its last item, as inference does
    (section 3.6); otherwise `counts[length]` items drawn without replacement. A masked item is
    replaced by MASK with probability `mask_rate`, else by a random item or itself, half each
    (BERT's 80/10/10 is 0.8; the original sets 1.0).

    A window's masks depend on `key` and on where the window lies in the log, and on nothing else:
    not on its place in the batch, the packing or the number of devices.

    Args:
        key: this step's key.
        row: one row, fields [N].
        counts: int32 [N + 1], from `mask_counts`.
        mask_id: the id of MASK, n + 1.
        static_key, static_copies: with `static_copies` > 0 masks come from a fixed set of that
            many copies per window, drawn once from `static_key`, as the original's files hold
            them (dupe_factor 10); `key` then only chooses the copy. For ablation.
    """

    def window_keys(start):
        fresh = jax.random.fold_in(key, start)
        last_key, copy_key, mask_key = jax.random.split(fresh, 3)
        if static_copies:
            copy = jax.random.randint(copy_key, (), 0, static_copies)
            mask_key = jax.random.fold_in(jax.random.fold_in(static_key, start), copy)
        return jax.random.uniform(last_key) < last_only_rate, mask_key

    # Keys are drawn at every position, equal within a window: no gather, no second shape.
    last_only, mask_keys = jax.vmap(window_keys)(row.starts)
    keys = jax.vmap(jax.random.fold_in)(mask_keys, row.positions)

    drawn = random_order(keys, row.segments, row.positions) < counts[row.lengths]
    is_last = row.positions == row.lengths - 1
    masked = jnp.where(last_only, is_last, drawn) & (row.segments > 0)

    replacement = jnp.full_like(row.items, mask_id)
    if mask_rate < 1.0:
        replacement = jax.vmap(
            lambda k, item: _replacement(k, item, mask_id=mask_id, mask_rate=mask_rate)
        )(keys, row.items)
    return Task(
        inputs=jnp.where(masked, replacement, row.items),
        labels=row.items,
        weights=masked.astype(jnp.float32),
    )


def _replacement(key: jax.Array, item: jax.Array, *, mask_id: int, mask_rate: float) -> jax.Array:
    """What stands in a masked item's place: MASK, a random item, or the item itself."""
    # The position's own bits decided whether it is masked; fold in so that this draw is another.
    kind_key, item_key = jax.random.split(jax.random.fold_in(key, 1))
    kind = jax.random.uniform(kind_key)
    other = jax.random.randint(item_key, (), 1, mask_id, dtype=item.dtype)
    use_other = kind >= mask_rate + (1 - mask_rate) / 2
    return jnp.where(kind < mask_rate, mask_id, jnp.where(use_other, other, item))
