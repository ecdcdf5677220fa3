"""What the tests of losses share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.sampled_losses import (
    binary_cross_entropy,
    generalised_binary_cross_entropy,
    sampled_softmax,
)

LOSSES = {
    "bce": binary_cross_entropy,
    "gbce": functools.partial(generalised_binary_cross_entropy, negatives=5, calibration=0.75),
    "sampled_softmax": functools.partial(sampled_softmax, negatives=5),
}


def problem(positions=13, items=29, width=8):
    keys = jax.random.split(jax.random.key(1), 4)
    hidden = jax.random.normal(keys[0], (positions, width))
    table = jax.random.normal(keys[1], (items, width))
    bias = jax.random.normal(keys[2], (items,))
    labels = jax.random.randint(keys[3], (positions,), 1, items + 1)
    weights = jnp.ones(positions).at[jnp.array([0, 5])].set(0.0)
    return hidden, table, bias, labels, weights


def scores_alone(bias, *, label, weight=1.0):
    """Arguments of one position at which item i scores bias[i - 1]."""
    return (
        jnp.zeros((1, 1)), jnp.zeros((len(bias), 1)), jnp.asarray(bias), jnp.array([label]),
        jnp.array([weight]),
    )  # fmt: skip


def over_keys(loss, arguments, draws=4000):
    keys = jax.random.split(jax.random.key(2), draws)
    return np.asarray(jax.jit(jax.vmap(lambda key: loss(key, *arguments)))(keys))
