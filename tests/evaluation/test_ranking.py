"""Ranks and recommendations, against loops over one user at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax import mesh
from bert4rec_jax.data.sequences import Cases
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import inputs, scorers
from bert4rec_jax.evaluation.ranking import PROTOCOLS, rank_batch
from tests import ranking_reference as reference
from tests.ranking_cases import (
    ROWS,
    SCORERS,
    expected_ranks,
    make_params,
    make_ranker,
    random_negatives,
    scores_of,
    transition_scorer,
)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("users", [1, 23])
@pytest.mark.parametrize("widths", [inputs.CPU_WIDTHS, inputs.ACCELERATOR_WIDTHS])
def test_ranks_equal_those_of_the_loops(kind, users, scorer, widths, monkeypatch):
    monkeypatch.setattr(inputs, "widths_here", lambda: widths)
    rng = np.random.default_rng(users)
    sequences = reference.random_log(rng, users=users, items=30, longest=12)
    cases = reference.last_items(sequences)
    params = make_params(ROWS[kind](rng, 30), rng.integers(0, 2, size=30).astype(np.float32))
    negatives = random_negatives(rng, sequences, cases)
    ranks = make_ranker(sequences, scorer, batch_size=8).ranks(params, cases, negatives)
    assert list(ranks) == list(PROTOCOLS)
    for protocol in PROTOCOLS:
        assert ranks[protocol].dtype == np.int32
        expected = expected_ranks(sequences, cases, params, negatives, protocol)
        np.testing.assert_array_equal(ranks[protocol], expected)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_ranks_do_not_depend_on_the_batch_or_on_the_other_protocols(scorer):
    rng = np.random.default_rng(0)
    sequences = reference.random_log(rng, users=11, items=20, longest=9)
    cases = reference.last_items(sequences)
    params = make_params(rng.normal(size=(20, 20)), rng.normal(size=20).astype(np.float32))
    negatives = random_negatives(rng, sequences, cases)
    whole = make_ranker(sequences, scorer, batch_size=11).ranks(params, cases, negatives)
    for protocol in PROTOCOLS:
        for batch_size in (1, 4, 16):
            ranker = make_ranker(sequences, scorer, (protocol,), batch_size=batch_size)
            ranks = ranker.ranks(params, cases, negatives)
            assert list(ranks) == [protocol]
            np.testing.assert_array_equal(ranks[protocol], whole[protocol])


def test_ranks_follow_the_order_of_the_cases():
    rng = np.random.default_rng(1)
    sequences = reference.random_log(rng, users=9, items=20, longest=9)
    cases = reference.last_items(sequences)
    ranker = make_ranker(sequences, transition_scorer(True), ("full",), batch_size=4)
    params = make_params(rng.normal(size=(20, 20)))
    order = rng.permutation(9)
    ranks = ranker.ranks(params, cases, {})["full"]
    moved = ranker.ranks(params, Cases(cases.users[order], cases.ends[order]), {})["full"]
    np.testing.assert_array_equal(moved, ranks[order])


def test_a_target_the_user_had_before_is_ranked_and_not_excluded():
    sequences = reference.small_log([[1, 2, 3, 2]], items=5)
    params = make_params(np.tile([9, 5, 9, 5, 1], (5, 1)))
    ranks = make_ranker(sequences, transition_scorer(False), ("full", "full_with_history")).ranks(
        params, reference.last_items(sequences), {}
    )
    assert ranks["full"].tolist() == [1]  # item 4 ties; 1 and 3 were had, 5 is worse
    assert ranks["full_with_history"].tolist() == [3]


def test_items_after_the_target_still_compete():
    """At validation nobody knows yet what the user takes next."""
    sequences = reference.small_log([[1, 2, 3]], items=3)
    params = make_params(np.tile([1, 2, 3], (3, 1)))
    ranker = make_ranker(sequences, transition_scorer(False), ("full",))
    validation = Cases(np.array([0], np.int32), np.array([1]))
    assert ranker.ranks(params, validation, {})["full"].tolist() == [1]


@pytest.mark.parametrize("value", [0.0, 1e30, np.inf, -np.inf])
def test_a_scorer_that_cannot_tell_items_apart_gets_the_worst_rank(value):
    sequences = reference.small_log([[1, 2], [3, 4, 5]], items=9)
    cases = reference.last_items(sequences)
    params = make_params(np.zeros((9, 9)), bias=np.full(9, value, np.float32))
    negatives = random_negatives(np.random.default_rng(0), sequences, cases)
    ranks = make_ranker(sequences, transition_scorer(True)).ranks(params, cases, negatives)
    assert {name: rank.tolist() for name, rank in ranks.items()} == {
        "popularity_100": [4, 4],
        "uniform_100": [4, 4],
        "full": [7, 6],
        "full_with_history": [8, 8],
    }


def test_equal_items_score_alike_where_they_stand_among_the_negatives():
    """Items of one embedding, which random queries multiply to what is not exact."""
    rng = np.random.default_rng(0)
    table = np.tile(rng.normal(size=64).astype(np.float32), (300, 1))
    scorer = scorers.Scorer(None, lambda table: (table, jnp.zeros(300)), False)
    negatives = {
        name: np.stack([rng.permutation(300)[:count] + 1 for _ in range(32)]).astype(np.int32)
        for name, count in (("popularity_100", 100), ("uniform_100", 7))
    }
    batch = {
        "query": rng.normal(size=(32, 64)).astype(np.float32),
        "target": rng.integers(1, 301, 32).astype(np.int32),
        "negatives": negatives,
    }
    ranks = jax.jit(functools.partial(rank_batch, scorer))(table, batch)
    np.testing.assert_array_equal(ranks["popularity_100"], 100)
    np.testing.assert_array_equal(ranks["uniform_100"], 7)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nan_scores_are_an_error_that_names_the_user(protocol):
    sequences = reference.small_log([[1, 2], [3, 4], [5, 6]], items=12)
    cases = reference.last_items(sequences)
    negatives = dict.fromkeys(("popularity_100", "uniform_100"), np.array([[9], [10], [11]]))
    ranker = make_ranker(sequences, transition_scorer(False), (protocol,), batch_size=2)
    rows = np.eye(12)
    ranker.ranks(make_params(rows), cases, negatives)
    rows[3 - 1] = np.nan  # what u1 had last
    with pytest.raises(UserError, match=r"user u1: scores are NaN \(1 of 3 users\)"):
        ranker.ranks(make_params(rows), cases, negatives)
    with pytest.raises(UserError, match=r"user u1: scores are NaN \(1 of 3 users\)"):
        ranker.top_k(make_params(rows), Cases(cases.users, cases.ends), 2)


@pytest.mark.parametrize("item", [4, 10])
def test_one_nan_among_the_candidates_is_found(item):
    """Item 4 is u1's true item and item 10 is u1's negative."""
    sequences = reference.small_log([[1, 2], [3, 4], [5, 6]], items=12)
    cases = reference.last_items(sequences)
    negatives = {"uniform_100": np.array([[9], [10], [11]])}
    bias = np.zeros(12, np.float32)
    bias[item - 1] = np.nan
    params = make_params(np.eye(12), bias)
    ranker = make_ranker(sequences, transition_scorer(False), ("uniform_100",))
    with pytest.raises(UserError, match=r"user u1: scores are NaN \(1 of 3 users\)"):
        ranker.ranks(params, cases, negatives)
    ranker = make_ranker(sequences, transition_scorer(False), ("full",))
    with pytest.raises(UserError, match=r"user u0: scores are NaN \(3 of 3 users\)"):
        ranker.ranks(params, cases, {})


def test_popularity_ranks_by_counts():
    """Counts 5, 4, 4, 1 of items 1 to 4: for each user's last item, who is at least as popular."""
    counts = np.array([0, 5, 4, 4, 1])
    sequences = reference.small_log([[1, 2], [1, 2, 4], [2, 1]], items=4)
    scorer, params = scorers.popularity_scorer(counts)
    over_devices = functools.partial(
        mesh.map_over_devices, mesh=mesh.make_mesh(2), in_axes=(None, "data"), out_axes="data"
    )
    for options in ({}, {"map_over_devices": over_devices}):
        ranker = make_ranker(
            sequences, scorer, ("full", "full_with_history"), batch_size=2, **options
        )
        ranks = ranker.ranks(params, reference.last_items(sequences), {})
        assert ranks["full"].tolist() == [1, 1, 0]
        assert ranks["full_with_history"].tolist() == [2, 3, 0]
        items, _ = ranker.top_k(params, reference.last_items(sequences), 3)
        assert items.tolist() == [[2, 3, 4], [3, 4, 0], [1, 3, 4]]


