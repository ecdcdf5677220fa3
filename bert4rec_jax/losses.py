"""Losses as weighted sums, never means: cross-entropy over the whole catalogue, and all losses by
name.

Under data parallelism devices hold different numbers of predicted items; only sums can be added up.
"""

import functools

import jax
import jax.numpy as jnp

from bert4rec_jax import mesh, sampled_losses, shards

# Logits held at once, in numbers: 16 Mi float32 are 64 MiB. Small enough to stay near the cache and
# to keep memory flat in catalogue size, large enough that a block's matrix product is efficient.
LOGITS_AT_ONCE = 1 << 24
# Of a block, however large the catalogue: each also reads and writes the whole table's gradient.
LEAST_POSITIONS = 128


def pick_weighted(weights: jax.Array, *, budget: int) -> tuple[jax.Array, jax.Array]:
    """Indices of the positions that count, gathered under a static budget.

    Args:
        weights: float32 [P], zero where a position does not count.
        budget: a bound on the number of non-zero weights.

    Returns:
        (indices int32 [budget], weights float32 [budget]); unused places point to 0 with weight 0.
    """
    (indices,) = jnp.nonzero(weights, size=budget, fill_value=len(weights))
    used = indices < len(weights)
    indices = jnp.where(used, indices, 0).astype(jnp.int32)
    return indices, jnp.where(used, weights[indices], 0.0)


def softmax_cross_entropy(
    hidden: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
) -> jax.Array:
    """Weighted sum over positions of -log softmax(hidden table^T + bias)[label], float32 scalar.

    The [positions, items] logits are never stored: positions are taken in blocks, and each block's
    gradient is formed while its logits are at hand (so nothing is recomputed in the backward pass).
    Logits and softmax are float32 whatever the dtype of `hidden`. Where the table is split over
    devices, each has a block's logits for its own shard, and what is summed between devices is a
    block's peaks, totals and label logits, and once the gradient at `hidden`.

    Args:
        hidden: [M, d]; table: [n, d], row i is item id i + 1, or this device's shard; bias: [n].
        labels: int32 [M], ids 1..n (anything where the weight is 0).
        weights: float32 [M]; a block of zeros costs as much as any other but adds nothing.
    """
    positions, items = hidden.shape[0], table.shape[0]
    most = min(positions, max(LEAST_POSITIONS, LOGITS_AT_ONCE // items))
    blocks = -(-positions // most)
    block = -(-positions // blocks)  # even blocks: the last one is hardly padded
    padding = blocks * block - positions

    def in_blocks(x):
        x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(blocks, block, *x.shape[1:])

    classes = jnp.maximum(labels - 1, 0)
    # Each device's gradient here is its shard's part: marked once, they are summed in one go.
    hidden = mesh.copy_per_shard(hidden)
    return _cross_entropy_sum(
        in_blocks(hidden), table, bias, in_blocks(classes), in_blocks(weights)
    )


def _block_logits(hidden, table, bias):
    product = jnp.dot(hidden, table.T, preferred_element_type=jnp.float32)
    return product + bias.astype(jnp.float32)[None, :]


def _block_softmax(hidden, table, bias, classes):
    """exps [block, n]; their total over all shards and -log softmax at the label, [block, 1]."""
    logits = _block_logits(hidden, table, bias)
    peak = mesh.max_over_shards(jnp.max(logits, axis=1, keepdims=True))
    exps = jnp.exp(logits - peak)
    total = mesh.sum_over_shards(jnp.sum(exps, axis=1, keepdims=True))
    label_logit = shards.at_rows(
        lambda c: jnp.take_along_axis(logits, c[:, None], axis=1), classes, len(table)
    )
    return exps, total, jnp.log(total) + peak - label_logit


@jax.custom_vjp
def _cross_entropy_sum(hidden, table, bias, classes, weights):
    def block_sum(block):
        h, c, w = block
        _, _, loss = _block_softmax(h, table, bias, c)
        return jnp.sum(w[:, None] * loss)

    return jnp.sum(jax.lax.map(block_sum, (hidden, classes, weights)))


def _cross_entropy_forward(hidden, table, bias, classes, weights):
    def block_step(sums, block):
        loss_sum, d_table, d_bias = sums
        h, c, w = block
        exps, total, loss = _block_softmax(h, table, bias, c)
        loss_sum += jnp.sum(w[:, None] * loss)
        # The gradient at the logits is exps * scale, less w at the label. It is never formed: scale
        # goes to the thin factors of the products, and the labels, one a position, are subtracted
        # by themselves. That saves two passes over [block, n] (benchmarks/cross_entropy.py).
        scale = w[:, None] / total
        c, here = shards.local_rows(c, len(table))
        w = shards.where_here(here, w)  # of the labels in this shard
        d_bias += jnp.dot(scale.T, exps, precision="highest")[0]
        d_bias = d_bias.at[c].add(-w)
        exps, by_weight = exps.astype(h.dtype), w[:, None].astype(h.dtype)
        scaled = (scale * h).astype(h.dtype)
        d_table += jnp.dot(exps.T, scaled, preferred_element_type=jnp.float32)
        d_table = d_table.at[c].add(-(by_weight * h).astype(jnp.float32))
        d_hidden = scale * jnp.dot(exps, table, preferred_element_type=jnp.float32)
        return (loss_sum, d_table, d_bias), d_hidden.astype(h.dtype) - by_weight * table[c]

    # Zeros derived from an input, not constants: under shard_map they vary over devices as it does.
    zero = jnp.sum(weights) * 0.0
    start = (
        zero,
        jnp.zeros_like(table, jnp.float32) + zero,
        jnp.zeros_like(bias, jnp.float32) + zero,
    )
    (loss, d_table, d_bias), d_hidden = jax.lax.scan(block_step, start, (hidden, classes, weights))
    return loss, (d_hidden, d_table.astype(table.dtype), d_bias.astype(bias.dtype), weights)


def _cross_entropy_backward(residuals, g):
    d_hidden, d_table, d_bias, weights = residuals
    scale = functools.partial(jax.tree.map, lambda x: (x * g).astype(x.dtype))
    d_hidden, d_table, d_bias = scale((d_hidden, d_table, d_bias))
    return d_hidden, d_table, d_bias, None, jnp.zeros_like(weights)


_cross_entropy_sum.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def _softmax(key, hidden, table, *arguments):
    del key  # nothing is drawn
    return softmax_cross_entropy(hidden, table.astype(hidden.dtype), *arguments)


# What `--config.train.loss` may be: (key, hidden, table, bias, labels, weights) -> sum. Those with
# sampled items ask for `negatives` beside that, and gbce for `calibration`.
LOSSES = {
    "softmax": _softmax,
    "bce": sampled_losses.binary_cross_entropy,
    "sampled_softmax": sampled_losses.sampled_softmax,
    "gbce": sampled_losses.generalised_binary_cross_entropy,
}
