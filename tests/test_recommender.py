"""Recommendations of a model whose scores are known: a table of what follows what."""

import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax import Recommender, recommender
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.scorers import Scorer
from bert4rec_jax.vocab import Vocabulary

ITEMS = ("a", "b", "c", "d", "e")
ROWS = np.array([0, 9, 7, 8, 1, 2])  # of each item, PAD's first: by popularity a c b e d
# Row i: the score of every item after item i.
FOLLOWS = np.array(
    [
        [9, 5, 4, 3, 2],
        [1, 9, 5, 7, 3],
        [8, 2, 9, 4, 6],
        [5, 6, 7, 9, 1],
        [2, 3, 1, 4, 9],
    ],
    np.float32,
)


def encode(params, items, length):
    last = jnp.take_along_axis(items, length[:, None] - 1, axis=1)[:, 0]
    return params["follows"][last - 1]


@pytest.fixture
def model():
    scorer = Scorer(encode, lambda params: (params["table"], jnp.zeros(5)), append_mask=False)
    params = {"follows": jnp.asarray(FOLLOWS), "table": jnp.eye(5)}
    return Recommender(scorer, params, Vocabulary(ITEMS), ROWS, max_length=3, batch_size=4)


def names(recommended):
    return ["".join(scored.item for scored in row) for row in recommended]


def test_the_best_items_that_a_user_has_not_had(model):
    """After b: b 9, d 7, c 5, e 3, a 1. Six histories in batches of four."""
    histories = [["a", "b"], ["b"], ["d", "c", "e"], ["c"], ["e", "a"], ["a", "b", "c", "d"]]
    found = model.recommend(histories, k=3)
    assert names(found) == ["dce", "dce", "ba", "aed", "bcd", "e"]
    assert [scored.score for scored in found[0]] == [7, 5, 3]


def test_items_of_the_history_too_if_asked_for(model):
    assert names(model.recommend([["a", "b"]], k=3, with_seen=True)) == ["bdc"]


def test_unknown_items_are_skipped_and_nothing_known_gets_the_popular(model):
    found = model.recommend([["b", "zz"], ["zz"], []], k=2)
    assert names(found) == ["dc", "ac", "ac"]
    assert [scored.score for scored in found[1]] == [9, 8]


def test_an_item_in_place_of_a_list_of_items_is_refused(model):
    for lists in ({"deny": "ab"}, {"allow": "ab"}):
        with pytest.raises(UserError, match="not one string"):
            model.recommend([["b"]], k=3, **lists)


def test_allow_and_deny(model):
    assert names(model.recommend([["b"], []], k=3, allow=["a", "e", "zz"])) == ["ea", "ae"]
    assert names(model.recommend([["b"], []], k=3, deny=["d", "a"])) == ["ce", "cbe"]
    assert names(model.recommend([["b"]], k=3, allow=["d", "c"], deny=["d"])) == ["c"]


@pytest.mark.parametrize("k", [0, 6])
def test_a_number_that_cannot_be_is_refused(model, k):
    with pytest.raises(UserError, match=rf"top_k {k} must be in 1 \.\. 5"):
        model.recommend([["a"]], k=k)


@pytest.mark.parametrize("histories", ["ab", ["ab"], [1, 2]])
def test_a_string_and_a_number_are_no_history(model, histories):
    with pytest.raises(UserError, match="a history is a list of item ids"):
        model.recommend(histories)


def test_users_come_in_parts_without_a_difference(model, monkeypatch):
    rng = np.random.default_rng(0)
    histories = [list(rng.choice([*ITEMS, "zz"], size)) for size in rng.integers(0, 6, 40)]
    whole = model.recommend(histories, k=2)
    monkeypatch.setattr(recommender, "USERS_AT_ONCE", 7)
    assert model.recommend(histories, k=2) == whole


def test_similar_items_are_those_of_the_greatest_cosine(model):
    model.params["table"] = jnp.array([[1, 0], [3, 4], [0, 2], [-1, 0], [5, 0]], jnp.float32)
    found = model.similar_items("a", k=3)
    assert [scored.item for scored in found] == ["e", "b", "c"]
    assert [scored.score for scored in found] == pytest.approx([1.0, 0.6, 0.0])


def test_similar_to_what_is_not_there(model):
    with pytest.raises(UserError, match="'zz' is not in the catalogue of 5 items"):
        model.similar_items("zz")
