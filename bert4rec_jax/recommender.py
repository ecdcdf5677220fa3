"""A trained model in use: histories of raw item ids in, recommended items out."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax import fitting, loading, shards
from bert4rec_jax.data.sequences import Cases, Sequences
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.inputs import SeenItems
from bert4rec_jax.evaluation.ranking import Ranker
from bert4rec_jax.evaluation.scorers import Scorer, barring
from bert4rec_jax.vocab import PAD, Vocabulary

# Users that are ranked at a time: what bounds memory beside the histories themselves.
USERS_AT_ONCE = 16_384


class Scored(NamedTuple):
    """Attributes:
    item: raw id.
    score: a logit, or a cosine for similar items: higher is better, and not a probability.
    """

    item: str
    score: float


class Recommender:
    """Recommends from histories; made by `Recommender.load`, or by `Recommender.fit` from a frame.

        recommender = Recommender.load("runs/ml1m")
        recommender.recommend([["1193", "661", "914"]], k=10)
        recommender.similar_items("1193")

    Attributes:
        vocab: the items that it knows.
        scorer, params, max_length: the model, as `__init__` takes it.
        popular: int32 [n], all items, those with the most training rows first.
        counts: int [n + 1], training rows of each id.
        retired: bool [n], items that are never recommended.
        step: the checkpoint that `params` come from; None: not from one.
    """

    def __init__(
        self,
        scorer: Scorer,
        params: Any,
        vocab: Vocabulary,
        counts: np.ndarray,
        *,
        max_length: int,
        retired: np.ndarray | None = None,
        batch_size: int = 128,
        step: int | None = None,
        item_shards: int = 1,
        map_over_devices: Callable[[Callable], Callable] = jax.jit,
    ):
        """
        Args:
            scorer, params: the model.
            counts: int [n + 1], training rows of each id: whom nothing is known of is offered the
                items with the most.
            max_length: N, the length of the model's input.
            retired: bool [n], items that are in histories only, never recommended; None: none.
            batch_size: users at once.
            step: the checkpoint of the params.
            item_shards: devices that share the item table.
            map_over_devices: as for `Ranker`.
        """
        self.vocab, self.max_length, self.step = vocab, max_length, step
        self.scorer, self.params, self.counts = scorer, params, np.asarray(counts)
        self.popular = np.argsort(-self.counts[1:], kind="stable").astype(np.int32) + 1
        self.retired = np.zeros(len(vocab), bool) if retired is None else retired
        self._item_shards = item_shards
        nobody = as_sequences([], vocab)
        self._ranker = Ranker(
            barring(scorer),
            nobody,
            SeenItems(nobody),
            protocols=(),
            max_length=max_length,
            batch_size=batch_size,
            map_over_devices=map_over_devices,
            sharing=(1, item_shards),
        )

    @classmethod
    def load(cls, workdir: str | pathlib.Path, *, item_shards: int = 1) -> "Recommender":
        """The best checkpoint of a run; the log that it was trained on is not needed.

        Args:
            item_shards: devices that share the item table, whatever number trained it.

        Raises:
            UserError: `workdir` holds no finished validation of a model that is trained.
        """
        return cls.of(loading.load(workdir, item_shards=item_shards))

    @classmethod
    def of(cls, trained: loading.Trained) -> "Recommender":
        shared = ("max_length", "retired", "step", "item_shards", "map_over_devices")
        options = {name: getattr(trained, name) for name in shared}
        return cls(trained.scorer, trained.params, trained.vocab, trained.counts, **options)

    @classmethod
    def fit(
        cls,
        frame: Any,
        *,
        user: str = "user",
        item: str = "item",
        time: str | None = "time",
        workdir: str | pathlib.Path,
        seed: int = 0,
        **settings: Mapping[str, Any],
    ) -> "Recommender":
        """Trains on a frame of interactions, a row each, and returns the best of it.

            Recommender.fit(frame, user="uid", item="movie", time="ts", workdir="runs/mine",
                            model={"hidden": 64}, train={"steps": 3000})

        The work directory is a run's as the command makes it, with the frame beside it as
        log.parquet: `--mode=evaluate` and the others work on it, and the same call goes on from
        where it was stopped.

        Args:
            frame: of polars, eager or lazy, or of pandas, or whatever else Polars takes.
            user, item, time: its columns; ids of any type, times as numbers, dates or datetimes.
                time None: the rows are in the order of time.
            workdir: made where it is missing.
            settings: sections of configs/default.py, over those of configs/custom.py.

        Raises:
            UserError: a column, a setting or a row is wrong, or the folder has another run; or the
                training was asked to stop (SIGTERM, Ctrl-C) before its end.
        """
        columns = {"user": user, "item": item, "time": time}
        fitting.fit(frame, columns, pathlib.Path(workdir), {"seed": seed, **settings})
        return cls.load(workdir)

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        with_seen: bool = False,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
    ) -> list[list[Scored]]:
        """The k best items for each history, best first; fewer where fewer are left.

        A history without a single known item gets the most popular ones, scored by their rows.

        Args:
            histories: raw item ids, oldest first; those that the model does not know are skipped.
            with_seen: recommend items of the history too.
            allow: recommend these items only; None: all.
            deny: never recommend these.

        Raises:
            UserError: k is not in 1..n, or a history is a string.
        """
        whole = isinstance(histories, str)
        if whole or any(isinstance(x, str) or not isinstance(x, Iterable) for x in histories):
            raise UserError("a history is a list of item ids: one is a list with one list in it")
        encoded = [self.vocab.encode(history) for history in histories]
        sequences = as_sequences([ids[ids != PAD] for ids in encoded], self.vocab)
        items, scores, _ = self.recommend_encoded(
            sequences, k, with_seen=with_seen, barred=self.barred(allow, deny)
        )
        return [
            [
                Scored(self.vocab.items[item - 1], float(score))
                for item, score in zip(*row, strict=True)
                if item != PAD
            ]
            for row in zip(items, scores, strict=True)
        ]

    def recommend_encoded(
        self,
        sequences: Sequences,
        k: int,
        *,
        with_seen: bool = False,
        barred: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same for histories that are encoded already.

        Args:
            sequences: of this recommender's vocabulary; a history may be empty.
            barred: bool [n], items that are never recommended; None: none.

        Returns:
            items int32 [users, k], best first, PAD where none is left; scores float32 [users, k];
            and popular, bool [users]: whose history was empty.
        """
        parts = [part for _, *part in self.parts(sequences, k, with_seen=with_seen, barred=barred)]
        if not parts:
            return np.zeros((0, k), np.int32), np.zeros((0, k), np.float32), np.zeros(0, bool)
        items, scores, popular = map(np.concatenate, zip(*parts, strict=True))
        return items, scores, popular

    def parts(
        self,
        sequences: Sequences,
        k: int,
        *,
        with_seen: bool = False,
        barred: np.ndarray | None = None,
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """`recommend_encoded` of USERS_AT_ONCE users at a time, in bounded memory.

        Yields:
            which users, and their items, scores and popular.
        """
        n, users = len(self.vocab), len(sequences.offsets) - 1
        if not 1 <= k <= n:
            raise UserError(f"top_k {k} must be in 1 .. {n}, the number of items")
        barred = self.retired if barred is None else barred | self.retired
        minus = np.pad(np.where(barred, -np.inf, 0.0), (0, -n % self._item_shards))
        params = {"model": self.params, "barred": jnp.asarray(minus, jnp.float32)}
        popular = self.popular[~barred[self.popular - 1]][:k]
        for start in range(0, users, USERS_AT_ONCE):
            part = _users(sequences, start, min(start + USERS_AT_ONCE, users))
            lengths = np.diff(part.offsets)
            items = np.zeros((len(lengths), k), np.int32)
            scores = np.full((len(lengths), k), -np.inf, np.float32)
            known = np.flatnonzero(lengths).astype(np.int32)
            if len(known):
                items[known], scores[known] = self._ranker.on(part).top_k(
                    params, Cases(known, lengths[known]), k, with_seen=with_seen
                )
            empty = np.flatnonzero(lengths == 0)
            items[empty, : len(popular)] = popular
            scores[empty, : len(popular)] = self.counts[popular]
            yield slice(start, start + len(lengths)), items, scores, lengths == 0

    def similar_items(self, item: str, k: int = 10) -> list[Scored]:
        """The k items whose embeddings have the greatest cosine with that of `item`.

        Raises:
            UserError: the item is not in the catalogue, the model has no embeddings, or k < 1.
        """
        if k < 1:
            raise UserError(f"k {k} must be positive")
        (index,) = self.vocab.encode([item])
        if index == PAD:
            raise UserError(f"item {item!r} is not in the catalogue of {len(self.vocab)} items")
        if self.scorer.item_table is None:
            raise UserError("this model has no item embeddings to compare")
        params = self.params
        if self._item_shards > 1:
            params = shards.cut_rows(params, len(self.vocab))
        table = np.asarray(self.scorer.item_table(params)[0], np.float32)
        table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        cosines = table @ table[index - 1]
        others = [i for i in np.argsort(-cosines, kind="stable").tolist() if i != index - 1]
        best = [i for i in others if not self.retired[i]][:k]
        return [Scored(self.vocab.items[i], float(cosines[i])) for i in best]

    def barred(self, allow: Iterable[str] | None, deny: Iterable[str]) -> np.ndarray:
        """bool [n]: what an allow list (None: all) and a deny list leave out, and the retired."""
        if isinstance(allow, str) or isinstance(deny, str):
            raise UserError("allow and deny are lists of items, not one string")
        left_out = np.full(len(self.vocab) + 1, allow is not None)
        if allow is not None:
            left_out[self.vocab.encode(allow)] = False
        left_out[self.vocab.encode(deny)] = True
        return left_out[1:] | self.retired


def _users(sequences: Sequences, start: int, stop: int) -> Sequences:
    """The users start .. stop - 1 alone."""
    offsets = sequences.offsets[start : stop + 1]
    return dataclasses.replace(
        sequences,
        items=sequences.items[offsets[0] : offsets[-1]],
        offsets=offsets - offsets[0],
        users=sequences.users[start:stop],
    )


def as_sequences(histories: Sequence[np.ndarray], vocab: Vocabulary) -> Sequences:
    """Histories of ids, oldest first, as a log of users without names of their own."""
    lengths = [len(history) for history in histories]
    return Sequences(
        name="histories",
        items=np.concatenate([*histories, np.zeros(0, np.int32)]).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        users=tuple(str(i) for i in range(len(histories))),
        vocab=vocab,
    )
