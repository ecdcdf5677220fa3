"""Our figures against trec_eval's, by way of ir-measures.

trec_eval breaks ties by the name of the document, so ours are spelled out for it: candidates are
put in order with the true item behind its equals, and each gets a score of its own.
"""

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, Success, nDCG

from bert4rec_jax.metrics import metric_values
from tests import ranking_reference as reference
from tests.ranking_cases import (
    PROTOCOLS,
    ROWS,
    make_params,
    make_ranker,
    random_negatives,
    scores_of,
    transition_scorer,
)

MEASURES = {
    "HR@1": Success @ 1,
    "HR@5": Success @ 5,
    "HR@10": Success @ 10,
    "NDCG@5": nDCG @ 5,
    "NDCG@10": nDCG @ 10,
    "MRR": RR,
}


def theirs(sequences, cases, params, negatives, protocol):
    qrels, run = {}, {}
    for case, (user, end) in enumerate(zip(cases.users, cases.ends, strict=True)):
        history, target = sequences.history(user)[:end], sequences.history(user)[end]
        drawn = negatives.get(protocol, [[]] * len(cases.users))[case]
        others = reference.candidates(protocol, history, target, len(sequences.vocab), drawn)
        scores = scores_of(params, history)
        order = sorted([*others, target], key=lambda i: (-scores[i - 1], i == target))
        qrels[str(case)] = {str(target): 1}
        run[str(case)] = {str(i): float(-place) for place, i in enumerate(order)}
    found = {name: np.zeros(len(cases.users)) for name in MEASURES}
    names = {measure: name for name, measure in MEASURES.items()}
    for row in ir_measures.iter_calc(names, qrels, run):
        found[names[row.measure]][int(row.query_id)] = row.value
    return found


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("users", [1, 40])
def test_every_metric_of_every_user_agrees_to_the_last_digit(kind, users):
    rng = np.random.default_rng(users)
    sequences = reference.random_log(rng, users=users, items=50, longest=12)
    cases = reference.last_items(sequences)
    params = make_params(ROWS[kind](rng, 50))
    negatives = random_negatives(rng, sequences, cases, count=20)
    ranks = make_ranker(sequences, transition_scorer(True)).ranks(params, cases, negatives)
    for protocol in PROTOCOLS:
        ours = metric_values(ranks[protocol])
        expected = theirs(sequences, cases, params, negatives, protocol)
        for name in MEASURES:
            np.testing.assert_allclose(ours[name], expected[name], rtol=1e-15, atol=0)
