import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax import mesh
from bert4rec_jax.data.sequences import Cases
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import inputs, ranking, scorers
from bert4rec_jax.evaluation.inputs import SeenItems
from bert4rec_jax.evaluation.ranking import PROTOCOLS, Ranker
from bert4rec_jax.evaluation.scorers import Scorer
from tests import ranking_reference as reference

LENGTH = 5


def transition_scorer(append_mask):
    """Scores are the row of a table [n, n] for the last item of the history, to the last bit."""

    def encode(params, items, length):
        last = jnp.take_along_axis(items, (length - 1 - append_mask)[:, None], axis=1)[:, 0]
        return params["rows"][last - 1]

    def item_table(params):
        return jnp.eye(len(params["rows"])), params["bias"]

    return Scorer(encode, item_table, append_mask)


def catalogue_scorer():
    """The same scores, all of them at once instead of as products."""
    encode = transition_scorer(False).encode

    def scores(params, items, length):
        return encode(params, items, length) + params["bias"][None, :]

    return Scorer(None, None, False, scores)


def scores_of(params, history):
    rows, bias = np.asarray(params["rows"]), np.asarray(params["bias"])
    return rows[history[-1] - 1] + bias


def make_params(rows, bias=None):
    rows = jnp.asarray(rows, jnp.float32)
    return {"rows": rows, "bias": jnp.zeros(len(rows)) if bias is None else jnp.asarray(bias)}


def random_negatives(rng, sequences, cases, count=4):
    rows = []
    for user in cases.users:
        unseen = sorted(set(range(1, len(sequences.vocab) + 1)) - set(sequences.history(user)))
        rows.append(rng.choice(unseen, size=count, replace=False))
    return {name: np.array(rows, np.int32) for name in ("popularity_100", "uniform_100")}


def make_ranker(sequences, scorer, protocols=PROTOCOLS, **options):
    seen = SeenItems(sequences)
    return Ranker(scorer, sequences, seen, protocols=protocols, max_length=LENGTH, **options)


def expected_ranks(sequences, cases, params, negatives, protocol):
    ranks = []
    for case, (user, end) in enumerate(zip(cases.users, cases.ends, strict=True)):
        history, target = sequences.history(user)[:end], sequences.history(user)[end]
        drawn = negatives.get(protocol, [[]] * len(cases.users))[case]
        others = reference.candidates(protocol, history, target, len(sequences.vocab), drawn)
        ranks.append(reference.rank(scores_of(params, history), target, others))
    return ranks


ROWS = {
    "distinct": lambda rng, n: rng.permuted(np.tile(np.arange(n), (n, 1)), axis=1),
    "random": lambda rng, n: rng.normal(size=(n, n)),
    "tied": lambda rng, n: rng.integers(0, 3, size=(n, n)),
    "constant": lambda rng, n: np.ones((n, n)),
    "one ulp apart": lambda rng, n: np.nextafter(
        np.float32(1), np.where(rng.random((n, n)) < 0.5, 2, 1).astype(np.float32)
    ),
}


SCORERS = {
    "mask": transition_scorer(True),
    "no mask": transition_scorer(False),
    "catalogue": catalogue_scorer(),
}


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


def test_every_width_compiles_once():
    traced = []

    def encode(params, items, length):
        traced.append(items.shape)
        return params["rows"][items[:, 0] - 1]

    scorer = transition_scorer(False)._replace(encode=encode)
    rng = np.random.default_rng(0)
    sequences = reference.random_log(rng, users=10, items=20, longest=9)
    cases = reference.last_items(sequences)
    earlier = Cases(cases.users[:7], cases.ends[:7] - 1)
    ranker = make_ranker(sequences, scorer, batch_size=4)
    for judged in (cases, earlier, cases):
        params = make_params(rng.normal(size=(20, 20)))
        ranker.ranks(params, judged, random_negatives(rng, sequences, judged))
    assert len(traced) == len(set(traced))
    assert {rows for rows, _ in traced} == {4}
    assert {width for _, width in traced} <= {1, 2, 3, 4, 5}


def test_a_large_catalogue_is_scored_in_smaller_batches(monkeypatch):
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", 70)  # 3 x 20 < 70 < 4 x 20, halved from 8
    shapes = set()

    def compile_and_note(function):
        def noting(params, batch):
            shapes.update((name, len(batch[name])) for name in ("items", "query") if name in batch)
            return function(params, batch)

        return jax.jit(noting)

    scorer = transition_scorer(False)
    sequences = reference.random_log(np.random.default_rng(0), users=5, items=20, longest=9)
    cases = reference.last_items(sequences)
    make_ranker(
        sequences, scorer, ("full",), batch_size=8, map_over_devices=compile_and_note
    ).ranks(make_params(np.eye(20)), cases, {})
    assert shapes == {("items", 8), ("query", 2)}
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", 19)
    with pytest.raises(UserError, match="20 items is too large"):
        make_ranker(sequences, scorer, ("full",))


def test_a_scorer_of_the_whole_catalogue_has_small_batches_for_sampled_protocols_too(monkeypatch):
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", 70)
    shapes = []

    def scores(params, items, length):
        shapes.append(len(items))
        return jnp.zeros((len(items), 20))

    sequences = reference.random_log(np.random.default_rng(0), users=5, items=20, longest=9)
    cases = reference.last_items(sequences)
    ranker = make_ranker(
        sequences, Scorer(None, None, False, scores), ("uniform_100",), batch_size=8
    )
    ranks = ranker.ranks({}, cases, {"uniform_100": np.array([[1, 2, 3]] * 5, np.int32)})
    assert shapes == [2]
    assert ranks["uniform_100"].tolist() == [3] * 5


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


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_four_devices_rank_and_recommend_as_one_does(scorer):
    over_devices = functools.partial(
        mesh.map_over_devices, mesh=mesh.make_mesh(4), in_axes=(None, "data"), out_axes="data"
    )
    rng = np.random.default_rng(3)
    sequences = reference.random_log(rng, users=13, items=20, longest=9)
    cases = reference.last_items(sequences)
    params = make_params(rng.normal(size=(20, 20)))
    negatives = random_negatives(rng, sequences, cases)
    one = make_ranker(sequences, scorer, batch_size=8)
    four = make_ranker(sequences, scorer, batch_size=8, map_over_devices=over_devices)
    for a, b in zip(
        jax.tree.leaves((one.ranks(params, cases, negatives), one.top_k(params, cases, 3))),
        jax.tree.leaves((four.ranks(params, cases, negatives), four.top_k(params, cases, 3))),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


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
