"""How the evaluator cuts its work: widths, batches, devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax import mesh
from bert4rec_jax.data.sequences import Cases
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import ranking
from bert4rec_jax.evaluation.scorers import Scorer
from tests import ranking_reference as reference
from tests.ranking_cases import (
    SCORERS,
    make_params,
    make_ranker,
    random_negatives,
    transition_scorer,
)


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
