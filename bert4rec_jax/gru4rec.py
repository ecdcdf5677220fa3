"""GRU4Rec (Hidasi et al., ICLR 2016, arXiv 1511.06939), and the same with an LSTM, in Flax.

The network is the paper's. Items are embedded and the scores use the same table, the "constrained
embedding" of the authors' code (github.com/hidasib/GRU4Rec), where the paper feeds one-hot vectors.
Its session-parallel batches and ranking losses are not here: a batch holds whole histories, and the
loss is the one that every left-to-right model shares.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert4rec_jax import shards
from bert4rec_jax.dropout import dropout

_INIT = nn.initializers.xavier_uniform()


class GRU4Rec(nn.Module):
    """Item ids -> one hidden vector per position, of this and the earlier items of its history.

    Its interface is that of `encoder.Encoder`; the id MASK has no meaning here.

    Attributes:
        items: n, the size of the catalogue.
        max_length: N, the longest window.
        hidden: d, of the embeddings and of the recurrent state.
        layers: recurrent layers, one on top of the other.
        cell: a key of CELLS.
        dropout: rate on the input of every recurrent layer and on the last one's output.
        dtype: of activations and matrix products; the recurrent state is float32 always.
    """

    items: int
    max_length: int
    hidden: int = 64
    layers: int = 1
    cell: str = "gru"
    dropout: float = 0.2
    dtype: Any = jnp.float32

    def setup(self):
        rows = shards.rows_here(self.items)
        self.item_embedding = self.param("item_embedding", _INIT, (rows, self.hidden))
        self.recurrent = [
            Recurrent(cell=self.cell, units=self.hidden, dtype=self.dtype)
            for _ in range(self.layers)
        ]
        self.output_dense = nn.Dense(self.hidden, kernel_init=_INIT, dtype=self.dtype)
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
        positions' vectors are returned: [B, S, d]. Histories are told apart by their
        positions, which start at 0; `segments` is not read.
        """

        def drop(y):
            return dropout(self.make_rng("dropout"), y, self.dropout) if train else y

        del segments
        # [N, B, d]: time first, as scan has it; rounded once taken, as in encoder.py.
        x = shards.take_rows(self.item_embedding, ids.T - 1).astype(self.dtype)
        for recurrent in self.recurrent:
            x = recurrent(drop(x), positions.T == 0)
        x = jnp.swapaxes(drop(x), 0, 1)  # [B, N, d]
        return x if asked is None else jnp.take_along_axis(x, asked[:, :, None], axis=1)

    def transform(self, hidden: jax.Array) -> jax.Array:
        """The dense layer before the table, [..., d] -> [..., d]."""
        return self.output_dense(hidden)

    def item_table(self) -> tuple[jax.Array, jax.Array]:
        """(table [n, d], bias [n]): row i belongs to item id i + 1. Tied to the input embedding."""
        return self.item_embedding, shards.bar_padding(self.output_bias, self.items)


class Recurrent(nn.Module):
    """One recurrent layer over time: x [N, B, d] and starts bool [N, B] -> [N, B, units].

    The state is zero before every position of `starts`.
    """

    cell: str
    units: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, starts: jax.Array) -> jax.Array:
        advance, gates, vectors = CELLS[self.cell]
        (length, batch, width), features = x.shape, gates * self.units
        # The product with the inputs does not wait for the state: one matrix product for all times.
        inputs = nn.Dense(features, kernel_init=_INIT, dtype=self.dtype, name="input")(
            x.reshape(-1, width)
        ).reshape(length, batch, features)
        kernel = self.param("recurrent_kernel", _orthogonal_gates, (self.units, features))
        kernel = kernel.astype(self.dtype)

        def step(state, at):
            inputs, starts = at
            state = [jnp.where(starts[:, None], 0.0, vector) for vector in state]
            product = jnp.dot(
                state[0].astype(self.dtype), kernel, preferred_element_type=jnp.float32
            )
            state = advance(state, inputs.astype(jnp.float32), product)
            return state, state[0].astype(self.dtype)

        start = [jnp.zeros_like(inputs[0, :, : self.units], jnp.float32)] * vectors
        return jax.lax.scan(step, start, (inputs, starts))[1]


def gru(state: list[jax.Array], inputs: jax.Array, product: jax.Array) -> list[jax.Array]:
    """One step of a gated recurrent unit: state [h], h [B, units], -> the next.

    Args:
        inputs, product: [B, 3 * units], of the item and of h: reset, update, candidate. The reset
            gate acts after the product (as in cuDNN), not before it, so that there is but one.
    """
    (h,) = state
    reset_in, update_in, candidate_in = jnp.split(inputs, 3, axis=-1)
    reset_h, update_h, candidate_h = jnp.split(product, 3, axis=-1)
    reset = nn.sigmoid(reset_in + reset_h)
    update = nn.sigmoid(update_in + update_h)
    candidate = jnp.tanh(candidate_in + reset * candidate_h)
    return [(1 - update) * candidate + update * h]


def lstm(state: list[jax.Array], inputs: jax.Array, product: jax.Array) -> list[jax.Array]:
    """One step of a long short-term memory: state [h, c], [B, units] each, -> the next.

    Args:
        inputs, product: [B, 4 * units], of the item and of h: input, forget, candidate, output.
    """
    _, c = state
    write, forget, candidate, output = jnp.split(inputs + product, 4, axis=-1)
    c = nn.sigmoid(forget) * c + nn.sigmoid(write) * jnp.tanh(candidate)
    return [nn.sigmoid(output) * jnp.tanh(c), c]


# Name -> (step, gates, vectors of state).
CELLS = {"gru": (gru, 3, 1), "lstm": (lstm, 4, 2)}


def _orthogonal_gates(key, shape, dtype=jnp.float32):
    """One orthogonal matrix for each gate, side by side."""
    units, features = shape
    keys = jax.random.split(key, features // units)
    orthogonal = nn.initializers.orthogonal()
    return jnp.concatenate([orthogonal(k, (units, units), dtype) for k in keys], axis=1)
