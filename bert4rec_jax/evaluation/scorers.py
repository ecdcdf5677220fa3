"""A sequence encoder as the evaluator sees it."""

from typing import Any

import jax.numpy as jnp

from bert4rec_jax.evaluation.ranking import Scorer


def encoder_scorer(model: Any, *, append_mask: bool) -> Scorer:
    """Score by the hidden vector of the last position, dropout off.

    Args:
        model: has `__call__(ids, segments, positions)`, `transform` and `item_table`, as
            `encoder.Encoder`; its variables are {"params": params}.
        append_mask: True where the last position is to be MASK (BERT4Rec), False where it is the
            last item of the history (left-to-right models).
    """

    def encode(params, items, length):
        variables = {"params": params}
        index = jnp.arange(items.shape[1], dtype=jnp.int32)[None, :]
        segments = (index < length[:, None]).astype(jnp.int32)
        positions = jnp.broadcast_to(index, items.shape)
        hidden = model.apply(variables, items, segments, positions)
        last = jnp.take_along_axis(hidden, (length - 1)[:, None, None], axis=1)[:, 0]  # [B, d]
        return model.apply(variables, last, method="transform").astype(jnp.float32)

    def item_table(params):
        return model.apply({"params": params}, method="item_table")

    return Scorer(encode, item_table, append_mask)
