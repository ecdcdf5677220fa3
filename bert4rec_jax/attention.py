"""Self-attention within the histories of packed rows (section 3.3), where it is asked."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bert4rec_jax.dropout import dropout


@jax.named_scope("attention")
def attention(
    qkv: jax.Array,
    segments: jax.Array,
    *,
    heads: int,
    dropout_key: jax.Array | None,
    dropout_rate: float,
    causal: bool | jax.Array | None = None,
    asked: jax.Array | None = None,
    keep: Callable[[jax.Array], Any] | None = None,
) -> jax.Array:
    """Multi-head scaled dot-product attention within each segment.

    Args:
        qkv: [B * N, 3d], queries, keys and values one after another, each split into heads.
        segments: int32 [B, N], 0 for padding.
        dropout_key: None leaves the probabilities as they are.
        causal: whether to attend to the position itself and those before it, not to both sides:
            one bool for all rows, or bool [B]; None: no.
        asked: int32 [B, S], the positions that attend; None: all N.
        keep: called with the probabilities [B, h, N or S, N], before dropout; a module's `sow`,
            which does nothing unless the caller of `apply` asks for intermediates.

    Returns:
        [B * N, d], or [B * S, d] with `asked`.
    """
    (batch, length), width = segments.shape, qkv.shape[-1]
    qkv = qkv.reshape(batch, length, 3, heads, width // 3 // heads)
    q, k, v = jnp.moveaxis(qkv, (2, 3), (0, 2))  # three of [B, h, N, d/h]
    index = jnp.arange(length, dtype=jnp.int32)[None, :]
    queries, of_query = index, segments
    if asked is not None:
        queries, of_query = asked, jnp.take_along_axis(segments, asked, axis=1)
        q = jnp.take_along_axis(q, asked[:, None, :, None], axis=2)  # [B, h, S, d/h]
    logits = jnp.einsum("bhqc,bhkc->bhqk", q, k, preferred_element_type=jnp.float32)
    logits = logits * q.shape[-1] ** -0.5
    visible = (of_query[:, :, None] == segments[:, None, :]) & (segments[:, None, :] > 0)
    if causal is not None:
        earlier = index[:, None, :] <= queries[:, :, None]
        visible &= earlier | ~jnp.reshape(causal, (-1, 1, 1))
    visible = visible[:, None]  # [B, 1, N or S, N]
    # Finite, as in the original: a padding query sees nothing, and -inf would make it NaN.
    probabilities = jax.nn.softmax(jnp.where(visible, logits, -1e9), axis=-1).astype(qkv.dtype)
    if keep is not None:
        keep(probabilities)
    if dropout_key is not None:
        probabilities = dropout(dropout_key, probabilities, dropout_rate)
    context = jnp.einsum("bhqk,bhkc->bhqc", probabilities, v)
    return jnp.swapaxes(context, 1, 2).reshape(-1, width // 3)


def pick_tokens(x: jax.Array, segments: jax.Array, asked: jax.Array | None) -> jax.Array:
    """Of tokens [B * N, d] those at `asked`, int32 [B, S]: [B * S, d]; all where it is None."""
    if asked is None:
        return x
    x = x.reshape(*segments.shape, x.shape[-1])  # [B, N, d]
    return jnp.take_along_axis(x, asked[:, :, None], axis=1).reshape(-1, x.shape[-1])