def test_unknown_protocols_are_refused():
    sequences = reference.small_log([[1, 2]], items=3)
    with pytest.raises(UserError, match="unknown protocol ful;"):
        make_ranker(sequences, transition_scorer(True), ("full", "ful"))


@pytest.mark.parametrize("kind", ["random", "tied"])
def test_the_top_k_are_the_unseen_items_in_order_of_score(kind):
    rng = np.random.default_rng(5)
    sequences = reference.random_log(rng, users=9, items=15, longest=14)
    # Nothing is held out: the whole history is known.
    cases = Cases(np.arange(9, dtype=np.int32), np.diff(sequences.offsets))
    params = make_params(ROWS[kind](rng, 15))
    items, scores = make_ranker(sequences, transition_scorer(True), batch_size=4).top_k(
        params, cases, 12
    )
    assert items.shape == scores.shape == (9, 12)
    assert (items == 0).any()
    for user in range(9):
        history = sequences.history(user)
        all_scores = scores_of(params, history)
        unseen = [i for i in range(1, 16) if i not in history]
        best = sorted(unseen, key=lambda i: (-all_scores[i - 1], i))[:12]
        assert items[user].tolist() == best + [0] * (12 - len(best))
        np.testing.assert_array_equal(scores[user, : len(best)], all_scores[np.array(best) - 1])


def test_the_top_k_of_too_small_a_catalogue_is_refused():
    sequences = reference.small_log([[1, 2]], items=3)
    with pytest.raises(UserError, match="the 4 best of only 3 items"):
        make_ranker(sequences, transition_scorer(True)).top_k(
            make_params(np.eye(3)), reference.last_items(sequences), 4
        )
