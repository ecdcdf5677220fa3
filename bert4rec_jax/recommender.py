"""A trained model in use: histories of raw item ids in, recommended items out."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax import mesh, models
from bert4rec_jax.data.catalogue import read_catalogue
from bert4rec_jax.data.sequences import Cases, Sequences
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.inputs import SeenItems
from bert4rec_jax.evaluation.ranking import Ranker
from bert4rec_jax.evaluation.scorers import Scorer, encoder_scorer, popularity_scorer
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.state import init_params
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
    """Recommends from histories; made by `Recommender.load`.

        recommender = Recommender.load("runs/ml1m")
        recommender.recommend([["1193", "661", "914"]], k=10)
        recommender.similar_items("1193")

    Attributes:
        vocab: the items that it knows.
        scorer, params, max_length: the model, as `__init__` takes it.
        popular: int32 [n], all items, those with the most training rows first.
        counts: int [n + 1], training rows of each id.
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
        batch_size: int = 128,
        step: int | None = None,
    ):
        """
        Args:
            scorer, params: the model.
            counts: int [n + 1], training rows of each id: whom nothing is known of is offered the
                items with the most.
            max_length: N, the length of the model's input.
            batch_size: users at once.
            step: the checkpoint of the params.
        """
        self.vocab, self.max_length, self.step = vocab, max_length, step
        self.scorer, self.params, self.counts = scorer, params, np.asarray(counts)
        self.popular = np.argsort(-self.counts[1:], kind="stable").astype(np.int32) + 1
        nobody = _as_sequences([], vocab)
        self._ranker = Ranker(
            _with_barred(scorer),
            nobody,
            SeenItems(nobody),
            protocols=(),
            max_length=max_length,
            batch_size=batch_size,
        )

    @classmethod
    def load(cls, workdir: str | pathlib.Path, *, batch_size: int = 128) -> "Recommender":
        """The best checkpoint of a run; the log that it was trained on is not needed.

        Raises:
            UserError: `workdir` holds no finished validation of a model that is trained.
        """
        workdir = pathlib.Path(workdir)
        try:
            config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
            name, metric = config["model"]["name"], config["train"]["select_by"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{workdir / 'config.json'}: not a run's config") from error
        vocab, counts = read_catalogue(workdir / "items.parquet")
        max_length, step = config["model"]["max_length"], None
        if name == "popularity":
            scorer, params = popularity_scorer(counts)
        elif name not in models.NEURAL:
            raise UserError(f"{workdir}: {name} keeps no parameters to recommend from")
        else:
            kind = models.NEURAL[name]
            model = models.build(config["model"], items=len(vocab))
            scorer = encoder_scorer(model, append_mask=kind.cloze)
            max_length = models.input_length(kind, max_length)
            shapes = jax.eval_shape(functools.partial(init_params, model=model), jax.random.key(0))
            checkpoints = Checkpoints(workdir / "checkpoints", metric=metric, read_only=True)
            step = checkpoints.best_step()
            saved = checkpoints.read_meta(step)["vocabulary"]
            if saved != vocab.digest:
                raise UserError(
                    f"{workdir}: items.parquet (digest {vocab.digest[:12]}) is not the catalogue "
                    f"that was trained on ({saved[:12]})"
                )
            like = mesh.with_replicated_sharding(shapes, mesh.make_mesh(1))
            params = checkpoints.restore_params(step, like)
            checkpoints.close()
        return cls(
            scorer,
            params,
            vocab,
            counts,
            max_length=max_length,
            batch_size=batch_size,
            step=step,
        )

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
            UserError: k is not in 1..n.
        """
        encoded = [self.vocab.encode(history) for history in histories]
        sequences = _as_sequences([ids[ids != PAD] for ids in encoded], self.vocab)
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
        progress: Callable[[int], None] = lambda done: None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same for histories that are encoded already, in bounded memory.

        Args:
            sequences: of this recommender's vocabulary; a history may be empty.
            barred: bool [n], items that are never recommended; None: none.
            progress: called with the number of users done.

        Returns:
            items int32 [users, k], best first, PAD where none is left; scores float32 [users, k];
            and popular, bool [users]: whose history was empty.
        """
        n, users = len(self.vocab), len(sequences.offsets) - 1
        if not 1 <= k <= n:
            raise UserError(f"top_k {k} must be in 1 .. {n}, the number of items")
        barred = np.zeros(n, bool) if barred is None else barred
        params = {
            "model": self.params,
            "barred": jnp.where(jnp.asarray(barred), -jnp.inf, 0.0).astype(jnp.float32),
        }
        lengths = np.diff(sequences.offsets)
        items = np.zeros((users, k), np.int32)
        scores = np.full((users, k), -np.inf, np.float32)
        popular = self.popular[~barred[self.popular - 1]][:k]
        for start in range(0, users, USERS_AT_ONCE):
            stop = min(start + USERS_AT_ONCE, users)
            known = np.flatnonzero(lengths[start:stop]).astype(np.int32)
            if len(known):
                ranker = self._ranker.on(_users(sequences, start, stop))
                cases = Cases(known, lengths[start:stop][known])
                items[start + known], scores[start + known] = ranker.top_k(
                    params, cases, k, with_seen=with_seen
                )
            empty = start + np.flatnonzero(lengths[start:stop] == 0)
            items[empty, : len(popular)] = popular
            scores[empty, : len(popular)] = self.counts[popular]
            progress(stop)
        return items, scores, lengths == 0

    def similar_items(self, item: str, k: int = 10) -> list[Scored]:
        """The k items whose embeddings have the greatest cosine with that of `item`.

        Raises:
            UserError: the item is not in the catalogue, or the model has no embeddings.
        """
        (index,) = self.vocab.encode([item])
        if index == PAD:
            raise UserError(f"item {item!r} is not in the catalogue of {len(self.vocab)} items")
        if self.scorer.item_table is None:
            raise UserError("this model has no item embeddings to compare")
        table = np.asarray(self.scorer.item_table(self.params)[0], np.float32)
        table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        cosines = table @ table[index - 1]
        order = [int(i) for i in np.argsort(-cosines, kind="stable") if i != index - 1][:k]
        return [Scored(self.vocab.items[i], float(cosines[i])) for i in order]

    def barred(self, allow: Iterable[str] | None, deny: Iterable[str]) -> np.ndarray:
        """bool [n]: the items that an allow list (None: all) and a deny list leave out."""
        left_out = np.full(len(self.vocab) + 1, allow is not None)
        if allow is not None:
            left_out[self.vocab.encode(allow)] = False
        left_out[self.vocab.encode(deny)] = True
        return left_out[1:]


def _with_barred(scorer: Scorer) -> Scorer:
    """`scorer`, of params {"model", "barred"}: "barred", float32 [n], is added to all scores.

    As a parameter, not as a constant, so that other lists need no other program.
    """

    def item_table(params):
        table, bias = scorer.item_table(params["model"])
        return table, bias + params["barred"]

    def scores(params, items, length):
        return scorer.scores(params["model"], items, length) + params["barred"][None, :]

    if scorer.scores:
        return scorer._replace(scores=scores)
    return scorer._replace(
        encode=lambda params, items, length: scorer.encode(params["model"], items, length),
        item_table=item_table,
    )


def _users(sequences: Sequences, start: int, stop: int) -> Sequences:
    """The users start .. stop - 1 alone."""
    offsets = sequences.offsets[start : stop + 1]
    return dataclasses.replace(
        sequences,
        items=sequences.items[offsets[0] : offsets[-1]],
        offsets=offsets - offsets[0],
        users=sequences.users[start:stop],
    )


def _as_sequences(histories: Sequence[np.ndarray], vocab: Vocabulary) -> Sequences:
    lengths = [len(history) for history in histories]
    return Sequences(
        name="histories",
        items=np.concatenate([*histories, np.zeros(0, np.int32)]).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        users=tuple(str(i) for i in range(len(histories))),
        vocab=vocab,
    )
