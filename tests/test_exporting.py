"""What is exported, on a model whose scores are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax import exporting
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.scorers import Scorer
from bert4rec_jax.loading import Trained
from bert4rec_jax.vocab import Vocabulary

MASK = 6


def trained(*, append_mask, retired=()) -> Trained:
    """A "model" of 5 items whose score of item i is what its input has at place i - 1, which is 3
    long or, with `append_mask`, 4 with MASK."""

    def scores(params, items, length):
        return jnp.pad(items, ((0, 0), (0, 5 - items.shape[1]))).astype(jnp.float32)

    out = np.zeros(5, bool)
    out[list(retired)] = True
    config = {"model": {"max_length": 4, "name": "any"}}
    length = 4 if append_mask else 3
    vocab = Vocabulary(tuple("abcde"))
    return Trained(
        config, Scorer(None, None, append_mask, scores), {}, vocab, np.arange(6) * 10, out, length
    )


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1, 2, 0, 0], [1, 2, MASK, 0, 0]),
        ([0, 0, 1, 2], [1, 2, MASK, 0, 0]),
        ([0, 3, 0, 5], [3, 5, MASK, 0, 0]),
        ([1, 2, 3, 4], [2, 3, 4, MASK, 0]),
        ([7, 1, -1, 6], [1, MASK, 0, 0, 0]),
        ([0, 0, 0, 0], [10, 20, 30, 40, 50]),
    ],
)
def test_padding_anywhere_the_last_items_and_mask_behind_them(ids, expected):
    scores = exporting.scores_function(trained(append_mask=True))
    assert scores(jnp.array([ids])).tolist() == [expected]


def test_a_left_to_right_model_gets_no_mask_and_retired_items_no_score():
    scores = exporting.scores_function(trained(append_mask=False, retired=[1]))
    found = scores(jnp.array([[5, 4, 3, 2], [0, 0, 0, 1]]))
    assert found.tolist() == [[4, -np.inf, 2, 0, 0], [1, -np.inf, 0, 0, 0]]


def test_a_difference_is_refused():
    with pytest.raises(UserError, match=r"scores differs from the model by up to 0\.5"):
        exporting._check_equal(np.array([1.0, 2.5]), np.array([1.0, 2.0]), "scores")
