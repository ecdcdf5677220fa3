"""Cross-entropy over the catalogue in blocks, against the plain formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax import losses
from bert4rec_jax.losses import pick_weighted, softmax_cross_entropy
from tests.loss_cases import problem


def plain(hidden, table, bias, labels, weights):
    logits = hidden @ table.T + bias[None, :]
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(weights * log_p[jnp.arange(len(labels)), labels - 1])


@pytest.mark.parametrize("logits_at_once", [1, 29 * 4, 10_000])
def test_value_and_gradients_are_the_plain_ones(monkeypatch, logits_at_once):
    """Whatever the block: one position, four (which do not divide 13), or all at once."""
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", logits_at_once)
    monkeypatch.setattr(losses, "LEAST_POSITIONS", 1)
    arguments = problem()
    value, gradients = jax.value_and_grad(softmax_cross_entropy, (0, 1, 2))(*arguments)
    expected, expected_gradients = jax.value_and_grad(plain, (0, 1, 2))(*arguments)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(softmax_cross_entropy(*arguments), expected, rtol=1e-6)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_two_items_by_hand():
    """Scores 0 and ln 3 give the second item probability 3/4."""
    loss = softmax_cross_entropy(
        jnp.array([[1.0]]), jnp.array([[0.0], [np.log(3.0)]]), jnp.zeros(2), jnp.array([2]),
        jnp.ones(1),
    )  # fmt: skip
    np.testing.assert_allclose(loss, np.log(4 / 3), rtol=1e-6)


def test_large_scores_do_not_overflow():
    hidden, table, bias, labels, weights = problem()
    value, gradient = jax.value_and_grad(softmax_cross_entropy)(
        1e4 * hidden, table, bias, labels, weights
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_scores_are_float32_of_bfloat16_too():
    """Value and gradients are those of the rounded inputs in float32, the latter rounded."""
    hidden, table, bias, labels, weights = problem()
    halves = hidden.astype(jnp.bfloat16), table.astype(jnp.bfloat16)
    grad = jax.jit(jax.value_and_grad(softmax_cross_entropy, (0, 1)))
    value, gradients = grad(*halves, bias, labels, weights)
    rounded = (half.astype(jnp.float32) for half in halves)
    expected, expected_gradients = grad(*rounded, bias, labels, weights)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(found.astype(np.float32), wanted, rtol=2e-2, atol=2e-2)


def test_nothing_to_predict_is_zero_loss_and_zero_gradient():
    hidden, table, bias, labels, _ = problem()
    value, gradients = jax.value_and_grad(softmax_cross_entropy, (0, 1, 2))(
        hidden, table, bias, jnp.zeros_like(labels), jnp.zeros(len(labels))
    )
    assert value == 0
    assert all((np.asarray(g) == 0).all() for g in gradients)


def test_logits_of_all_positions_never_exist():
    """No array of positions x items in the compiled program, forward or backward."""
    positions, items = 4096, 50_000
    shapes = (
        jax.ShapeDtypeStruct((positions, 8), jnp.float32),
        jax.ShapeDtypeStruct((items, 8), jnp.float32),
        jax.ShapeDtypeStruct((items,), jnp.float32),
        jax.ShapeDtypeStruct((positions,), jnp.int32),
        jax.ShapeDtypeStruct((positions,), jnp.float32),
    )
    compiled = jax.jit(jax.grad(softmax_cross_entropy, (0, 1, 2))).lower(*shapes).compile()
    logits_bytes = 4 * positions * items
    assert compiled.memory_analysis().temp_size_in_bytes < logits_bytes / 2


def test_picks_exactly_the_weighted_positions():
    weights = jnp.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    indices, picked = pick_weighted(weights, budget=5)
    assert indices.tolist() == [1, 3, 4, 0, 0]
    assert picked.tolist() == [1, 1, 1, 0, 0]
    indices, picked = pick_weighted(weights, budget=3)
    assert indices.tolist() == [1, 3, 4]


def test_picks_position_0():
    indices, picked = pick_weighted(jnp.array([1.0, 0.0]), budget=2)
    assert indices.tolist() == [0, 0]
    assert picked.tolist() == [1, 0]
