"""What a trained Transformer attends to at the end of a history (the paper's Figure 2)."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.data.sequences import Cases, Sequences
from bert4rec_jax.evaluation.inputs import model_inputs

# [batch, heads, N, N] float32 exists a layer: 20 MiB at h = 2 and N = 200.
_BATCH_SIZE = 64


def average_attention(
    model: Any,
    params: Any,
    items: np.ndarray,
    length: np.ndarray,
    last: int = 15,
    *,
    map_over_devices: Callable[[Callable], Callable] = jax.jit,
) -> np.ndarray | None:
    """Attention among the last positions, averaged over the users who fill them.

    Row and column `last - 1` are a user's last input (MASK for BERT4Rec), `last - 2` the one
    before it, and so on. A row sums to 1 for users with exactly `last` inputs and to less where
    longer histories draw attention to earlier positions; nothing is scaled up for that.

    Args:
        model: has `__call__(ids, segments, positions)` as `encoder.Encoder`, and keeps each
            block's probabilities [B, heads, N, N] under "attention" among its intermediates.
        params: its parameters.
        items: int32 [U, N], left-aligned, zeros on the right, as `inputs.model_inputs` makes them.
        length: int [U], how many of a row are inputs.
        map_over_devices: compiles a pure function of (params, batch), a dict of arrays, whose
            result all devices compute alike.

    Returns:
        float32 [layers, heads, last, last]; None for a model without attention, or if no user has
        `last` inputs.
    """
    rows = np.flatnonzero(length >= last)
    total, summed_over = None, map_over_devices(functools.partial(_summed, model, last))
    for start in range(0, len(rows), _BATCH_SIZE):
        # Always the same shape: the last batch repeats its last row, with weight 0.
        place = np.arange(start, start + _BATCH_SIZE)
        batch = rows[np.minimum(place, len(rows) - 1)]
        weight = (place < len(rows)).astype(np.float32)
        summed = summed_over(
            params, {"items": items[batch], "length": length[batch], "weight": weight}
        )
        if summed is None:
            return None
        # In float64 on the host, so that the number of users does not cost digits.
        summed = np.asarray(summed, np.float64)
        total = summed if total is None else total + summed
    return None if total is None else (total / len(rows)).astype(np.float32)


def attention_of_cases(
    model: Any,
    params: Any,
    log: Sequences,
    cases: Cases,
    *,
    append_mask: bool,
    most_users: int = 2048,
    **options: Any,
) -> np.ndarray | None:
    """`average_attention` before the true items of `cases`, of at most `most_users` of them.

    Those are spread evenly over the cases. `append_mask` is the scorer's; `options` are those of
    `average_attention`.
    """
    count = min(most_users, len(cases.users))
    picked = np.linspace(0, len(cases.users), count, endpoint=False).astype(np.int64)
    items, length = model_inputs(
        log,
        cases.users[picked],
        cases.ends[picked],
        # A left-to-right model does not learn its last place (experiment.py, _input_length).
        max_length=model.max_length - (not append_mask),
        append_mask=append_mask,
    )
    return average_attention(model, params, items, length, **options)


def attention_of_last(blocks: Mapping[str, Any], length: jax.Array) -> jax.Array | None:
    """What the last input of each row attends to, averaged over layers and heads. Pure.

    Args:
        blocks: a model's intermediates, as `average_attention` describes them; where a block was
            asked for one position only, [B, heads, 1, N] of that one.
        length: int32 [B], how many of a row are inputs.

    Returns:
        float32 [B, N], each row summing to 1 over its inputs; None without attention.
    """
    rows = []
    for name in blocks:
        (probabilities,) = blocks[name]["attention"]
        if probabilities.shape[2] > 1:
            last = (length - 1)[:, None, None, None]
            probabilities = jnp.take_along_axis(probabilities, last, axis=2)
        rows.append(probabilities[:, :, 0].astype(jnp.float32).mean(axis=1))
    return jnp.stack(rows).mean(axis=0) if rows else None


def _summed(model, last, params, batch):
    """Weighted sum over a batch: float32 [layers, heads, last, last]; None without attention."""
    items, length, weight = batch["items"], batch["length"], batch["weight"]
    index = jnp.arange(items.shape[1], dtype=jnp.int32)[None, :]
    segments = (index < length[:, None]).astype(jnp.int32)
    positions = jnp.broadcast_to(index, items.shape)
    _, kept = model.apply({"params": params}, items, segments, positions, mutable=["intermediates"])
    blocks = kept.get("intermediates", {})
    if not blocks:
        return None

    def corner(probabilities, length):
        heads = probabilities.shape[0]
        at = (0, length - last, length - last)
        return jax.lax.dynamic_slice(probabilities, at, (heads, last, last))

    layers = []
    for name in sorted(blocks, key=lambda name: int(name.rpartition("_")[2])):
        (probabilities,) = blocks[name]["attention"]  # [B, heads, N, N]
        corners = jax.vmap(corner)(probabilities.astype(jnp.float32), length)
        layers.append(jnp.einsum("b,bhqk->hqk", weight, corners, precision="highest"))
    return jnp.stack(layers)
