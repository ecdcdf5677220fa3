"""Scorers and cases whose ranks are known, for the tests of the evaluator."""

import jax.numpy as jnp
import numpy as np

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
