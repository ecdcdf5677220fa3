import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bert4rec_jax.sampling import sample_negatives
from tests import ranking_reference as reference

KEY = jax.random.key(7, impl="threefry2x32")


@functools.partial(jax.jit, static_argnames=("draws", "count"))
def draw_many(counts, excluded, *, draws, count):
    def draw(key):
        return sample_negatives(key, jnp.cumsum(counts), excluded, count=count)

    return jax.vmap(draw)(jax.random.split(KEY, draws))


@pytest.mark.parametrize(
    ("counts", "excluded"),
    [
        ([1, 1, 1, 1, 1], []),
        ([50, 20, 10, 5, 2], []),
        ([50, 20, 10, 5, 2, 30, 1], [1, 4]),
        ([3, 9, 4, 0, 8, 2], [5]),
        ([1000, 1, 1, 1, 1000, 2], [5, 5, 0]),
    ],
)
def test_outcomes_follow_successive_sampling_without_replacement(counts, excluded):
    law = reference.sampling_law(counts, excluded, count=3)
    draws = 40_000
    drawn = draw_many(jnp.array(counts), jnp.array([*excluded, 0, 0]), draws=draws, count=3)
    outcomes, seen = np.unique(np.asarray(drawn), axis=0, return_counts=True)
    observed = dict(zip(map(tuple, outcomes.tolist()), seen.tolist(), strict=True))
    assert set(observed) <= set(law)

    # Outcomes too rare for a chi-square are tested together as one.
    rare = [outcome for outcome in law if law[outcome] * draws < 10]
    cells = [[outcome] for outcome in law if outcome not in rare] + ([rare] if rare else [])
    expected = np.array([float(sum(law[o] for o in cell)) * draws for cell in cells])
    counted = np.array([sum(observed.get(o, 0) for o in cell) for cell in cells])
    kept = expected >= 5
    assert kept.sum() > 3
    statistic = ((counted - expected) ** 2 / expected)[kept].sum()
    assert stats.chi2.sf(statistic, kept.sum() - 1) > 1e-3


def test_inclusion_probabilities_of_a_longer_draw_match_enumeration():
    counts, excluded, count, draws = [40, 25, 12, 9, 7, 4, 2, 1], [2], 5, 40_000
    expected = np.zeros(len(counts) + 1)
    for outcome, probability in reference.sampling_law(counts, excluded, count).items():
        expected[list(outcome)] += float(probability)
    drawn = draw_many(jnp.array(counts), jnp.array(excluded), draws=draws, count=count)
    share = np.bincount(np.asarray(drawn).ravel(), minlength=len(counts) + 1) / draws
    deviation = np.sqrt(expected * (1 - expected) / draws)
    assert share[0] == share[2] == 0
    np.testing.assert_array_less(np.abs(share - expected), 4 * deviation + 1e-9)


def test_rare_items_are_reached_however_skewed_the_counts():
    """With replacement, the rarest of these would take a billion draws."""
    counts = jnp.array([10**9, 10**6, 10**3, 1, 1], jnp.int32)
    drawn = np.asarray(draw_many(counts, jnp.array([0]), draws=2000, count=5))
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.tile(np.arange(1, 6), (2000, 1)))
    # The two last are equals: half of the times either comes first.
    assert 900 < (drawn[:, 3] == 4).sum() < 1100


def test_the_largest_catalogue_does_not_overflow():
    counts = jnp.array([2**30, 2**30 - 1], jnp.int32)
    drawn = np.asarray(draw_many(counts, jnp.array([0]), draws=4000, count=1))
    assert set(np.unique(drawn)) == {1, 2}
    assert 1850 < (drawn == 1).sum() < 2150


draw_one = jax.jit(sample_negatives, static_argnames="count")
COUNTS = st.lists(st.integers(0, 50), min_size=12, max_size=12)


@given(COUNTS, st.lists(st.integers(0, 12), min_size=6, max_size=6), st.integers(0, 2**31))
def test_negatives_are_distinct_known_and_unseen(counts, excluded, seed):
    key = jax.random.key(seed, impl="threefry2x32")
    cumulative = jnp.cumsum(jnp.array(counts, jnp.int32))
    drawn = draw_one(key, cumulative, jnp.array(excluded, jnp.int32), count=8)
    eligible = {i for i in range(1, 13) if counts[i - 1] and i not in excluded}
    found = min(8, len(eligible))
    items = drawn.tolist()
    assert drawn.dtype == jnp.int32
    assert len(set(items[:found])) == found
    assert set(items[:found]) <= eligible
    assert items[found:] == [0] * (8 - found)  # PAD says that the user has seen too much


def test_order_repeats_and_padding_of_the_exclusions_do_not_matter():
    cumulative = jnp.cumsum(jnp.arange(40, 0, -1))
    draws = [
        draw_one(KEY, cumulative, jnp.array(excluded), count=20).tolist()
        for excluded in (
            [3, 9, 1, 0, 0, 0],
            [1, 3, 9, 0, 0, 0],
            [0, 9, 1, 0, 3, 0],
            [9, 9, 1, 3, 3, 1],
        )
    ]
    assert all(draw == draws[0] for draw in draws)


def test_a_users_negatives_do_not_depend_on_the_batch():
    cumulative = jnp.cumsum(jnp.arange(300, 0, -1))
    excluded = jnp.array([[1, 2, 3], [7, 0, 0], [250, 3, 9], [0, 0, 0]])
    keys = jax.vmap(functools.partial(jax.random.fold_in, KEY))(jnp.arange(4))
    together = jax.vmap(lambda k, e: sample_negatives(k, cumulative, e))(keys, excluded)
    for user in range(4):
        alone = draw_one(keys[user], cumulative, excluded[user])
        np.testing.assert_array_equal(together[user], alone)
    assert len({tuple(row) for row in together.tolist()}) == 4
