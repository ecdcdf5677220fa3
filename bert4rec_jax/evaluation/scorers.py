"""Models as the evaluator sees them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.evaluation.attention import attention_of_last


class Scorer(NamedTuple):
    """A model as the evaluator sees it: pure functions. Either the score of item i is
    `query . table[i - 1] + bias[i - 1]`, or `scores` gives all of them.

    Attributes:
        encode: (params, items int32 [B, W], length int32 [B]) -> query float32 [B, d], for any
            width W up to N.
        item_table: params -> (table float32 [n, d], bias float32 [n]), or this device's shard.
        append_mask: whether MASK follows the history in the input.
        scores: (params, items, length) -> float32 [B, n], for a model without a factored score;
            `encode` and `item_table` are then not read and may be None.
        attend: as `encode`, -> (query, attention float32 [B, W] or None): what the position that
            answers attends to, averaged over layers and heads; None: not to be had.
    """

    encode: Callable[[Any, jax.Array, jax.Array], jax.Array] | None
    item_table: Callable[[Any], tuple[jax.Array, jax.Array]] | None
    append_mask: bool
    scores: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None
    attend: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, jax.Array | None]] | None = None


def popularity_scorer(counts: np.ndarray) -> tuple[Scorer, dict[str, jax.Array]]:
    """The popularity baseline: every user is offered the items with the most rows.

    Args:
        counts: int [n + 1], training rows of each id, below 2**24 each so that float32 is exact.

    Returns:
        the scorer and its params.
    """

    def scores(params, items, length):
        return jnp.broadcast_to(params["counts"], (len(items), len(params["counts"])))

    return Scorer(None, None, False, scores), {"counts": jnp.asarray(counts[1:], jnp.float32)}


def encoder_scorer(model: Any, *, append_mask: bool) -> Scorer:
    """Score by the hidden vector of the last position, dropout off.

    Args:
        model: has `__call__(ids, segments, positions, asked=...)`, `transform` and `item_table`,
            as `encoder.Encoder`; its variables are {"params": params}.
        append_mask: True where the last position is to be MASK (BERT4Rec), False where it is the
            last item of the history (left-to-right models).
    """

    def asked(params, items, length, **options):
        variables = {"params": params}
        index = jnp.arange(items.shape[1], dtype=jnp.int32)[None, :]
        segments = (index < length[:, None]).astype(jnp.int32)
        positions = jnp.broadcast_to(index, items.shape)
        last = (length - 1)[:, None]
        return model.apply(variables, items, segments, positions, asked=last, **options)

    def query(params, hidden):
        hidden = hidden[:, 0]  # [B, d]
        return model.apply({"params": params}, hidden, method="transform").astype(jnp.float32)

    def encode(params, items, length):
        return query(params, asked(params, items, length))

    def attend(params, items, length):
        hidden, kept = asked(params, items, length, mutable=["intermediates"])
        return query(params, hidden), attention_of_last(kept.get("intermediates", {}), length)

    def item_table(params):
        return model.apply({"params": params}, method="item_table")

    return Scorer(encode, item_table, append_mask, attend=attend)


def barring(scorer: Scorer) -> Scorer:
    """`scorer`, of params {"model", "barred"}: "barred", float32 [n], is added to all scores.

    As a parameter, not as a constant, so that other lists need no other program.
    """

    def item_table(params):
        table, bias = scorer.item_table(params["model"])
        return table, bias + params["barred"]

    def scores(params, items, length):
        return scorer.scores(params["model"], items, length) + params["barred"][None, :]

    if scorer.scores:
        return scorer._replace(scores=scores)
    return scorer._replace(
        encode=lambda params, items, length: scorer.encode(params["model"], items, length),
        item_table=item_table,
    )
