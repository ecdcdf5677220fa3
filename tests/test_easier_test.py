"""The easier popularity test of other programs, for figures beside theirs."""

import types

import numpy as np
import pytest

from bert4rec_jax.evaluation.scorers import popularity_scorer
from tests import ranking_reference as reference


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("easier_test")


@pytest.fixture(scope="module")
def log():
    return reference.random_log(np.random.default_rng(0), users=25, items=130, longest=60)


def test_negatives_are_distinct_and_never_the_target_but_may_be_of_the_history(script, log):
    cases = reference.last_items(log)
    targets = log.items[log.offsets[cases.users] + cases.ends]
    drawn = script.draw(np.maximum(log.counts, 1), targets, seed=0)
    assert drawn.shape == (len(cases.users), 100)
    for row, target in zip(drawn, targets, strict=True):
        assert len(set(row.tolist())) == 100
        assert target not in row
    # Of 130 items nearly all are drawn, so also of a long history.
    user = int(np.argmax(cases.ends))
    assert set(drawn[user]) & set(log.history(cases.users[user])[: cases.ends[user]])
    assert (drawn != script.draw(np.maximum(log.counts, 1), targets, seed=1)).any()


def test_what_was_seen_before_cannot_win(script, log):
    scores = np.random.default_rng(1).permutation(131)
    scorer, params = popularity_scorer(scores)
    trained = types.SimpleNamespace(scorer=scorer, params=params, max_length=8)
    cases = reference.last_items(log)
    ranks, barred = script.easier_ranks(trained, log, cases, seed=3)
    targets = log.items[log.offsets[cases.users] + cases.ends]
    drawn = script.draw(log.counts, targets, seed=3)
    for case, (user, end) in enumerate(zip(cases.users, cases.ends, strict=True)):
        history = set(log.history(user)[:end].tolist())
        others = [item for item in drawn[case].tolist() if item not in history]
        assert barred[case] == 100 - len(others)
        assert ranks[case] == sum(scores[item] >= scores[targets[case]] for item in others)
