"""The parameters of a model for more items than it was trained on."""

from typing import Any

import jax
import jax.numpy as jnp

NOISE = 0.02  # BERT's, as of every embedding that is not trained yet


def grow(params: Any, like: Any, *, key: jax.Array) -> Any:
    """The parameters of a model of n items as those of the same model of n' >= n items.

    The rows of the first n items are what they were. A new item's embedding is the mean of the
    trained ones plus noise: it begins among them, where the blocks have learnt to read, and not
    near 0 as an initial row would; the noise tells two new items apart. Its output bias is the
    least trained one: nothing recommends it before its own rows have, so that at the first step
    the model is no worse for the old items than it was.

    Args:
        params: dict of arrays; leaves with a row an item have n rows.
        like: the same tree of shapes; those leaves have n' rows.
        key: of the noise.
    """

    def grown(path, new, old):
        added = new.shape[0] - old.shape[0] if new.ndim else 0
        if not added:
            return old
        if old.ndim == 1:
            rows = jnp.full((added,), old.min(), old.dtype)
        else:
            name = jax.tree_util.keystr(path)
            of_leaf = jax.random.fold_in(key, sum(name.encode()))  # a table's own noise
            noise = NOISE * jax.random.truncated_normal(of_leaf, -2.0, 2.0, (added, *old.shape[1:]))
            rows = old.mean(axis=0, keepdims=True) + noise
        return jnp.concatenate([old, rows])

    return jax.tree_util.tree_map_with_path(grown, like, params)
