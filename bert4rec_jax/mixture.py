"""Rows read left to right among the Cloze rows of a batch.

A Cloze row asks for a fifth of its items. A row read left to right has the same masks, but its
attention sees no later items, and so it can also ask every item for the next one: five times as
much to learn from. The weights are shared, and a MASK there sees what it sees at inference, the
items before it; so what is learnt serves the MASK behind a history. Not in the paper.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.masking import Row, Task
from bert4rec_jax.next_item import next_item


def is_left_to_right(place: jax.Array | np.ndarray, rate: float) -> jax.Array | np.ndarray:
    """Whether the row at this place of a batch is read left to right; `rate` of any run of places.

    Rows are shuffled every epoch, so a fixed pattern of places gives each window its share, and the
    number of such rows is known when the program is compiled.
    """
    return (place + 1) * rate // 1 > place * rate // 1


def rows_at_most(rows: int, rate: float) -> int:
    """The most rows read left to right among any `rows` places in a run."""
    return math.ceil(rows * rate)


def mixed_counts(max_length: int) -> np.ndarray:
    """The most that a window of each length asks for, read left to right: int32 [max_length + 1].

    Its masked items, and at the others the next: one each, save the last where it is not masked.
    """
    return np.arange(max_length + 1, dtype=np.int32)


def mixed(
    key: jax.Array,
    row: Row,
    place: jax.Array,
    *,
    cloze: Callable[[jax.Array, Row], Task],
    rate: float,
) -> Task:
    """The task of one row: Cloze, and where `is_left_to_right` also the next item.

    Args:
        place: int32 scalar, of the row in the batch.
        rate: share of rows read left to right.
    """
    causal = is_left_to_right(place, rate)
    masked, ahead = cloze(key, row), next_item(key, row)
    asks_ahead = causal & (masked.weights == 0)
    return Task(
        inputs=masked.inputs,
        labels=jnp.where(asks_ahead, ahead.labels, masked.labels),
        weights=jnp.where(asks_ahead, ahead.weights, masked.weights),
        causal=causal,
    )
