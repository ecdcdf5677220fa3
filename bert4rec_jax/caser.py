"""Caser (Tang and Wang, WSDM 2018, arXiv 1809.07426): convolutions over the last items, in Flax.

The paper joins each user's own embedding to what the convolutions give. It is left out: a table of
users has no row for one who came after training, and the other models know a user by the history
alone. What the paper predicts further ahead (T items) is here the next item only.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert4rec_jax import shards
from bert4rec_jax.dropout import dropout

_INIT = nn.initializers.xavier_uniform()


class Caser(nn.Module):
    """Item ids -> one hidden vector per position, of this and the `window` - 1 items before it.

    Its interface is that of `encoder.Encoder`; the id MASK has no meaning here.

    Attributes:
        items: n, the size of the catalogue.
        max_length: N, the longest row.
        hidden: d.
        window: L, how many items are looked at (paper: 5).
        horizontal: filters of each height 1..L (authors' code: 16).
        vertical: filters over the whole window, one dimension at a time (authors' code: 4).
        dropout: rate on what the filters give.
        dtype: of activations and matrix products.
    """

    items: int
    max_length: int
    hidden: int = 64
    window: int = 5
    horizontal: int = 16
    vertical: int = 4
    dropout: float = 0.2
    dtype: Any = jnp.float32

    def setup(self):
        heights, rows = range(1, self.window + 1), shards.rows_here(self.items)
        self.item_embedding = self.param("item_embedding", _INIT, (rows, self.hidden))
        self.horizontal_kernels = [
            self.param(f"horizontal_kernel_{h}", _conv_init, (h, self.hidden, self.horizontal))
            for h in heights
        ]
        self.horizontal_bias = self.param(
            "horizontal_bias", nn.initializers.zeros, (self.window, self.horizontal)
        )
        self.vertical_kernel = self.param("vertical_kernel", _INIT, (self.window, self.vertical))
        self.vertical_bias = self.param("vertical_bias", nn.initializers.zeros, (self.vertical,))
        self.output_dense = nn.Dense(self.hidden, kernel_init=_INIT, dtype=self.dtype)
        self.output_embedding = self.param("output_embedding", _INIT, (rows, self.hidden))
        self.output_bias = self.param("output_bias", nn.initializers.zeros, (rows,))

    def __call__(
        self,
        ids: jax.Array,
        segments: jax.Array,
        positions: jax.Array,
        *,
        train: bool = False,
        asked: jax.Array | None = None,
    ) -> jax.Array:
        """Hidden vectors [B, N, d] of ids, segments and positions, int32 [B, N] each.

        With `train`, dropout draws from the "dropout" key. With `asked`, int32 [B, S], only those
        positions' vectors are computed: [B, S, d]. Histories are told apart by their
        positions, which start at 0; `segments` is not read.
        """
        del segments
        x = shards.take_rows(self.item_embedding, ids - 1).astype(self.dtype)  # as in encoder.py
        windows = last_items(x, positions, self.window)
        if asked is not None:
            windows = jnp.take_along_axis(windows, asked[:, :, None, None], axis=1)
        windows = windows.reshape(-1, self.window, self.hidden)  # [B * N, L, d]
        features = jnp.concatenate(
            [self._horizontal_features(windows), self._vertical_features(windows)], axis=1
        )
        if train:
            features = dropout(self.make_rng("dropout"), features, self.dropout)
        return nn.relu(self.output_dense(features)).reshape(len(ids), -1, self.hidden)

    def transform(self, hidden: jax.Array) -> jax.Array:
        """The identity: `hidden` is what the table is multiplied with."""
        return hidden

    def item_table(self) -> tuple[jax.Array, jax.Array]:
        """(table [n, d], bias [n]): row i belongs to item id i + 1. Not the input embedding."""
        return self.output_embedding, shards.bar_padding(self.output_bias, self.items)

    def _horizontal_features(self, windows):
        """Windows [T, L, d] -> [T, L * filters]: each filter's highest answer over the window."""
        # Filters of all heights, laid at every offset with zeros around them, are the columns of
        # one matrix. Half of its product is with zeros, and yet a training step through it takes
        # two fifths of the time that five convolutions take on a CPU.
        laid = [
            jnp.pad(kernel, [(at, self.window - height - at), (0, 0), (0, 0)])
            for height, kernel in enumerate(self.horizontal_kernels, start=1)
            for at in range(self.window - height + 1)
        ]
        columns = jnp.concatenate(laid, axis=-1).astype(self.dtype)  # [L, d, offsets * filters]
        answers = windows.reshape(len(windows), -1) @ columns.reshape(-1, columns.shape[-1])
        offsets = range(self.window, 0, -1)  # of height 1, 2, ...
        by_height = jnp.split(
            answers.reshape(len(windows), -1, self.horizontal),
            [sum(offsets[:h]) for h in range(1, self.window)],
            axis=1,
        )
        highest = jnp.stack([answer.max(axis=1) for answer in by_height], axis=1)
        # The bias is the same at every offset and ReLU keeps order, so both can follow the maximum.
        highest = nn.relu(highest + self.horizontal_bias.astype(self.dtype)[None])
        return highest.reshape(len(windows), -1)

    def _vertical_features(self, windows):
        """Windows [T, L, d] -> [T, filters * d]: weighted sums of the window's items."""
        kernel = self.vertical_kernel.astype(self.dtype)
        sums = jnp.einsum("tld,lf->tfd", windows, kernel)
        sums = sums + self.vertical_bias.astype(self.dtype)[None, :, None]
        return sums.reshape(len(windows), -1)


def last_items(x: jax.Array, positions: jax.Array, window: int) -> jax.Array:
    """What stands at each position and the `window` - 1 before it, zeros before the history.

    Args:
        x: [B, N, d].  positions: int32 [B, N], the index of an item within its history.

    Returns:
        [B, N, window, d], oldest first.
    """

    def back(steps):
        shifted = jnp.pad(x, [(0, 0), (steps, 0), (0, 0)])[:, : x.shape[1]]
        return jnp.where((positions >= steps)[..., None], shifted, 0)

    return jnp.stack([back(steps) for steps in range(window - 1, -1, -1)], axis=2)


def _conv_init(key, shape, dtype=jnp.float32):
    """Xavier's scale of a filter seen as a matrix from height * d inputs to the filters."""
    height, width, filters = shape
    return _INIT(key, (height * width, filters), dtype).reshape(shape)
