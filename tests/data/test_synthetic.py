"""The generated log follows the distribution that it states, and its ceiling is what it says."""

import numpy as np
import pytest

from bert4rec_jax.data.sequences import Cases, leave_one_out
from bert4rec_jax.data.synthetic import generate

TINY = {"users": 200, "genres": 3, "episodes": 6, "liked": 2, "min_length": 4, "max_length": 7}


@pytest.fixture(scope="module")
def default():
    return generate(seed=0)


def parsed(raw: str) -> tuple[int, int]:
    genre, episode = raw.removeprefix("genre").split("-episode")
    return int(genre), int(episode)


def by_hand(oracle, user: int, end: int, pace=0.3, noise=0.1) -> dict[str, float]:
    """P(next | history, taste) of the module's docstring, spelled out for one user of TINY."""
    history = oracle.sequences.vocab.decode(oracle.sequences.history(user)[:end])
    _, last = parsed(history[-1])
    liked = [genre for genre in range(3) if oracle.taste[user, genre] > 0]
    chances = {}
    for raw in oracle.sequences.vocab.items:
        genre, episode = parsed(raw)
        forward = episode - last if episode >= last else episode - last + 6
        fits = (0.5 if genre in liked else 0.0) * (1 - noise) + noise / 3
        chances[raw] = 0.0 if raw in history else fits * pace**forward
    total = sum(chances.values())
    return {raw: chance / total for raw, chance in chances.items()}


def test_the_oracle_equals_the_formula_worked_out_item_by_item():
    sequences, oracle = generate(seed=1, **TINY)
    assert len(sequences.vocab) == 18  # every item was drawn, so nothing is missing by hand
    cases = leave_one_out(sequences).test
    probabilities = oracle.next_probabilities(cases)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    best = []
    for row, (user, end) in enumerate(zip(cases.users, cases.ends, strict=True)):
        expected = by_hand(oracle, user, end)
        np.testing.assert_allclose(probabilities[row], list(expected.values()))
        best.append(sum(sorted(expected.values(), reverse=True)[:3]))
    assert oracle.best_hit_ratio(cases, k=3) == pytest.approx(np.mean(best))


def test_everything_is_a_hit_once_k_covers_the_catalogue():
    sequences, oracle = generate(seed=1, **TINY)
    cases = leave_one_out(sequences).valid
    assert oracle.best_hit_ratio(cases, k=18) == pytest.approx(1)
    assert oracle.best_hit_ratio(cases, k=1) < oracle.best_hit_ratio(cases, k=3) < 1


def test_drawn_items_are_as_frequent_as_the_oracle_says(default):
    """Over all positions of all users: the drawn items' ranks under the true distribution."""
    sequences, oracle = default
    for end in (1, 5, 12, 19):
        users = np.arange(len(sequences.users), dtype=np.int32)
        cases = Cases(users, np.full(len(users), end))
        probabilities = oracle.next_probabilities(cases)
        drawn = sequences.items[sequences.offsets[:-1] + end] - 1
        for k in (1, 4, 10):
            # Ties are broken at random, as the sum over the k largest takes it for granted.
            noise = np.random.default_rng(k).random(probabilities.shape) * 1e-9
            top = np.argsort(-(probabilities + noise), axis=1)[:, :k]
            hits = (top == drawn[:, None]).any(axis=1).mean()
            expected = oracle.best_hit_ratio(cases, k)
            error = np.sqrt(expected * (1 - expected) / len(users))
            assert abs(hits - expected) < 4 * error, (end, k)


def test_nobody_has_an_item_twice_and_lengths_are_as_asked(default):
    sequences, _ = default
    assert len(sequences.users) == 3000
    assert len(sequences.vocab) == 300
    assert sequences.lengths.min() == 20
    assert sequences.lengths.max() == 40
    assert all(len(np.unique(sequences.history(u))) == sequences.lengths[u] for u in range(3000))


def test_users_get_what_they_like(default):
    sequences, oracle = default
    genres = np.array([parsed(raw)[0] for raw in sequences.vocab.items])
    user = np.repeat(np.arange(3000), sequences.lengths)
    liked = oracle.taste[user, genres[sequences.items - 1]] > 0
    assert 0.8 < liked.mean() < 0.95
    assert (np.count_nonzero(oracle.taste, axis=1) == 3).all()
    # Taste can be read off a history: its three most frequent genres, for nearly everybody.
    counts = np.zeros((3000, 10))
    np.add.at(counts, (user, genres[sequences.items - 1]), 1)
    guess = np.argsort(-counts, axis=1)[:, :3]
    assert np.take_along_axis(oracle.taste > 0, guess, axis=1).all(axis=1).mean() > 0.95


def hit_ratio(sequences, cases, scores, k=10) -> float:
    """HR@k, the user's earlier items excluded; ties count against the target."""
    hits = 0
    for row, user, end in zip(scores, cases.users, cases.ends, strict=True):
        history, target = sequences.history(user)[:end] - 1, sequences.history(user)[end] - 1
        row = np.array(row)
        row[history] = -np.inf
        hits += np.count_nonzero(row >= row[target]) <= k
    return hits / len(cases.users)


def test_popularity_does_poorly_and_a_markov_chain_clearly_worse_than_the_ceiling(default):
    sequences, oracle = default
    split = leave_one_out(sequences)
    cases, n = split.test, len(sequences.vocab)
    popularity = np.zeros(n)
    transitions = np.zeros((n, n))
    for user, end in enumerate(split.train_ends):
        history = sequences.history(user)[:end] - 1
        popularity[history] += 1
        np.add.at(transitions, (history[:-1], history[1:]), 1)
    last = sequences.items[sequences.offsets[cases.users] + cases.ends - 1] - 1
    ceiling = oracle.best_hit_ratio(cases)
    markov = transitions[last] + 1e-6 * popularity
    assert ceiling > 0.8
    assert hit_ratio(sequences, cases, np.broadcast_to(popularity, (len(last), n))) < 0.1
    assert 0.3 < hit_ratio(sequences, cases, markov) < 0.75 * ceiling


def test_a_seed_gives_one_log_and_another_seed_another():
    first, again, other = (generate(seed=seed, **TINY)[0] for seed in (5, 5, 6))
    assert first.vocab == again.vocab
    np.testing.assert_array_equal(first.items, again.items)
    assert first.vocab != other.vocab or not np.array_equal(first.items, other.items)
