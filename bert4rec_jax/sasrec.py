"""SASRec (Kang and McAuley, ICDM 2018, arXiv 1808.09781), the causal Transformer, in Flax.

Where the paper and its authors' code (github.com/kang205/SASRec) differ, this follows the code: the
residual connections carry the normalised input of a sublayer (the paper: the raw one), and
attention has no output projection. Unlike either, positions count from a window's start, not from
its end, so that a packed history is what it is alone.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert4rec_jax import initializers, shards
from bert4rec_jax.attention import attention, pick_tokens
from bert4rec_jax.dropout import dropout


class SASRec(nn.Module):
    """Item ids -> one hidden vector per position, of this and the earlier items of its history.

    Its interface is that of `encoder.Encoder`; the id MASK has no meaning here.

    Attributes:
        items: n, the size of the catalogue.
        max_length: N, the longest window; the size of the position table.
        hidden: d, also the inner width of the feed-forward network (section 3.3 there).
        layers: blocks.  heads: a divisor of d (the original: 1).
        dropout: rate on the embeddings and within the feed-forward network.
        attention_dropout: rate on the attention probabilities (the original: the same one).
        kernel_init: a key of `initializers.BY_NAME`, for kernels and embeddings. The original has
            TensorFlow's default, "xavier", whose scale falls with the rows of a table: the items of
            a large catalogue then start far smaller than the positions added to them.
        dtype: of activations and matrix products.
    """

    items: int
    max_length: int
    hidden: int = 64
    layers: int = 2
    heads: int = 1
    dropout: float = 0.2
    attention_dropout: float = 0.2
    kernel_init: str = "xavier"
    dtype: Any = jnp.float32

    def setup(self):
        init = initializers.BY_NAME[self.kernel_init]
        self.item_embedding = self.param(
            "item_embedding", init, (shards.rows_here(self.items), self.hidden)
        )
        self.position_embedding = self.param(
            "position_embedding", init, (self.max_length, self.hidden)
        )
        self.block = [
            Block(
                heads=self.heads,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
            )
            for _ in range(self.layers)
        ]
        self.output_norm = _layer_norm(self.dtype)

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
        positions' vectors are computed: [B, S, d].
        """
        x = shards.take_rows(self.item_embedding, ids - 1).astype(self.dtype)  # as in encoder.py
        x = x * self.hidden**0.5
        x = x + jnp.take(self.position_embedding, positions, axis=0).astype(self.dtype)
        x = x.reshape(-1, self.hidden)  # [B * N, d], as in encoder.py
        if train:
            x = dropout(self.make_rng("dropout"), x, self.dropout)
        for block in self.block[:-1]:
            x = block(x, segments, train)
        x = self.block[-1](x, segments, train, asked)
        return x.reshape(len(ids), -1, self.hidden)  # [B, N or S, d]

    def transform(self, hidden: jax.Array) -> jax.Array:
        """The last LayerNorm, [..., d] -> [..., d]."""
        return self.output_norm(hidden)

    def item_table(self) -> tuple[jax.Array, jax.Array]:
        """(table [n, d], bias [n]): the input embedding, not scaled, and zeros."""
        # Not jnp.zeros: under shard_map zeros like the table vary over devices as it does.
        bias = jnp.zeros_like(self.item_embedding[:, 0])
        return self.item_embedding, shards.bar_padding(bias, self.items)


class Block(nn.Module):
    """Attention and feed-forward network, each normalised before it: [B * N, d] -> the same.

    With `asked`, int32 [B, S], -> [B * S, d] of those positions.
    """

    heads: int
    dropout: float
    attention_dropout: float
    kernel_init: str
    dtype: Any

    @nn.compact
    def __call__(
        self, x: jax.Array, segments: jax.Array, train: bool, asked: jax.Array | None = None
    ) -> jax.Array:
        def drop(y):
            return dropout(self.make_rng("dropout"), y, self.dropout) if train else y

        def dense(features, name):
            init = initializers.BY_NAME[self.kernel_init]
            return nn.Dense(features, kernel_init=init, dtype=self.dtype, name=name)

        width = x.shape[-1]
        queries = _layer_norm(self.dtype, "attention_norm")(x)
        # Only the queries are normalised: keys and values see x itself. One kernel for each, as
        # the initial scale follows a kernel's width.
        projected = (dense(width, "q")(queries), dense(width, "k")(x), dense(width, "v")(x))
        attended = attention(
            jnp.concatenate(projected, axis=-1),
            segments,
            heads=self.heads,
            dropout_key=self.make_rng("dropout") if train else None,
            dropout_rate=self.attention_dropout,
            causal=True,
            asked=asked,
            keep=functools.partial(self.sow, "intermediates", "attention"),
        )
        residual = pick_tokens(queries, segments, asked)
        x = _layer_norm(self.dtype, "feed_forward_norm")(residual + attended)
        inner = drop(nn.relu(dense(width, "feed_forward_in")(x)))
        return x + drop(dense(width, "feed_forward_out")(inner))


def _layer_norm(dtype, name=None):
    return nn.LayerNorm(epsilon=1e-8, use_fast_variance=False, dtype=dtype, name=name)
