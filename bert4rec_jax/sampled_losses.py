"""Losses that score the label and a few sampled items, for catalogues too large to score whole.

Each is (key, hidden, table, bias, labels, weights) -> the weighted sum over positions, as in
`losses`. A score is hidden table[row]^T + bias[row], float32 whatever the dtype of `hidden`. Where
the table is split over devices, all draw the same rows, and each scores those of its own shard.
"""

import math

import jax
import jax.numpy as jnp

from bert4rec_jax import mesh, shards

# Numbers of gathered item vectors held at once: 16 Mi float32 are 64 MiB.
GATHERED_AT_ONCE = 1 << 24


def binary_cross_entropy(
    key: jax.Array,
    hidden: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    items: int | None = None,
) -> jax.Array:
    """Weighted sum over positions of -log sigmoid(s) - log(1 - sigmoid(s')), float32 scalar.

    s is the label's score and s' that of one negative: SASRec's loss (equation 7 there). Negatives
    are uniform over the catalogue without the label; the original leaves out all of the user's
    items too, which for a catalogue of thousands changes a few negatives in a hundred.

    Args:
        key: of the negatives.
        hidden: [M, d]; table: [n, d], n >= 2, row i is item id i + 1, float32 even if
            `hidden` is not; bias: [n].
        labels: int32 [M], ids 1..n (anything where the weight is 0).
        weights: float32 [M].
        items: n, where `table` is one shard of several; None: its rows.
    """
    items = len(table) if items is None else items
    return _binary_sum(
        key, hidden, table, bias, labels, weights, items=items, negatives=1, power=1.0
    )


def generalised_binary_cross_entropy(
    key: jax.Array,
    hidden: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    negatives: int,
    calibration: float,
    items: int | None = None,
) -> jax.Array:
    """gBCE of gSASRec (Petrov and Macdonald, RecSys 2023, arXiv 2308.07192), float32 scalar.

    The weighted sum over positions of -(log sigmoid(s)^beta + sum_k log(1 - sigmoid(s'_k))), with
    K negatives of each position's own, uniform over the catalogue without the label and with
    replacement. Of all the items that could be negatives a share of alpha = K / (n - 1) is drawn;
    scores learnt from so few are too high, and beta = alpha (t (1 - 1/alpha) + 1/alpha), which is
    1 - t (1 - alpha), lowers them again.

    Two things differ from gSASRec, and neither changes the ranking that is asked for. To each score
    log(beta / K) is added, at which the sum is least where nothing is known (the prior of focal
    loss, Lin et al., ICCV 2017, section 4.1). Without it all scores fall at once, by one large
    vector common to all items, in which what tells them apart drowns, at the input too, whose table
    it is: no more than popularity was learnt. And the sum is not divided by K + 1, which Adam would
    take out again but for its eps, BERT's 1e-6 here.

    Args:
        key, hidden, table, bias, labels, weights, items: as for `binary_cross_entropy`.
        negatives: K. calibration: t in [0, 1]; 0 is plain binary cross-entropy, 1 makes the
            sigmoids estimate the probabilities that training on all negatives would.
    """
    items = len(table) if items is None else items
    sampling_rate = min(1.0, negatives / (items - 1))
    power = 1.0 - calibration * (1.0 - sampling_rate)
    bias = bias + math.log(power / negatives)
    return _binary_sum(
        key, hidden, table, bias, labels, weights, items=items, negatives=negatives, power=power
    )


