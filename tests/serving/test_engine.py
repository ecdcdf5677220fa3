"""The served answers are the recommender's, and nothing is compiled for them."""

import jax
import numpy as np
import pytest

from bert4rec_jax.errors import UserError
from bert4rec_jax.serving.engine import Engine, Question
from bert4rec_jax.vocab import PAD, Vocabulary
from tests.serving.models import COUNTS, ITEMS, N, random_params, recommender, without_attention

K = 5
SIZES = (1, 2, 4)


COMPILED = "/jax/core/compile/backend_compile_duration"
compilations = []  # grows with every program that is compiled, or loaded from a cache


@pytest.fixture(scope="module", autouse=True)
def counting():
    def note(event, duration, **_):
        if event == COMPILED:
            compilations.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.fixture(scope="module")
def engine(counting):
    return Engine(recommender(), k=K, batch_sizes=SIZES)


def random_questions(seed: int, count: int) -> list[Question]:
    rng = np.random.default_rng(seed)
    return [
        Question(
            rng.integers(1, N + 1, rng.integers(0, 20)).astype(np.int32),
            rng.random(N) < 0.3 if rng.random() < 0.5 else None,
            bool(rng.random() < 0.3),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_answers_are_the_recommenders(engine, count):
    """Whatever the batch; the recommender is asked for one history at a time."""
    reference = recommender()
    for seed in range(3):
        questions = random_questions(seed, count)
        for question, answer in zip(questions, engine.answer(questions), strict=True):
            history = [ITEMS[item - 1] for item in question.history]
            barred = [] if question.barred is None else np.array(ITEMS)[question.barred]
            (wanted,) = reference.recommend(
                [history], k=K, with_seen=question.with_seen, deny=list(barred)
            )
            found = answer.items[answer.items != PAD]
            assert [ITEMS[item - 1] for item in found] == [scored.item for scored in wanted]
            np.testing.assert_allclose(
                answer.scores[: len(found)], [scored.score for scored in wanted], rtol=1e-5
            )
            assert answer.popular == (not history)


def test_fewer_are_left_than_asked_for(engine):
    barred = np.ones(N, bool)
    barred[[3, 8]] = False
    known, unknown = engine.answer(
        [Question(np.array([4], np.int32), barred), Question(np.zeros(0, np.int32), barred)]
    )
    assert known.items.tolist() == [9, PAD, PAD, PAD, PAD]
    assert unknown.items.tolist() == [4, 9, PAD, PAD, PAD]
    assert unknown.scores[:2].tolist() == [COUNTS[4], COUNTS[9]]


def test_attention_is_of_the_items_that_the_model_saw(engine):
    """Seven and MASK; MASK's own share is what is missing from 1."""
    short, long, none = engine.answer(
        [Question(np.arange(1, length + 1, dtype=np.int32)) for length in (3, 20, 0)]
    )
    assert (short.attention.shape, long.attention.shape) == ((3,), (7,))
    for answer in (short, long):
        assert (answer.attention > 0).all()
        assert answer.attention.sum() < 1
    assert none.attention is None
    assert engine.explains


def test_a_model_without_attention_is_served_too():
    engine = Engine(without_attention(), k=K, batch_sizes=(1,))
    (answer,) = engine.answer([Question(np.array([1, 3], np.int32))])
    assert answer.items.tolist() == [2, 4, 5, 6, 7]
    assert answer.attention is None
    assert not engine.explains


def test_no_request_waits_for_a_compilation(engine):
    """One program for each of three sizes and two widths was compiled; then none, whatever comes.

    That the counter counts is seen at `fresh` and the engine, which compile what they need.
    """
    fresh = recommender(seed=1)
    assert len(compilations) >= 6
    compilations.clear()
    for count in (1, 2, 3, 4):
        for seed in range(5):
            engine.answer(random_questions(seed, count))
    engine.swap(fresh)
    engine.answer(random_questions(0, 4))
    assert not compilations
    engine.swap(recommender())


def test_a_swap_changes_the_answers(engine):
    fresh, question = recommender(seed=1), Question(np.array([1, 2], np.int32))
    (before,) = engine.answer([question])
    engine.swap(fresh)
    (after,) = engine.answer([question])
    engine.swap(recommender())
    assert (before.step, after.step) == (0, 1)
    (wanted,) = fresh.recommend([["i1", "i2"]], k=K)
    assert [ITEMS[item - 1] for item in after.items] == [scored.item for scored in wanted]


def test_a_checkpoint_that_does_not_fit_changes_nothing(engine):
    question = Question(np.ones(1, np.int32))
    (before,) = engine.answer([question])
    diverged = jax.tree.map(lambda x: np.full_like(x, np.nan), random_params(0))
    larger = jax.tree.map(lambda x: np.concatenate([x, x]), random_params(0))
    other = Vocabulary((*ITEMS[:-1], "another"))
    for changes, words in [
        ({"params": diverged}, "NaN"),
        ({"params": larger}, "other shapes"),
        ({"vocab": other}, "another catalogue"),
    ]:
        with pytest.raises(UserError, match=words):
            engine.swap(recommender(**changes))
        (after,) = engine.answer([question])
        assert after.items.tolist() == before.items.tolist()


def test_batches_keep_to_the_scores_that_memory_is_meant_for(monkeypatch):
    monkeypatch.setattr("bert4rec_jax.serving.engine.SCORES_AT_ONCE", 2 * N)
    assert Engine(without_attention(), k=K, batch_sizes=SIZES).most_at_once == 2
    monkeypatch.setattr("bert4rec_jax.serving.engine.SCORES_AT_ONCE", N - 1)
    with pytest.raises(UserError, match="30 items is too large"):
        Engine(recommender(), k=K, batch_sizes=SIZES)


def test_batches_are_taken_so_that_little_is_padded(engine):
    """The sizes are 1, 2 and 4: three are padded to four, and more wait for the next batch."""
    assert [engine.worth_taking(waiting) for waiting in (1, 2, 3, 4, 5, 9)] == [1, 2, 3, 4, 4, 4]
    engine = Engine(without_attention(), k=K, batch_sizes=(1, 4))
    assert [engine.worth_taking(waiting) for waiting in (1, 2, 3, 4)] == [1, 1, 3, 4]
