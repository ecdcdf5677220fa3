"""Dropout from a hash: as random as it must be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bert4rec_jax.dropout import dropout, hash_bits


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_kept_share_and_scale(rate):
    x = jnp.ones((400, 500))
    y = np.asarray(dropout(jax.random.key(0), x, rate))
    kept = y != 0
    assert stats.binomtest(int(kept.sum()), kept.size, 1 - rate).pvalue > 0.001
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)


def test_a_rate_too_small_to_tell_from_0_drops_nothing_here():
    x = jnp.ones(1000)
    np.testing.assert_array_equal(dropout(jax.random.key(0), x, 1e-12), x)


def test_rate_0_changes_nothing():
    x = jnp.arange(6.0)
    assert dropout(jax.random.key(0), x, 0.0) is x


def test_gradient_passes_where_the_value_did():
    x, key = jnp.full((50, 60), 3.0), jax.random.key(2)
    kept = np.asarray(dropout(key, x, 0.3)) != 0
    gradient = jax.jit(jax.grad(lambda x: dropout(key, x, 0.3).sum()))(x)
    np.testing.assert_allclose(gradient, np.where(kept, 1 / 0.7, 0), rtol=1e-6)


def test_bits_are_uniform_and_independent():
    """Each bit, neighbours along each axis, and two keys' masks at the same place."""
    first, second = (
        np.asarray(hash_bits(jax.random.bits(jax.random.key(k), (2,)), (512, 512))) for k in (0, 1)
    )
    ones = np.unpackbits(first.view(np.uint8)).reshape(-1, 32).sum(axis=0)
    assert (np.abs(ones - first.size / 2) < 5 * np.sqrt(first.size) / 2).all()

    def correlation(a, b):
        return np.corrcoef(a.ravel() / 2**32, b.ravel() / 2**32)[0, 1]

    bound = 5 / np.sqrt(first.size)
    assert abs(correlation(first[:, 1:], first[:, :-1])) < bound
    assert abs(correlation(first[1:], first[:-1])) < bound
    assert abs(correlation(first, second)) < bound
    assert stats.kstest(first.ravel()[::8] / 2**32, "uniform").pvalue > 0.001


def test_another_key_is_not_a_shifted_copy():
    a, b = (
        np.asarray(hash_bits(jax.random.bits(jax.random.key(k), (2,)), (4096,))) for k in (3, 4)
    )
    assert len(np.intersect1d(a, b)) < 5  # of 4096 in 2**32: none is expected