def sampled_softmax(
    key: jax.Array,
    hidden: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    negatives: int,
    items: int | None = None,
) -> jax.Array:
    """Weighted sum over positions of -log(exp(s) / Z'), with Z' from sampled items: float32 scalar.

    Z' = exp(s) + the sum over K draws of exp(s'_k) / (K q_k), where q_k is the probability of the
    item drawn: the logQ correction, with which Z' is on average the softmax's own denominator
    (Bengio and Senecal 2008; Yi et al., RecSys 2019). Draws of the label itself add nothing, since
    it is there already. All positions share the draws, so that their scores are one product
    [M, d] x [d, K]. What is drawn: see `draw_by_rank`.

    Z' is right on average, its logarithm is not, and a row is pushed down only by the updates that
    draw it, by 1 at the most. So an item whose probability in a context, P, is far above K q_k ends
    with odds near P / (K q_k), too high: rare items are recommended too often where K is small. The
    loss for a catalogue of rare items is `generalised_binary_cross_entropy`, whose optimum has the
    order of P for every K.

    Args:
        key, hidden, table, bias, labels, weights, items: as for `binary_cross_entropy`.
        negatives: K.
    """
    label = jnp.maximum(labels - 1, 0)
    drawn, log_q = draw_by_rank(key, items=len(table) if items is None else items, count=negatives)
    label_vector, label_bias = _rounded_rows(table, label, hidden), shards.take_rows(bias, label)
    label_score = jnp.einsum("md,md->m", hidden, label_vector, preferred_element_type=jnp.float32)
    label_score += label_bias.astype(jnp.float32)
    vectors, biases = _rounded_rows(table, drawn, hidden), shards.take_rows(bias, drawn)
    scores = jnp.dot(hidden, vectors.T, preferred_element_type=jnp.float32)  # [M, K]
    scores += (biases.astype(jnp.float32) - log_q - math.log(negatives))[None, :]
    scores = jnp.where(drawn[None, :] == label[:, None], -jnp.inf, scores)
    log_z = jax.nn.logsumexp(jnp.concatenate([label_score[:, None], scores], axis=1), axis=1)
    return jnp.sum(weights * (log_z - label_score))


def _rounded_rows(table, rows, hidden):
    """In the dtype of `hidden`, rounded once taken: a row's gradients add up in the table's own."""
    return shards.take_rows(table, rows).astype(hidden.dtype)


def draw_by_rank(key: jax.Array, *, items: int, count: int) -> tuple[jax.Array, jax.Array]:
    """Draws table rows nearly by Zipf's law: an item's probability falls as 1 over its rank.

    Rows are in the order of falling frequency (see `data.sequences`), so no counts are needed. The
    catalogue is cut in half, its upper half again and so on down to the first item; each part is
    drawn as often as any other, and the items within a part evenly. That is the log-uniform law
    of TensorFlow's candidate sampling in steps of 2, and takes whole numbers only: in float32 the
    law itself has too few digits to reach each item of a catalogue of millions.

    Args:
        items: n, at least 1.  count: draws, with replacement.

    Returns:
        (rows int32 [count], in 0..n - 1; log of each one's probability, float32 [count]).
    """
    part_key, row_key = jax.random.split(key)
    parts = items.bit_length()  # part i holds the rows from n // 2^(i + 1) up to n // 2^i
    part = jax.random.randint(part_key, (count,), 0, parts)
    low, high = items >> (part + 1), items >> part
    rows = jax.random.randint(row_key, (count,), low, high)
    return rows, -jnp.log((high - low).astype(jnp.float32)) - math.log(parts)


def _binary_sum(key, hidden, table, bias, labels, weights, *, items, negatives, power):
    """Weighted sum of -power log sigmoid(label's score) - sum of log(1 - sigmoid(negative's))."""
    label = jnp.maximum(labels - 1, 0)
    shape = (len(labels), negatives)
    draws = jax.random.randint(key, shape, 0, items - 1, labels.dtype)
    rows = draws + (draws >= label[:, None])  # steps over the label

    hidden = mesh.copy_per_shard(hidden)  # as in `losses.softmax_cross_entropy`

    def position_loss(position):
        h, label, rows = position

        def scores_here(rows):
            dots = jnp.dot(table[rows].astype(h.dtype), h, preferred_element_type=jnp.float32)
            return dots + bias[rows].astype(jnp.float32)

        def scores(rows):
            return shards.at_rows(scores_here, rows, len(table))

        # -log sigmoid(s) = softplus(-s), which neither overflows nor takes the logarithm of 0.
        return power * jax.nn.softplus(-scores(label)) + jnp.sum(jax.nn.softplus(scores(rows)))

    # Blocks of positions, and vectors gathered again in the backward pass: [M, K, d] numbers are
    # gigabytes with a few hundred negatives.
    block = max(1, min(len(labels), GATHERED_AT_ONCE // (negatives * table.shape[1])))
    losses = jax.lax.map(jax.checkpoint(position_loss), (hidden, label, rows), batch_size=block)
    return jnp.sum(weights * losses)
