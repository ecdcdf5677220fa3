"""Binary losses of sampled items: by hand, their negatives, and their memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bert4rec_jax import sampled_losses
from bert4rec_jax.sampled_losses import binary_cross_entropy, generalised_binary_cross_entropy
from tests.loss_cases import LOSSES, over_keys, problem, scores_alone


def test_binary_cross_entropy_of_two_items_by_hand():
    """The one other item is the negative. The label scores ln 3, sigmoid 3/4; the other one
    -ln 4, so 1 - sigmoid is 4/5; the loss is ln 4/3 + ln 5/4 = ln 5/3."""
    table, bias = jnp.array([[2.0], [0.0]]), jnp.array([np.log(3.0) - 2.0, -np.log(4.0)])
    loss = binary_cross_entropy(
        jax.random.key(0), jnp.ones((3, 1)), table, bias, jnp.array([1, 1, 0]),
        jnp.array([1.0, 0.5, 0.0]),
    )  # fmt: skip
    np.testing.assert_allclose(loss, 1.5 * np.log(5 / 3), rtol=1e-6)


def test_generalised_binary_cross_entropy_by_hand():
    """5 items, 2 negatives: alpha = 2 / 4, and with t = 0.6 beta = 0.5 (0.6 (1 - 2) + 2) = 0.7.
    With ln 0.7/2 added the label scores ln 3 and all others -ln 4: 0.7 ln 4/3 + 2 ln 5/4."""
    bias = np.full(5, -np.log(4.0), np.float32)
    bias[3] = np.log(3.0)
    bias -= np.log(0.7 / 2)
    loss = generalised_binary_cross_entropy(
        jax.random.key(0), *scores_alone(bias, label=4, weight=2.0), negatives=2, calibration=0.6
    )
    expected = 2.0 * (0.7 * np.log(4 / 3) + 2 * np.log(5 / 4))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_one_negative_without_calibration_is_plain_binary_cross_entropy():
    plain = binary_cross_entropy(jax.random.key(0), *problem())
    general = generalised_binary_cross_entropy(
        jax.random.key(0), *problem(), negatives=1, calibration=0.0
    )
    np.testing.assert_allclose(general, plain, rtol=1e-6)


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_many_negatives_weigh_the_label_fully(calibration):
    """alpha is at most 1, so beta is 1: 400 draws from 4 others are 400 times their mean."""
    bias = np.array([1.0, -1.0, 0.5, 2.0, 0.0], np.float32)
    loss = functools.partial(
        generalised_binary_cross_entropy, negatives=400, calibration=calibration
    )
    shifted = bias + np.float32(np.log(400))  # -ln 400 is added
    found = over_keys(loss, scores_alone(shifted, label=1), draws=200).mean()
    other = np.log1p(np.exp(bias[1:])).mean()
    np.testing.assert_allclose(found, np.log1p(np.exp(-1.0)) + 400 * other, rtol=2e-3)


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("negatives", [1, 256])
def test_scores_of_nothing_learnt_are_at_rest_as_a_whole(negatives, calibration):
    """The label draws all scores up as hard as the negatives draw them down: were the sum of the
    gradients not zero, the first updates would move all items by one vector and little else."""
    loss = functools.partial(
        generalised_binary_cross_entropy, negatives=negatives, calibration=calibration
    )
    arguments = scores_alone(np.zeros(3000, np.float32), label=4)
    gradient = np.asarray(jax.grad(loss, 3)(jax.random.key(0), *arguments))
    assert gradient[3] < -1e-4
    np.testing.assert_allclose(gradient.sum() / gradient[3], 0, atol=1e-4)


def test_blocks_of_positions_change_nothing(monkeypatch):
    gradient = jax.value_and_grad(LOSSES["gbce"], (1, 2, 3))
    whole = gradient(jax.random.key(0), *problem())
    monkeypatch.setattr(sampled_losses, "GATHERED_AT_ONCE", 4 * 5 * 8)  # 4 of the 13 positions
    blocked = gradient(jax.random.key(0), *problem())
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(blocked), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_vectors_of_all_negatives_never_exist():
    positions, items, width, negatives = 4096, 1000, 64, 256
    shapes = (
        jax.ShapeDtypeStruct((positions, width), jnp.float32),
        jax.ShapeDtypeStruct((items, width), jnp.float32),
        jax.ShapeDtypeStruct((items,), jnp.float32),
        jax.ShapeDtypeStruct((positions,), jnp.int32),
        jax.ShapeDtypeStruct((positions,), jnp.float32),
    )
    loss = functools.partial(
        generalised_binary_cross_entropy, negatives=negatives, calibration=0.75
    )
    gradient = jax.jit(jax.grad(functools.partial(loss, jax.random.key(0)), (0, 1, 2)))
    temporary = gradient.lower(*shapes).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 4 * positions * negatives * width


def test_negatives_are_uniform_over_the_other_items():
    """Item i scores its bias, 30 i: the loss is the sum over negatives of 30 i, nearly."""
    items, label = 6, 3
    bias = 30.0 * jnp.arange(1.0, items + 1)
    found = over_keys(binary_cross_entropy, scores_alone(bias, label=label))
    negatives = np.rint(found / 30).astype(int)
    counts = np.bincount(negatives, minlength=items + 1)
    assert counts[0] == counts[label] == 0
    assert stats.chisquare(np.delete(counts, [0, label])).pvalue > 0.01
