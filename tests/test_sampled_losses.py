"""All losses of sampled items, and the sampled softmax: by hand, against the softmax that it stands
for, and what it draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bert4rec_jax import mesh
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.losses import softmax_cross_entropy
from bert4rec_jax.sampled_losses import draw_by_rank, sampled_softmax
from configs import synthetic
from tests.loss_cases import LOSSES, over_keys, problem, scores_alone

each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


# All of them.


@each_loss
def test_large_scores_and_nothing_to_predict_do_no_harm(loss):
    arguments = problem()
    gradient = jax.jit(jax.value_and_grad(loss, (1, 2, 3)))
    value, gradients = gradient(jax.random.key(0), 1e4 * arguments[0], *arguments[1:])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((value, gradients)))
    value, gradients = gradient(
        jax.random.key(0), *arguments[:3], jnp.zeros(13, jnp.int32), jnp.zeros(13)
    )
    assert value == 0
    assert all((np.asarray(g) == 0).all() for g in gradients)


@each_loss
def test_a_position_without_weight_adds_nothing(loss):
    """Whatever stands there: the same draws, another hidden vector and label."""
    hidden, table, bias, labels, weights = problem()
    gradient = jax.jit(jax.value_and_grad(loss, (2, 3)))
    one = gradient(jax.random.key(0), hidden, table, bias, labels, weights)
    other = gradient(
        jax.random.key(0), hidden.at[5].set(7.0), table, bias, labels.at[5].set(0), weights
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@each_loss
def test_scores_are_float32_of_bfloat16_too(loss):
    hidden, table, bias, labels, weights = problem()
    halves = hidden.astype(jnp.bfloat16), table.astype(jnp.bfloat16)
    grad = jax.jit(jax.value_and_grad(loss, (1, 2)))
    value, gradients = grad(jax.random.key(0), *halves, bias, labels, weights)
    rounded = (half.astype(jnp.float32) for half in halves)
    expected, expected_gradients = grad(jax.random.key(0), *rounded, bias, labels, weights)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(found.astype(np.float32), wanted, rtol=2e-2, atol=2e-2)


@each_loss
def test_the_label_is_never_its_own_negative(loss):
    """A negative of the label's score, 50, would cost at least log 2 a position."""
    positions, items = 500, 6
    bias = jnp.full(items, -50.0).at[2].set(50.0)
    value = jax.jit(loss)(
        jax.random.key(0), jnp.zeros((positions, 1)), jnp.zeros((items, 1)), bias,
        jnp.full(positions, 3), jnp.ones(positions),
    )  # fmt: skip
    np.testing.assert_allclose(value, 0.0, atol=1e-6)


@each_loss
def test_four_devices_do_what_one_does(loss):
    """With two items and all draws the same, whatever the device's key.

    The binary ones have one negative to draw. For the softmax the draws that fall on a position's
    other item are counted, so the keys must be the same on all devices.
    """
    hidden, table, bias, labels, weights = problem(positions=16, items=2)
    own_keys = loss is not LOSSES["sampled_softmax"]

    def gradients(key, hidden, labels, weights, table, bias):
        def objective(hidden, table, bias):
            own = jax.random.fold_in(key, mesh.device_index()) if own_keys else key
            table, bias = mesh.copy_per_device((table, bias))
            return mesh.sum_over_devices(loss(own, hidden, table, bias, labels, weights))

        return jax.grad(objective, (0, 1, 2))(hidden, table, bias)

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


@pytest.mark.parametrize("name", ["sampled_softmax", "gbce"])
def test_a_run_trains_with_it_on_four_devices(name):
    """On the generated log, from the settings to a loss that falls on a batch seen again."""
    config = synthetic.get_config("cloze")
    config.model.hidden, config.model.layers = 8, 1
    config.mesh.data = 4
    config.train.loss = name
    config.train.negatives = 7
    config.train.batch_size = 32
    config.optimizer.learning_rate, config.optimizer.warmup_steps = 0.02, 1
    experiment = Experiment(config)
    run_step, state = experiment.run_step(), experiment.initial_state()
    losses = []
    for _ in range(40):
        state, sums = run_step(state, *experiment.batch(0))
        assert float(sums["weight"]) > 100
        losses.append(float(sums["loss"] / sums["weight"]))
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.1


# The sampled softmax.


def test_sampled_softmax_of_two_items_by_hand():
    """Rows 0 and 1 are drawn with probability 1/2 each. The label, item 1, scores 0 and the other
    one ln 3; of 4 draws h fall on the other: Z' = 1 + h * 3 / (4 * 1/2)."""
    key = jax.random.key(1)
    drawn, _ = draw_by_rank(key, items=2, count=4)
    others = int((drawn == 1).sum())
    assert 0 < others < 4
    loss = sampled_softmax(key, *scores_alone([0.0, np.log(3.0)], label=1), negatives=4)
    np.testing.assert_allclose(loss, np.log(1 + others * 3 / 2), rtol=1e-6)


@pytest.mark.parametrize("negatives", [1, 3])
def test_the_denominator_is_right_on_average(negatives):
    """Without bias even from a single draw: the mean of Z' over many keys is the softmax's Z."""
    bias = np.random.default_rng(0).normal(size=11).astype(np.float32)
    label = 5
    loss = functools.partial(sampled_softmax, negatives=negatives)
    z = np.exp(over_keys(loss, scores_alone(bias, label=label), draws=20_000) + bias[label - 1])
    error = z.std() / np.sqrt(len(z))
    assert error < 0.02 * z.mean()
    assert abs(z.mean() - np.exp(bias).sum()) < 3 * error


def test_many_negatives_give_the_full_softmax_and_its_gradients():
    arguments = problem(items=7)
    loss = functools.partial(sampled_softmax, negatives=1_000_000)
    value, gradients = jax.jit(jax.value_and_grad(loss, (1, 2, 3)))(jax.random.key(0), *arguments)
    expected, expected_gradients = jax.value_and_grad(softmax_cross_entropy, (0, 1, 2))(*arguments)
    np.testing.assert_allclose(value, expected, rtol=5e-3)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.02)


@pytest.mark.parametrize("items", [1, 2, 3, 8, 13, 1000])
def test_every_row_is_drawn_as_often_as_it_says(items):
    """The probabilities by hand for 3: parts {1, 2} and {0}, each half."""
    rows, log_q = map(np.asarray, draw_by_rank(jax.random.key(3), items=items, count=60_000))
    drawn, first, counts = np.unique(rows, return_index=True, return_counts=True)
    assert drawn.tolist() == list(range(items))
    q = np.exp(log_q[first].astype(float))
    np.testing.assert_allclose(q.sum(), 1.0, rtol=1e-5)
    assert stats.chisquare(counts, len(rows) * q / q.sum()).pvalue > 0.01 or items == 1
    if items == 3:
        np.testing.assert_allclose(q, [0.5, 0.25, 0.25], rtol=1e-6)


def test_draws_follow_zipf_up_to_a_factor_of_two():
    rows, log_q = map(np.asarray, draw_by_rank(jax.random.key(4), items=1_000_000, count=10_000))
    log_uniform = np.log1p(1 / (rows + 1.0)) / np.log(1_000_001)
    ratio = np.exp(log_q) / log_uniform
    assert ratio.min() > 0.4
    assert ratio.max() < 2.5
    assert rows.max() > 900_000
