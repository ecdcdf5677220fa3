"""A generated log whose next item depends on taste and on the last item, with a known best score.

Think of G genres of P episodes each: the item (g, p) is episode p of genre g, and n = G P.
A user's taste is a set T of genres, drawn uniformly. The first item is uniform over the genres of
T. After an item of episode p, the item (g', p') has the weight

    q(g', p' | T, p) = ((1 - noise) [g' in T] / |T| + noise / G) * pace^((p' - p) mod P)

and the next item is drawn in proportion to it from those that the user has not had:

    P(j | history, T) = q(j | T, p) [j unseen] / sum of q over the unseen.

So the last item says which episodes come next, the whole history says of which genres, and neither
does well alone: a popularity ranker sees a nearly flat catalogue, and a first-order Markov chain
knows one genre of T only. The walk is slow, so that a bag of the recent items already says where it
is, roughly: a model learns that much first, and it is what gets its training going.

No item repeats for a user, so what the `full` protocol leaves out of the ranking is exactly what
cannot come. Hence the best ranking of all puts the k largest P first, and its expected HR@k is the
mean over the cases of the sum of these k. That ranker is told T; a model must infer T from
the history, so it comes near from below. With the defaults HR@10 is 0.88 for this ceiling, 0.60
for a Markov chain, 0.04 for popularity. (A run's own hits scatter around the expectation: by
0.006, one standard error, for 3000 users.)
"""

import dataclasses

import numpy as np
import polars as pl

from bert4rec_jax.data.sequences import Cases, Sequences, build


@dataclasses.dataclass(frozen=True, eq=False)
class Oracle:
    """The process that a log was drawn from, told what models must infer.

    Attributes:
        sequences: the log.
        taste: float64 [users, G], [g in T] / |T| for each user.
        places: int64 [n], of id i + 1 in the catalogue of the process: place g P + p is (g, p).
        episodes: P.
        pace, noise: as in the module's docstring.
    """

    sequences: Sequences
    taste: np.ndarray
    places: np.ndarray
    episodes: int
    pace: float
    noise: float

    def next_probabilities(self, cases: Cases) -> np.ndarray:
        """The true distribution of each target: float64 [cases, n], column i for id i + 1."""
        seen = np.zeros((len(cases.users), self.taste.shape[1] * self.episodes), bool)
        last = np.empty(len(cases.users), np.int64)
        for row, (user, end) in enumerate(zip(cases.users, cases.ends, strict=True)):
            history = self.places[self.sequences.history(user)[:end] - 1]
            seen[row, history] = True
            last[row] = history[-1]
        chances = _next_chances(
            self.taste[cases.users], last, seen, pace=self.pace, noise=self.noise
        )
        return chances[:, self.places]

    def best_hit_ratio(self, cases: Cases, k: int = 10) -> float:
        """The expected HR@k, protocol `full`, of the best ranking there is."""
        likeliest = np.sort(self.next_probabilities(cases), axis=1)[:, -k:]
        return float(likeliest.sum(axis=1).mean())


def generate(
    *,
    seed: int,
    users: int = 3000,
    genres: int = 10,
    episodes: int = 30,
    liked: int = 3,
    min_length: int = 20,
    max_length: int = 40,
    pace: float = 0.3,
    noise: float = 0.1,
) -> tuple[Sequences, Oracle]:
    """Draws a log from a catalogue of `genres * episodes` items.

    Args:
        seed: equal arguments give equal logs.
        users: how many.
        genres, episodes: G and P.
        liked: |T|, the number of genres that a user likes.
        min_length, max_length: of a history, drawn uniformly, both included.
        pace: in (0, 1), how far forward; small stays near.
        noise: in (0, 1], the share of items of any genre; above 0 something can always come.
    """
    rng = np.random.default_rng(seed)
    taste = (np.argsort(rng.random((users, genres)), axis=1) < liked) / liked
    lengths = rng.integers(min_length, max_length + 1, users)

    everyone = np.arange(users)
    drawn = np.empty((users, max_length), np.int64)
    seen = np.zeros((users, genres * episodes), bool)
    chances = np.repeat(taste / episodes, episodes, axis=1)
    for t in range(max_length):
        drawn[:, t] = _draw(chances, rng)
        seen[everyone, drawn[:, t]] = True
        chances = _next_chances(taste, drawn[:, t], seen, pace=pace, noise=noise)

    user, time = np.nonzero(np.arange(max_length) < lengths[:, None])
    names = np.array([f"genre{g}-episode{p}" for g in range(genres) for p in range(episodes)])
    log = {"user": user.astype(str), "item": names[drawn[user, time]], "time": time}
    sequences = build(pl.DataFrame(log), name="synthetic")
    place_of = {name: place for place, name in enumerate(names)}
    places = np.array([place_of[name] for name in sequences.vocab.items])
    return sequences, Oracle(sequences, taste, places, episodes, pace, noise)


def _next_chances(
    taste: np.ndarray, last: np.ndarray, seen: np.ndarray, *, pace: float, noise: float
) -> np.ndarray:
    """P of the module's docstring, float64 [B, catalogue].

    `taste` float64 [B, G], `last` int64 [B] places, `seen` bool [B, catalogue].
    """
    genres, catalogue = taste.shape[1], seen.shape[1]
    episodes = catalogue // genres
    genre, episode = np.divmod(np.arange(catalogue), episodes)
    forward = (episode - last[:, None]) % episodes  # a place and its episode are equal modulo P
    fits = (1 - noise) * taste + noise / genres  # [B, G]
    weights = fits[:, genre] * (pace ** np.arange(episodes))[forward]
    weights[seen] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def _draw(chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One place from each row's distribution [B, catalogue]: int64 [B]."""
    # 1 - random() is in (0, 1]: at 0 exactly an impossible first place would be taken.
    total = np.cumsum(chances, axis=1)
    level = (1 - rng.random((len(chances), 1))) * total[:, -1:]
    return np.argmax(total >= level, axis=1)
