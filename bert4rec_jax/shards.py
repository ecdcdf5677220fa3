"""The item table by rows: whole on every device, or a shard of it on each (mesh.model).

A table of n rows on S devices is padded to S shards of ceil(n / S) rows; the last shards may hold
padding in part or altogether. Padding rows are zero, get no gradient, and have the bias -inf, so
that nothing is ever predicted, recommended or ranked there. What goes between devices is what was
looked up, or scored: never the table, and never the scores of the catalogue. Outside
`mesh.map_over_devices`, and where the table is not split, everything here is the plain operation.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bert4rec_jax import mesh

# The parameters with a row an item, by the name that every model gives them.
ITEM_ROWS = ("item_embedding", "output_embedding", "output_bias")


def has_item_rows(path: tuple) -> bool:
    """Whether the leaf at this path of a tree of parameters, or of their moments, is split."""
    return getattr(path[-1], "key", None) in ITEM_ROWS if path else False


def item_axes(tree: Any, count: int) -> Any:
    """For each array of `tree` the mesh axis that its rows are split over `count` devices by.

    Returns:
        as `mesh.map_over_devices` takes it: None where nothing is split.
    """
    if count == 1:
        return None
    return jax.tree_util.tree_map_with_path(
        lambda path, _: mesh.MODEL if has_item_rows(path) else None, tree
    )


def pad_rows(tree: Any, count: int) -> Any:
    """`tree` with zero rows behind each item table, so that `count` devices get as many rows."""

    def pad(path, x):
        rows = -len(x) % count if has_item_rows(path) else 0
        return jnp.pad(x, [(0, rows)] + [(0, 0)] * (x.ndim - 1)) if rows else x

    return jax.tree_util.tree_map_with_path(pad, tree)


def cut_rows(tree: Any, items: int) -> Any:
    """`tree` on the host, without the rows that `pad_rows` added."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: np.asarray(x)[:items] if has_item_rows(path) else np.asarray(x), tree
    )


def count_parameters(tree: Any, items: int) -> int:
    """How many numbers `tree` holds, without those of `pad_rows`."""

    def size(path, x):
        return x.size // len(x) * items if has_item_rows(path) else x.size

    return sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(size, tree)))


def rows_here(items: int) -> int:
    """Rows that a device holds of a table of `items` rows, padding included."""
    return -(-items // mesh.shard_count())


def local_rows(rows: jax.Array, size: int) -> tuple[jax.Array, jax.Array | bool]:
    """Where rows of the whole table lie on this device, which holds `size` of them.

    Returns:
        (index among those, 0 where the row lies on another device; whether it lies here).
    """
    if mesh.shard_count() == 1:
        return rows, True
    index = rows - mesh.shard_index() * size
    here = (index >= 0) & (index < size)
    return jnp.where(here, index, 0), here


def where_here(here: jax.Array | bool, x: jax.Array) -> jax.Array:
    """`x` where `here`, else 0; `here` covers the leading axes of `x`."""
    if here is True:
        return x
    return jnp.where(here.reshape(here.shape + (1,) * (x.ndim - here.ndim)), x, 0)


def at_rows(function: Callable[[jax.Array], jax.Array], rows: jax.Array, size: int) -> jax.Array:
    """`function(rows)`, [*rows.shape, ...], wherever those rows lie: the same on every device.

    Args:
        function: of indices among the `size` rows on this device; each row's result is its own.
        rows: int32, of the whole table; what lies outside it has the result 0.
    """
    index, here = local_rows(rows, size)
    return mesh.sum_over_shards(where_here(here, function(index)))


def take_rows(table: jax.Array, rows: jax.Array) -> jax.Array:
    """Rows [..., d] of a table [n, d], for `rows` int32 [...]; outside of 0..n - 1 any numbers."""
    return at_rows(lambda index: jnp.take(table, index, axis=0, mode="clip"), rows, len(table))


def bar_padding(bias: jax.Array, items: int) -> jax.Array:
    """The bias of this device's rows, -inf at those past the catalogue's `items`."""
    if mesh.shard_count() == 1:
        return bias
    rows = mesh.shard_index() * len(bias) + jnp.arange(len(bias))
    return jnp.where(rows < items, bias, -jnp.inf)


def top_k(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """`jax.lax.top_k` of the whole catalogue's scores, [B, rows on this device].

    Returns:
        (scores [B, k], rows of the whole table int32 [B, k]), the same on every device. Equal
        scores are in the order of rows: shards are gathered in that order, and top_k keeps it.
    """
    if mesh.shard_count() == 1:
        return jax.lax.top_k(scores, k)
    size = scores.shape[1]
    best, index = jax.lax.top_k(scores, min(k, size))
    best = mesh.gather_shards(best, axis=1)
    rows = mesh.gather_shards(index + mesh.shard_index() * size, axis=1)
    best, place = jax.lax.top_k(best, k)
    return best, jnp.take_along_axis(rows, place, axis=1)


def global_norm(tree: Any) -> jax.Array:
    """The norm of a tree of parameters' gradients, a table's taken over all of its shards."""
    if mesh.shard_count() == 1:
        return optax.tree.norm(tree)

    def square(path, x):
        total = jnp.sum(jnp.square(x))
        return mesh.sum_over_shards(total) if has_item_rows(path) else total

    squares = jax.tree_util.tree_map_with_path(square, tree)
    return jnp.sqrt(sum(jax.tree.leaves(squares)))
