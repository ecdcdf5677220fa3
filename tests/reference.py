"""BERT4Rec once more, slowly: plain numpy in float64, for the tests to compare the package with.

Written from the paper (Sun et al., CIKM 2019) and its authors' code (github.com/FeiSun/BERT4Rec at
615eaf20), not from the package, and the plain way wherever the package takes the fast one: one row
at a time, one history at a time (so there is no attention mask to get wrong), one head at a time.

Parameters are a nested dict of float64 arrays; d is the hidden size, n the number of items, N the
row length, and every dense layer is `x @ kernel + bias`:

    item_embedding [n, d], row i - 1 for item i     mask_embedding [d]     position_embedding [N, d]
    neighbour_weights [2k, d], or none, for the items at -k .. -1, 1 .. k from a position
    embedding_norm {scale [d], bias [d]}
    block_0, block_1, ...
        qkv {kernel [d, 3d], bias [3d]}, the columns q | k | v, each cut into heads in order
        attention_out {kernel [d, d], bias [d]}         attention_norm {scale [d], bias [d]}
        feed_forward_in {kernel [d, 4d], bias [4d]}
        feed_forward_out {kernel [4d, d], bias [d]}     feed_forward_norm {scale [d], bias [d]}
    output_dense {kernel [d, d], bias [d]}   output_norm {scale [d], bias [d]}   output_bias [n]

The package's dropout has no counterpart here: compare at dropout 0.
"""

import decimal
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

Params = dict  # str -> Params or a float64 array

PAD = 0
NORM_EPSILON = 1e-12  # of tf.contrib.layers.layer_norm, which the original calls


# The model


