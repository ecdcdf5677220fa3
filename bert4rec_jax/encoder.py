"""The bidirectional Transformer encoder (paper, sections 3.2 to 3.5) in Flax."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert4rec_jax import initializers, shards
from bert4rec_jax.attention import attention, pick_tokens
from bert4rec_jax.dropout import dropout

# What an ablation can leave out (Table 5).
PARTS = ("positions", "feed_forward", "layer_norm", "residual")


class Encoder(nn.Module):
    """Item ids -> one hidden vector per position, and the scores of all items for any of them.

    A row may hold several histories, told apart by `segments`; attention never crosses from one
    to another, so a packed row gives exactly what its histories give alone.

    Attributes:
        items: n, the size of the catalogue.
        max_length: N, the longest window; the size of the position table.
        hidden: d.  layers: L.  heads: h, a divisor of d.
        feed_forward: inner width of the feed-forward network over d (paper: 4).
        dropout: rate on the embeddings and on every sublayer's output.
        attention_dropout: rate on the attention probabilities.
        kernel_init: a key of `initializers.BY_NAME`, for the dense kernels; embeddings are always
            "bert".
        neighbours: items on either side whose embeddings, each under a learnt weight per channel,
            are added to a position's (not in the paper, which has 0): MASK then starts from the
            items next to it instead of having to find them by attention.
        projection: whether a dense layer with GELU stands before the tied table (equation 7).
            Without it an item's score is the product of its embedding and, normalised, what the
            residual connections have carried from those of the history.
        without: one of PARTS, for an ablation: no position embedding, and in the blocks no
            feed-forward network, LayerNorm or residual connections; "": nothing.
        dtype: of activations and matrix products; parameters, LayerNorm statistics, softmax and
            loss are float32 always.
    """

    items: int
    max_length: int
    hidden: int = 64
    layers: int = 2
    heads: int = 2
    feed_forward: int = 4
    dropout: float = 0.2
    attention_dropout: float = 0.2
    kernel_init: str = "bert"
    neighbours: int = 0
    projection: bool = True
    without: str = ""
    dtype: Any = jnp.float32

    def setup(self):
        rows = shards.rows_here(self.items)
        self.item_embedding = self.param("item_embedding", initializers.BERT, (rows, self.hidden))
        self.mask_embedding = self.param("mask_embedding", initializers.BERT, (self.hidden,))
        self.position_embedding = self.param(
            "position_embedding", initializers.BERT, (self.max_length, self.hidden)
        )
        if self.neighbours:
            self.neighbour_weights = self.param(
                "neighbour_weights",
                nn.initializers.constant(0.5),
                (2 * self.neighbours, self.hidden),
            )
        self.embedding_norm = _layer_norm(self.dtype)
        self.block = [
            Block(
                heads=self.heads,
                inner=self.feed_forward * self.hidden,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                kernel_init=self.kernel_init,
                without=self.without,
                dtype=self.dtype,
            )
            for _ in range(self.layers)
        ]
        self.output_dense = _dense(self.hidden, self.kernel_init, self.dtype)
        self.output_norm = _layer_norm(self.dtype)
        self.output_bias = self.param("output_bias", nn.initializers.zeros, (rows,))

    def __call__(
        self,
        ids: jax.Array,
        segments: jax.Array,
        positions: jax.Array,
        *,
        train: bool = False,
        asked: jax.Array | None = None,
        causal: jax.Array | None = None,
    ) -> jax.Array:
        """Hidden vectors [B, N, d] of ids, segments and positions, int32 [B, N] each.

        With `train`, dropout draws from the "dropout" key. With `asked`, int32 [B, S], only those
        positions' vectors are computed, [B, S, d]: the last block, half of the work at L = 2, is
        then spared at all others. Rows where `causal`, bool [B], is True are read left to right
        (`mixture.py`); None: none.
        """
        # PAD has no row: what stands at padding is never attended to and never predicted.
        # Rounded to `dtype` once taken, so that the gradients of a frequent row add up in float32.
        x = shards.take_rows(self.item_embedding, ids - 1).astype(self.dtype)  # [B, N, d]
        is_mask = ids == self.items + 1
        x = jnp.where(is_mask[..., None], self.mask_embedding.astype(self.dtype), x)
        if self.neighbours:
            weights = self.neighbour_weights.astype(self.dtype)
            x = add_neighbours(x, segments, weights, causal)
        if self.without != "positions":
            x = x + jnp.take(self.position_embedding, positions, axis=0).astype(self.dtype)
        # From here on all tokens are rows of one matrix: XLA's CPU backend multiplies matrices
        # faster than it contracts over batch and position (benchmarks/feed_forward.py).
        x = x.reshape(-1, self.hidden)  # [B * N, d]
        x = self._drop(self.embedding_norm(x), train)
        for block in self.block[:-1]:
            x = block(x, segments, train, causal=causal)
        x = self.block[-1](x, segments, train, asked, causal)
        return x.reshape(len(ids), -1, self.hidden)  # [B, N or S, d]

    def transform(self, hidden: jax.Array) -> jax.Array:
        """The output layer before the tied table (equation 7; the code adds the LayerNorm).

        Takes and returns [..., d]; its product with `item_table` are the scores.
        """
        if self.projection:
            hidden = gelu(self.output_dense(hidden))
        return self.output_norm(hidden)

    def item_table(self) -> tuple[jax.Array, jax.Array]:
        """(table [n, d], bias [n]): row i belongs to item id i + 1. Tied to the input embedding."""
        return self.item_embedding, shards.bar_padding(self.output_bias, self.items)

    def _drop(self, x, train):
        return dropout(self.make_rng("dropout"), x, self.dropout) if train else x


class Block(nn.Module):
    """One post-LayerNorm Transformer block (section 3.3): tokens [B * N, d] -> the same.

    With `asked`, int32 [B, S], -> [B * S, d] of those positions.
    """

    heads: int
    inner: int
    dropout: float
    attention_dropout: float
    kernel_init: str
    without: str
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        segments: jax.Array,
        train: bool,
        asked: jax.Array | None = None,
        causal: jax.Array | None = None,
    ) -> jax.Array:
        def drop(y):
            return dropout(self.make_rng("dropout"), y, self.dropout) if train else y

        def dense(features, name):
            return _dense(features, self.kernel_init, self.dtype, name)

        def joined(x, sublayer, name):
            y = drop(sublayer) if self.without == "residual" else x + drop(sublayer)
            return y if self.without == "layer_norm" else _layer_norm(self.dtype, name)(y)

        width = x.shape[-1]
        qkv = dense(3 * width, "qkv")(x)
        attended = attention(
            qkv,
            segments,
            heads=self.heads,
            dropout_key=self.make_rng("dropout") if train else None,
            dropout_rate=self.attention_dropout,
            causal=causal,
            asked=asked,
            keep=functools.partial(self.sow, "intermediates", "attention"),
        )
        attended = dense(width, "attention_out")(attended)
        x = pick_tokens(x, segments, asked)
        x = joined(x, attended, "attention_norm")
        if self.without == "feed_forward":
            return x
        inner = gelu(dense(self.inner, "feed_forward_in")(x))
        outer = dense(width, "feed_forward_out")(inner)
        return joined(x, outer, "feed_forward_norm")


def add_neighbours(
    x: jax.Array, segments: jax.Array, weights: jax.Array, causal: jax.Array | None
) -> jax.Array:
    """x and, weighted, the vectors next to each position in its own history.

    Args:
        x: [B, N, d].
        segments: int32 [B, N], the history that a position belongs to.
        weights: [2k, d], for the positions -k .. -1, 1 .. k from one's own.
        causal: bool [B], rows that do not look ahead; None: none.

    Returns:
        [B, N, d].
    """
    near, length = len(weights) // 2, x.shape[1]
    offsets = jnp.array([*range(-near, 0), *range(1, near + 1)], jnp.int32)
    padded = jnp.pad(x, ((0, 0), (near, near), (0, 0)))
    owners = jnp.pad(segments, ((0, 0), (near, near)), constant_values=-1)  # no history's

    # A loop, because XLA's CPU backend would else compute the whole sum again for each offset of
    # the backward pass (benchmarks/neighbours.py).
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def add(total, one):
        offset, weight = one
        moved = jax.lax.dynamic_slice_in_dim(padded, near + offset, length, axis=1)
        there = jax.lax.dynamic_slice_in_dim(owners, near + offset, length, axis=1) == segments
        if causal is not None:
            there &= (offset < 0) | ~causal[:, None]
        return total + jnp.where(there[..., None], moved * weight[None, None, :], 0.0), None

    return jax.lax.scan(add, x, (offsets, weights))[0]


@jax.custom_jvp
def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU, x times the normal distribution function at x (equation 4)."""
    return x * _normal_cdf(x)


@gelu.defjvp
def _gelu_jvp(primals, tangents):
    # By hand, because jax 0.12.0 cannot differentiate erf under shard_map's replication check.
    (x,), (dx,) = primals, tangents
    cdf = _normal_cdf(x)
    density = jnp.exp(-0.5 * x * x) * (2 * jnp.pi) ** -0.5
    return x * cdf, dx * (cdf + x * density)


def _normal_cdf(x):
    return 0.5 * (1.0 + jax.lax.erf(x * 0.5**0.5))


def _dense(features, kernel_init, dtype, name=None):
    return nn.Dense(features, kernel_init=initializers.BY_NAME[kernel_init], dtype=dtype, name=name)


def _layer_norm(dtype, name=None):
    # The one-pass variance E[x^2] - E[x]^2 loses digits; 1e-12 is TensorFlow's contrib epsilon.
    return nn.LayerNorm(epsilon=1e-12, use_fast_variance=False, dtype=dtype, name=name)
