"""The original's Adam, against the reference written from its code."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert4rec_jax.optimizer import decay_mask, learning_rate_schedule, make_optimizer
from tests import reference

PARAMS = {
    "item_embedding": np.array([[1.0, -2.0], [0.5, 3.0]]),
    "block_0": {
        "qkv": {"kernel": np.array([[0.3, -0.1]]), "bias": np.array([0.2, 0.1])},
        "attention_norm": {"scale": np.array([1.0, 1.5]), "bias": np.array([0.0, -0.5])},
    },
    "output_bias": np.array([0.1, 0.2]),
}


def as_jax(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


@pytest.mark.parametrize("bias_correction", [False, True])
@pytest.mark.parametrize("scale", [0.1, 100.0])  # below and above the clipping norm
def test_three_updates_are_the_references(bias_correction, scale):
    schedule = learning_rate_schedule(learning_rate=0.1, warmup_steps=2, steps=10)
    optimizer = make_optimizer(schedule, bias_correction=bias_correction)
    params, expected = as_jax(PARAMS), PARAMS
    state = optimizer.init(params)
    zeros = reference.tree_map(np.zeros_like, PARAMS)
    m, v = zeros, zeros
    for step in range(3):
        gradients = reference.tree_map(lambda x, s=step: scale * np.cos(x + s), PARAMS)
        updates, state = optimizer.update(as_jax(gradients), state, params)
        params = optax.apply_updates(params, updates)
        expected, m, v = reference.adamw_step(
            expected,
            gradients,
            m,
            v,
            step,
            learning_rate=reference.learning_rate(step, peak=0.1, warmup=2, total=10),
            bias_correction=bias_correction,
            decay_mask=reference.decay_mask(expected),
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6), params, expected
    )


def test_biases_and_layer_norms_are_not_decayed():
    mask = decay_mask(PARAMS)
    assert mask["item_embedding"]
    assert mask["block_0"]["qkv"] == {"kernel": True, "bias": False}
    assert mask["block_0"]["attention_norm"] == {"scale": False, "bias": False}
    assert not mask["output_bias"]


def test_linear_schedule_by_hand():
    rate = learning_rate_schedule(learning_rate=1.0, warmup_steps=100, steps=1000)
    # 0 at the start, half of the peak half way up; then the line from 1 at 0 to 0 at 1000.
    assert [float(rate(s)) for s in (0, 50)] == [0.0, 0.5]
    np.testing.assert_allclose([rate(s) for s in (100, 500, 1000, 2000)], [0.9, 0.5, 0, 0])


def test_cosine_and_constant_schedules_by_hand():
    cosine = learning_rate_schedule(
        learning_rate=2.0, warmup_steps=10, steps=110, schedule="cosine"
    )
    np.testing.assert_allclose([cosine(s) for s in (5, 10, 60, 110)], [1, 2, 1, 0], atol=1e-6)
    constant = learning_rate_schedule(
        learning_rate=2.0, warmup_steps=10, steps=110, schedule="constant"
    )
    np.testing.assert_allclose([constant(s) for s in (5, 10, 110)], [1, 2, 2])


def test_another_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule 'step' is unknown"):
        learning_rate_schedule(learning_rate=1.0, warmup_steps=1, steps=2, schedule="step")
