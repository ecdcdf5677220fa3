"""Cross-entropy over the catalogue in blocks, against the plain formula; the binary one by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bert4rec_jax import losses, mesh
from bert4rec_jax.losses import binary_cross_entropy, pick_weighted, softmax_cross_entropy


def plain(hidden, table, bias, labels, weights):
    logits = hidden @ table.T + bias[None, :]
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(weights * log_p[jnp.arange(len(labels)), labels - 1])


def problem(positions=13, items=29, width=8):
    keys = jax.random.split(jax.random.key(1), 4)
    hidden = jax.random.normal(keys[0], (positions, width))
    table = jax.random.normal(keys[1], (items, width))
    bias = jax.random.normal(keys[2], (items,))
    labels = jax.random.randint(keys[3], (positions,), 1, items + 1)
    weights = jnp.ones(positions).at[jnp.array([0, 5])].set(0.0)
    return hidden, table, bias, labels, weights


@pytest.mark.parametrize("logits_at_once", [1, 29 * 4, 10_000])
def test_value_and_gradients_are_the_plain_ones(monkeypatch, logits_at_once):
    """Whatever the block: one position, four (which do not divide 13), or all at once."""
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", logits_at_once)
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


def test_binary_cross_entropy_of_two_items_by_hand():
    """The one other item is the negative. The label scores ln 3, sigmoid 3/4; the other one
    -ln 4, so 1 - sigmoid is 4/5; the loss is ln 4/3 + ln 5/4 = ln 5/3."""
    table, bias = jnp.array([[2.0], [0.0]]), jnp.array([np.log(3.0) - 2.0, -np.log(4.0)])
    loss = binary_cross_entropy(
        jax.random.key(0), jnp.ones((3, 1)), table, bias, jnp.array([1, 1, 0]),
        jnp.array([1.0, 0.5, 0.0]),
    )  # fmt: skip
    np.testing.assert_allclose(loss, 1.5 * np.log(5 / 3), rtol=1e-6)


def test_negatives_are_uniform_over_the_other_items():
    """Item i scores its bias, 30 i: the loss is the sum over negatives of 30 i, nearly."""
    items, label, draws = 6, 3, 4000
    bias = 30.0 * jnp.arange(1.0, items + 1)

    def loss(key):
        return binary_cross_entropy(
            key, jnp.zeros((1, 1)), jnp.zeros((items, 1)), bias, jnp.array([label]), jnp.ones(1)
        )

    keys = jax.random.split(jax.random.key(2), draws)
    negatives = np.rint(np.asarray(jax.jit(jax.vmap(loss))(keys)) / 30).astype(int)
    counts = np.bincount(negatives, minlength=items + 1)
    assert counts[0] == counts[label] == 0
    assert stats.chisquare(np.delete(counts, [0, label])).pvalue > 0.01


def test_binary_cross_entropy_survives_large_scores_and_nothing_to_predict():
    arguments = problem()
    gradient = jax.value_and_grad(binary_cross_entropy, (1, 2, 3))
    value, gradients = gradient(jax.random.key(0), 1e4 * arguments[0], *arguments[1:])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((value, gradients)))
    value, gradients = gradient(
        jax.random.key(0), *arguments[:3], jnp.zeros(13, jnp.int32), jnp.zeros(13)
    )
    assert value == 0
    assert all((np.asarray(g) == 0).all() for g in gradients)


def test_binary_cross_entropy_on_four_devices_is_that_on_one():
    """With two items there is one negative to draw, whatever the device's key."""
    hidden, table, bias, labels, weights = problem(positions=16, items=2)

    def gradients(key, hidden, labels, weights, table, bias):
        def loss(hidden, table, bias):
            own = jax.random.fold_in(key, mesh.device_index())
            table, bias = mesh.copy_per_device((table, bias))
            return mesh.sum_over_devices(
                binary_cross_entropy(own, hidden, table, bias, labels, weights)
            )

        return jax.grad(loss, (0, 1, 2))(hidden, table, bias)

    found = []
    for devices in (1, 4):
        mapped = mesh.map_over_devices(
            gradients, mesh.make_mesh(devices),
            in_axes=(None, "data", "data", "data", None, None), out_axes=("data", None, None),
        )  # fmt: skip
        found.append(mapped(jax.random.key(0), hidden, labels, weights, table, bias))
    for one, four in zip(*found, strict=True):
        assert np.abs(one).max() > 0.1
        np.testing.assert_allclose(one, four, rtol=1e-5, atol=1e-6)
