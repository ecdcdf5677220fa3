"""Negatives for one user, without replacement: pure, keyed, batched by the caller's vmap."""

import jax
import jax.numpy as jnp

from bert4rec_jax.vocab import PAD


def sample_negatives(
    key: jax.Array, cumulative_counts: jax.Array, excluded: jax.Array, *, count: int = 100
) -> jax.Array:
    """Draws `count` distinct items one after another, each with probability proportional to its
    count among the items that are neither excluded nor drawn yet.

    That is the law of the original evaluation (BERT4Rec's run.py, lines 186-201), which repeats
    `np.random.choice(ids, replace=False, p=popularity)` and drops what the user knows. Here no
    probability is ever rounded: items are laid side by side on a line, each as long as its count,
    the excluded ones are cut out, and whole-numbered points are drawn on what is left. A round
    draws more points than are needed and keeps the first one on each item; should repeats leave
    too few, the items kept are cut out as well and another round follows. Each round keeps at
    least one item, so there are at most `count` of them, however skewed the counts are.

    Args:
        key: one user's key. Let it be a threefry key: other generators do not promise the same
            numbers with and without vmap.
        cumulative_counts: int32 [n], the counts of items 1..i summed, i = 1..n; `arange(1, n + 1)`
            draws uniformly. The last one is below 2**31.
        excluded: int ids [H] never to be drawn (the whole history and the target), in any order;
            repeats and PAD do no harm.
        count: how many items to draw.

    Returns:
        int32 ids [count], in the order drawn; PAD in the last places when fewer than `count` items
        with a count above zero are left to draw from.
    """
    ends = jnp.concatenate([jnp.zeros(1, jnp.int32), cumulative_counts.astype(jnp.int32)])
    counts = jnp.diff(ends, prepend=0)  # counts[PAD] is 0: cutting PAD out changes nothing
    points = count + count // 4  # popular catalogues repeat themselves in a tenth of the draws
    nth = jnp.arange(points)

    def cut(drawn):
        gone = jnp.sort(jnp.concatenate([excluded.astype(jnp.int32), drawn]))
        repeated = gone == jnp.concatenate([jnp.full(1, -1, jnp.int32), gone[:-1]])
        removed = jnp.cumsum(jnp.where(repeated, 0, counts[gone]))
        return ends[gone] - removed, removed

    def unfinished(state):
        _, _, filled, left = state
        return (filled < count) & (left > 0)

    def draw(state):
        key, drawn, filled, _ = state
        key, round_key = jax.random.split(key)
        cuts, removed = cut(drawn)
        left = ends[-1] - removed[-1]
        point = jax.random.randint(round_key, (points,), 0, left)
        passed = jnp.searchsorted(cuts, point, side="right")
        point += jnp.where(passed > 0, removed[passed - 1], 0)
        item = jnp.searchsorted(ends, point, side="right").astype(jnp.int32)
        first = jnp.argmax(item[:, None] == item[None, :], axis=1) == nth
        place = jnp.where(first, filled + jnp.cumsum(first) - 1, count)
        drawn = drawn.at[place].set(jnp.where(left > 0, item, PAD), mode="drop")
        filled = jnp.where(
            left > 0, jnp.minimum(filled + first.sum(dtype=jnp.int32), count), filled
        )
        return key, drawn, filled, left

    start = (key, jnp.full(count, PAD, jnp.int32), jnp.int32(0), ends[-1])
    return jax.lax.while_loop(unfinished, draw, start)[1]
