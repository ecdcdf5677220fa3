"""Rows read left to right among the Cloze rows of a batch.

A Cloze row asks for a fifth of its items. A row read left to right has the same masks, but its
attention sees no later items, and so it can also ask every item for the next one: five times as
much to learn from. The weights are shared, and a MASK there sees what it sees at inference, the
items before it, though these do not see each other from both sides, as they do then; so what is
learnt serves the MASK behind a history. Not in the paper.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.masking import Row, Task
from bert4rec_jax.next_item import next_item


def is_left_to_right(place: jax.Array | np.ndarray, rate: float) -> jax.Array | np.ndarray:
    """Whether the row at this place is read left to right: `rate` of any run of places.

    Args:
        place: int, from 0 to a million.
        rate: to a thousandth, which is what makes the share exact.
    """
    thousandths = round(1000 * rate)
    return (place + 1) * thousandths // 1000 > place * thousandths // 1000


def rows_at_most(rows: int, rate: float) -> int:
    """The most rows read left to right among any `rows` places in a run."""
    return -(-rows * round(1000 * rate) // 1000)


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
    """The task of one row: Cloze, and for `rate` of the rows also the next item.

    The rows of a step are places in a run, which begins anywhere: so every row has the chance
    `rate`, and the number of them is known, give or take one, when the program is compiled.

    Args:
        key: of the step.
        place: int32 scalar, of the row in the batch.
        rate: share of rows read left to right.
    """
    first_key, cloze_key = jax.random.split(key)
    causal = is_left_to_right(place + jax.random.randint(first_key, (), 0, 1000), rate)
    masked, ahead = cloze(cloze_key, row), next_item(cloze_key, row)
    asks_ahead = causal & (masked.weights == 0)
    return Task(
        inputs=masked.inputs,
        labels=jnp.where(asks_ahead, ahead.labels, masked.labels),
        weights=jnp.where(asks_ahead, ahead.weights, masked.weights),
        causal=causal,
    )
