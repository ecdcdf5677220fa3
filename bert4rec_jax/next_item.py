"""The next-item task of left-to-right models: at every position, predict the item that follows.

A pure function of one row, as `masking.cloze` is; the caller batches it with `jax.vmap`.

A window of N items asks N - 1 times, so nothing is ever learnt about asking from the N-th place: a
model with position embeddings must be shown N - 1 items at most when it recommends. That is also
what BERT4Rec sees beside MASK.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.masking import Row, Task


def next_counts(max_length: int) -> np.ndarray:
    """How many items a history of each length asks for: int32 [max_length + 1], length - 1 each.

    What `masking.mask_counts` is to the Cloze task: it bounds the predictions of a row.
    """
    return np.maximum(np.arange(max_length + 1, dtype=np.int32) - 1, 0)


def next_item(key: jax.Array, row: Row) -> Task:
    """The next-item task of one row; a window's last item is followed by nothing.

    Args:
        key: unused, for nothing here is drawn; there so that tasks are called alike.
        row: one row, fields [N].
    """
    del key
    followed = (row.segments > 0) & (row.positions < row.lengths - 1)
    following = jnp.roll(row.items, -1)
    return Task(
        inputs=row.items,
        labels=jnp.where(followed, following, row.items),
        weights=followed.astype(jnp.float32),
    )
