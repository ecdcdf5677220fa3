"""A first-order Markov chain over items, smoothed towards popularity: a baseline without training.

    P(j | i) = (c(i -> j) + a p(j)) / (c(i) + a)

c(i -> j) counts the training rows in which j directly follows i, c(i) is its sum over j, and p(j)
is j's share of all training rows. An item that nothing follows in training backs off to p.
"""

import jax
import jax.numpy as jnp
import numpy as np


def fit_markov(
    items: np.ndarray,
    offsets: np.ndarray,
    train_ends: np.ndarray,
    *,
    catalogue: int,
    smoothing: float,
) -> dict[str, jax.Array]:
    """Counts the transitions of the training rows.

    Args:
        items: int32 [actions], ids 1..n, the users' histories one after another.
        offsets: int64 [users + 1], where each history starts.
        train_ends: int64 [users], how many of a user's items are training items.
        catalogue: n.
        smoothing: a > 0, the weight of popularity, in transitions. While a times the most popular
            item's share is below 1, popularity only orders what is counted equally often.

    Returns:
        the params of `markov_scores`, sparse: memory grows with the distinct transitions, not with
        n * n. "offsets" int32 [n + 1], "columns" int32 [transitions] and "counts" float32
        [transitions] are the rows of c, compressed; "totals" float32 [n] is c(i); "popularity"
        float32 [n] is p; "smoothing" float32 is a; "slots" int32 [the longest row] counts from 0
        (its shape is what a compiled program needs to know).
    """
    place = np.arange(len(items)) - np.repeat(offsets[:-1], np.diff(offsets))
    left = np.repeat(train_ends, np.diff(offsets)) - place  # training items from here on
    first = np.flatnonzero(left > 1)
    pairs = (items[first].astype(np.int64) - 1) * catalogue + items[first + 1] - 1
    pairs, counts = np.unique(pairs, return_counts=True)
    rows = np.concatenate([[0], np.cumsum(np.bincount(pairs // catalogue, minlength=catalogue))])
    popularity = np.bincount(items[left > 0], minlength=catalogue + 1)[1:]
    return {
        "offsets": jnp.asarray(rows, jnp.int32),
        "columns": jnp.asarray(pairs % catalogue, jnp.int32),
        "counts": jnp.asarray(counts, jnp.float32),
        "totals": jnp.asarray(
            np.bincount(pairs // catalogue, weights=counts, minlength=catalogue), jnp.float32
        ),
        "popularity": jnp.asarray(popularity / popularity.sum(), jnp.float32),
        "smoothing": jnp.float32(smoothing),
        "slots": jnp.arange(np.diff(rows).max(), dtype=jnp.int32),
    }


def markov_scores(params: dict[str, jax.Array], items: jax.Array, length: jax.Array) -> jax.Array:
    """P(j | the last item) of every item j: float32 [B, n], rows that sum to 1.

    Args:
        params: from `fit_markov`.
        items: int32 [B, N], left-aligned histories.  length: int32 [B], at least 1.
    """
    last = jnp.take_along_axis(items, length[:, None] - 1, axis=1)[:, 0] - 1
    start, end = params["offsets"][last], params["offsets"][last + 1]
    entry = start[:, None] + params["slots"][None, :]  # [B, longest row]
    used = entry < end[:, None]
    # Out of the catalogue, and so dropped, where the row has ended.
    column = jnp.where(used, params["columns"].at[entry].get(mode="clip"), len(params["totals"]))
    count = params["counts"].at[entry].get(mode="clip")
    scores = jnp.broadcast_to(
        params["smoothing"] * params["popularity"][None, :], (len(last), len(params["totals"]))
    )
    scores = scores.at[jnp.arange(len(last))[:, None], column].add(count, mode="drop")
    return scores / (params["totals"][last] + params["smoothing"])[:, None]
