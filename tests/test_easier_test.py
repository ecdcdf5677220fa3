"""The easier popularity test of other programs, for figures beside theirs."""

import json
import types

import numpy as np
import pytest

from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.negatives import draw_negatives
from bert4rec_jax.evaluation.scorers import popularity_scorer
from tests import ranking_reference as reference


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("easier_test")


@pytest.fixture(scope="module")
def log():
    return reference.random_log(np.random.default_rng(0), users=25, items=130, longest=60)


def draw(script, log, seed):
    cases = reference.last_items(log)
    left_out = script.OnlyTargets(log, cases)
    return draw_negatives(log, left_out, cases, protocol="popularity_100", seed=seed)


def test_negatives_are_distinct_and_never_the_target_but_may_be_of_the_history(script, log):
    drawn = draw(script, log, 0)
    assert drawn.shape == (25, 100)
    of_history = 0
    for user, row in enumerate(drawn):
        *history, target = log.history(user).tolist()
        assert len(set(row.tolist())) == 100
        assert target not in row
        of_history += len(set(row.tolist()) & set(history))
    assert of_history > 0


def test_what_was_seen_before_cannot_win(script, log):
    scores = np.random.default_rng(1).permutation(131)
    scorer, params = popularity_scorer(scores)
    trained = types.SimpleNamespace(scorer=scorer, params=params, max_length=8)
    ranks, barred = script.easier_ranks(trained, log, reference.last_items(log), seed=3)
    for user, row in enumerate(draw(script, log, 3)):
        *history, target = log.history(user).tolist()
        others = [item for item in row.tolist() if item not in history]
        assert barred[user] == 100 - len(others)
        assert ranks[user] == sum(scores[item] >= scores[target] for item in others)


def test_a_run_without_the_harder_test_is_refused(script, tmp_path, monkeypatch):
    parts = {"dataset": {}, "model": {}, "train": {}, "test": {"full": {"HR@10": 0.1}}}
    (tmp_path / "results.json").write_text(json.dumps(parts))
    monkeypatch.setattr("sys.argv", ["easier_test.py", str(tmp_path)])
    with pytest.raises(UserError, match=r"results\.json has no popularity_100 with cut-off 10"):
        script.main()
    assert not (tmp_path / "easier_test.json").exists()