def dense(params: Params, x: np.ndarray) -> np.ndarray:
    """x [..., a] -> [..., b]."""
    return x @ params["kernel"] + params["bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    """The exact GELU, x times the standard normal's distribution function at x."""
    return x * np.vectorize(lambda value: 0.5 * (1.0 + math.erf(value / math.sqrt(2.0))))(x)


def layer_norm(params: Params, x: np.ndarray) -> np.ndarray:
    """Over the last axis, with the population's variance (divided by d, not d - 1)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + NORM_EPSILON) * params["scale"] + params["bias"]


def softmax(x: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def attention(block: Params, x: np.ndarray, *, heads: int) -> np.ndarray:
    """Every position of one history [length, d] attends to all of it -> [length, d]."""
    size = x.shape[-1] // heads
    query, key, value = np.split(dense(block["qkv"], x), 3, axis=-1)
    contexts = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        similarity = query[:, own] @ key[:, own].T / math.sqrt(size)
        contexts.append(softmax(similarity) @ value[:, own])
    return dense(block["attention_out"], np.concatenate(contexts, axis=-1))


def feed_forward(block: Params, x: np.ndarray) -> np.ndarray:
    """[length, d] -> [length, d], each position by itself."""
    return dense(block["feed_forward_out"], gelu(dense(block["feed_forward_in"], x)))


def encode_history(
    params: Params,
    items: np.ndarray,
    positions: np.ndarray,
    *,
    layers: int,
    heads: int,
    mask_id: int,
    without: str = "",
) -> np.ndarray:
    """One history without padding, items and positions [length] -> hidden [length, d].

    without: what an ablation leaves out: positions, feed_forward, layer_norm or residual.
    """
    own = []
    for item in items:
        if not 1 <= item <= mask_id:
            raise ValueError(f"id {item} inside a history: items and MASK are 1..{mask_id}")
        own.append(
            params["mask_embedding"] if item == mask_id else params["item_embedding"][int(item) - 1]
        )
    weights = params.get("neighbour_weights", [])
    reach = len(weights) // 2
    offsets = [o for o in range(-reach, reach + 1) if o != 0]
    embedded = []
    for place, position in enumerate(positions):
        total = own[place]
        if without != "positions":
            total = total + params["position_embedding"][position]
        for weight, offset in zip(weights, offsets, strict=True):
            if 0 <= place + offset < len(own):
                total = total + weight * own[place + offset]
        embedded.append(total)
    x = layer_norm(params["embedding_norm"], np.stack(embedded))
    for layer in range(layers):
        block = params[f"block_{layer}"]
        sublayers = [("attention_norm", lambda y, b=block: attention(b, y, heads=heads))]
        if without != "feed_forward":
            sublayers.append(("feed_forward_norm", lambda y, b=block: feed_forward(b, y)))
        for norm, sublayer in sublayers:
            x = sublayer(x) if without == "residual" else x + sublayer(x)
            x = x if without == "layer_norm" else layer_norm(block[norm], x)
    return x


def encode(
    params: Params,
    items: np.ndarray,
    positions: np.ndarray,
    segments: np.ndarray,
    *,
    layers: int,
    heads: int,
    mask_id: int,
    without: str = "",
) -> np.ndarray:
    """One row, items, positions and segments int [N] -> hidden float64 [N, d].

    A row holds one history or several: segments are 0 at padding and k at the k-th history, and
    attention stays inside a segment. Padding influences nothing and nothing may read it, so hidden
    is NaN there.
    """
    items, positions, segments = map(np.asarray, (items, positions, segments))
    hidden = np.full((len(items), params["item_embedding"].shape[-1]), np.nan)
    for segment in sorted(set(segments.tolist()) - {PAD}):
        own = segments == segment
        hidden[own] = encode_history(
            params,
            items[own],
            positions[own],
            layers=layers,
            heads=heads,
            mask_id=mask_id,
            without=without,
        )
    return hidden


def transform(params: Params, hidden: np.ndarray) -> np.ndarray:
    """The output transform before the tied softmax, [..., d] -> [..., d]."""
    return layer_norm(params["output_norm"], gelu(dense(params["output_dense"], hidden)))


def logits(params: Params, hidden: np.ndarray) -> np.ndarray:
    """[..., d] -> [..., n]: column i - 1 scores item i; PAD and MASK cannot be predicted."""
    return transform(params, hidden) @ params["item_embedding"].T + params["output_bias"]


def cross_entropy(scores: np.ndarray, label: int) -> float:
    """-log softmax(scores)[label - 1], for the scores [n] of all items and the id of one."""
    highest = scores.max()
    return float(highest + np.log(np.exp(scores - highest).sum()) - scores[label - 1])


def loss(
    params: Params,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    labels: np.ndarray,
    weights: np.ndarray,
    *,
    layers: int,
    heads: int,
    mask_id: int,
) -> tuple[float, float]:
    """The batch's (loss_sum, weight_sum); its loss is their quotient.

    rows are (items, positions, segments), each [B, N]; labels [B, N] are the true ids where
    weights [B, N] are 1, and are not looked at where weights are 0.
    """
    loss_sum = weight_sum = 0.0
    for row, row_labels, row_weights in zip(zip(*rows, strict=True), labels, weights, strict=True):
        hidden = encode(params, *row, layers=layers, heads=heads, mask_id=mask_id)
        for place in np.flatnonzero(row_weights):
            scores = logits(params, hidden[place])
            loss_sum += float(row_weights[place]) * cross_entropy(scores, int(row_labels[place]))
            weight_sum += float(row_weights[place])
    return loss_sum, weight_sum


# Gradients and the optimiser


def numerical_gradient(
    function: Callable[[], float],
    array: np.ndarray,
    indices: Iterable[tuple[int, ...] | int],
    eps: float = 1e-6,
) -> np.ndarray:
    """Central differences of function() in array[index] for each index -> float64 [indices].

    function takes no arguments and reads `array`, a leaf of the parameters for example, which is
    nudged in place and put back.
    """
    if array.dtype != np.float64:
        raise ValueError(f"differences of {eps} are lost in {array.dtype}: pass a float64 array")
    slopes = []
    for index in indices:
        value = array[index]
        array[index] = value + eps
        above = function()
        array[index] = value - eps
        below = function()
        array[index] = value
        slopes.append((above - below) / (2 * eps))
    return np.array(slopes)


def tree_map(function: Callable, tree: Params, *rest: Params) -> Params:
    """function over the leaves of trees that have the same keys."""
    if not isinstance(tree, dict):
        return function(tree, *rest)
    if any(tree.keys() != other.keys() for other in rest):
        raise ValueError(f"trees of different keys: {[sorted(t) for t in (tree, *rest)]}")
    return {key: tree_map(function, tree[key], *(other[key] for other in rest)) for key in tree}


def leaves(tree: Params) -> Iterator[np.ndarray]:
    """The leaves in the order of their keys' insertion."""
    if isinstance(tree, dict):
        for branch in tree.values():
            yield from leaves(branch)
    else:
        yield tree


def decay_mask(params: Params) -> Params:
    """True where weight decay applies: kernels and embeddings, not biases, not LayerNorm."""
    return {
        key: decay_mask(value)
        if isinstance(value, dict)
        else key == "kernel" or key.endswith("_embedding")
        for key, value in params.items()
    }


def learning_rate(step: int, *, peak: float, warmup: int, total: int) -> float:
    """The rate of the update after `step` completed ones: 0 for the very first.

    The decay line starts at step 0, not at the warm-up's end, so the rate steps down there.
    """
    if step < warmup:
        return peak * step / warmup
    return peak * (1.0 - min(step, total) / total)


def adamw_step(
    params: Params,
    grads: Params,
    m: Params,
    v: Params,
    step: int,
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    clip: float = 5.0,
    bias_correction: bool,
    decay_mask: Params,
) -> tuple[Params, Params, Params]:
    """One update after `step` completed ones -> (params, m, v); m and v start at zeros.

    The original has no bias correction; its clipping comes before the moments, and its decay is
    added to the update, so it is scaled by the rate but touches no moment.
    """
    norm = math.sqrt(sum(float((grad**2).sum()) for grad in leaves(grads)))
    grads = tree_map(lambda grad: grad * clip / max(norm, clip), grads)
    m = tree_map(lambda old, grad: beta1 * old + (1 - beta1) * grad, m, grads)
    v = tree_map(lambda old, grad: beta2 * old + (1 - beta2) * grad**2, v, grads)
    m_scale = 1 / (1 - beta1 ** (step + 1)) if bias_correction else 1.0
    v_scale = 1 / (1 - beta2 ** (step + 1)) if bias_correction else 1.0

    def updated(param, first, second, decays):
        update = m_scale * first / (np.sqrt(v_scale * second) + eps)
        if decays:
            update = update + weight_decay * param
        return param - learning_rate * update

    return tree_map(updated, params, m, v, decay_mask), m, v


# The samples


def cloze_counts(length: int, proportion: float, budget: int) -> int:
    """How many of a row's `length` items are masked: rounded, halves up, at least 1."""
    rounded = decimal.Decimal(length * proportion).to_integral_value(decimal.ROUND_HALF_UP)
    return min(budget, max(1, int(rounded)))


def windows(length: int, row_length: int, stride: int) -> list[tuple[int, int]]:
    """The (start, end) of each training window of a history, the latest first.

    All windows of a long history are full and they are laid from its end; the oldest starts at 0,
    wherever the stride would have put it.
    """
    if length <= row_length:
        return [(0, length)]
    starts = [*range(length - row_length, 0, -stride), 0]
    return [(start, start + row_length) for start in starts]
