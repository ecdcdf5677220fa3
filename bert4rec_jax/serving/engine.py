"""The model as programs of a few fixed shapes, all compiled before the first request."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.ranking import SCORES_AT_ONCE, catalogue_scores
from bert4rec_jax.evaluation.scorers import Scorer
from bert4rec_jax.recommender import Recommender
from bert4rec_jax.vocab import PAD

# Histories that are answered at once. Close together, because a CPU pays for padding in full.
BATCH_SIZES = (1, 4, 16)


class Question(NamedTuple):
    """Attributes:
    history: int32 [any], ids of known items, oldest first.
    barred: bool [n], items that are not recommended; None: none.
    with_seen: recommend items of the history too.
    """

    history: np.ndarray
    barred: np.ndarray | None = None
    with_seen: bool = False


class Answer(NamedTuple):
    """Attributes:
    items: int32 [k], best first, PAD where none is left.
    scores: float32 [k].
    attention: float32 [m], of the answering position to each of the m newest items of the history,
        those that the model saw; None for a model without attention, or without a history.
    popular: whether these are the most popular items, for want of a history.
    step: the checkpoint that answered.
    """

    items: np.ndarray
    scores: np.ndarray
    attention: np.ndarray | None
    popular: bool
    step: int | None


class Engine:
    """Answers batches of questions with a recommender's model; compiles in `__init__` only.

    The programs are compiled ahead of time, and such a program refuses another shape instead of
    compiling anew. To be called from one thread at a time, `swap` from any.

    Attributes:
        vocab: the catalogue.
        most_at_once: the largest batch.
        explains: whether the model has attention to show.
        serving: the recommender that answers the next batch.
    """

    def __init__(
        self, recommender: Recommender, *, k: int, batch_sizes: Sequence[int] = BATCH_SIZES
    ):
        """
        Args:
            recommender: the model, for `swap` to replace the parameters of.
            k: items of every answer, 1..n.
            batch_sizes: ascending; those whose scores of the whole catalogue are too many to hold
                are left out.

        Raises:
            UserError: the catalogue is too large, or the model's scores are NaN.
        """
        self.vocab = recommender.vocab
        n, length = len(self.vocab), recommender.max_length
        self._sizes = [size for size in batch_sizes if size * n <= SCORES_AT_ONCE]
        if not self._sizes:
            raise UserError(f"a catalogue of {n} items is too large to rank")
        self.most_at_once = self._sizes[-1]
        # Most requests are short, and a program's cost grows with its width.
        self._widths = sorted({-(-length // 4), length})
        self._k, self._mask = k, recommender.scorer.append_mask
        self._most_seen = length - self._mask
        self._programs = {
            (size, width): _compile(recommender, size, width, k)
            for size in self._sizes
            for width in self._widths
        }
        self.swap(recommender)
        probe = self.answer([Question(np.ones(1, np.int32))])
        self.explains = probe[0].attention is not None

    @property
    def step(self) -> int | None:
        """The checkpoint that the next batch is answered from."""
        return self.serving.step

    def worth_taking(self, waiting: int) -> int:
        """How many of so many questions to answer next, so that little is padded.

        As many as the largest program takes that they fill, or all of them where they fill three
        quarters of the next one.
        """
        full = max(size for size in self._sizes if size <= waiting)
        larger = [size for size in self._sizes if size > waiting]
        return waiting if larger and 4 * waiting >= 3 * larger[0] else full

    def swap(self, recommender: Recommender) -> None:
        """Answer from these parameters from the next batch on.

        Raises:
            UserError: they do not fit the programs or the catalogue, or give NaN; nothing changes.
        """
        if recommender.vocab.digest != self.vocab.digest:
            raise UserError("the checkpoint is of another catalogue: start the server anew")
        batch = self._batch([Question(np.ones(1, np.int32))])
        try:
            result = self._programs[batch["items"].shape](recommender.params, batch)
        except TypeError as error:
            raise UserError("the checkpoint has other shapes: start the server anew") from error
        if jax.device_get(result["nan"]).any():
            raise UserError(
                f"checkpoint {recommender.step}: scores are NaN; the training has diverged: "
                "train with a lower optimizer.learning_rate"
            )
        self.serving = recommender  # one assignment: a batch has the old ones or the new

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """An answer to each of 1 .. most_at_once questions."""
        serving = self.serving
        asked = [question for question in questions if len(question.history)]
        results = iter(())
        if asked:
            batch = self._batch(asked)
            found = jax.device_get(self._programs[batch["items"].shape](serving.params, batch))
            results = iter(range(len(asked)))
        answers = []
        for question in questions:
            if not len(question.history):
                answers.append(self._popular(serving, question))
                continue
            row, attention = next(results), None
            if found["nan"][row]:
                raise FloatingPointError(f"checkpoint {serving.step}: scores are NaN")
            if found["attention"] is not None:
                seen = min(len(question.history), self._most_seen)
                attention = found["attention"][row, :seen]
            answers.append(
                Answer(found["items"][row], found["scores"][row], attention, False, serving.step)
            )
        return answers

    def _batch(self, questions: Sequence[Question]) -> dict[str, np.ndarray]:
        """The model's input, padded to the smallest program that holds it."""
        windows = [question.history[-self._most_seen :] for question in questions]
        longest = max(len(window) for window in windows) + self._mask
        width = next(width for width in self._widths if width >= longest)
        size = next(size for size in self._sizes if size >= len(questions))
        items, length = np.zeros((size, width), np.int32), np.ones(size, np.int32)
        barred = np.zeros((size, len(self.vocab)), bool)
        for row, (question, window) in enumerate(zip(questions, windows, strict=True)):
            items[row, : len(window)] = window
            if self._mask:
                items[row, len(window)] = self.vocab.mask_id
            length[row] = len(window) + self._mask
            if question.barred is not None:
                barred[row] = question.barred
            if not question.with_seen:
                barred[row, question.history - 1] = True
        return {"items": items, "length": length, "barred": barred}

    def _popular(self, serving: Recommender, question: Question) -> Answer:
        popular = serving.popular
        if question.barred is not None:
            popular = popular[~question.barred[popular - 1]]
        items = np.full(self._k, PAD, np.int32)
        items[: len(popular)] = popular[: self._k]
        scores = np.where(items == PAD, -np.inf, serving.counts[items]).astype(np.float32)
        return Answer(items, scores, None, True, serving.step)


def _compile(recommender: Recommender, size: int, width: int, k: int) -> Any:
    batch = {
        "items": jax.ShapeDtypeStruct((size, width), jnp.int32),
        "length": jax.ShapeDtypeStruct((size,), jnp.int32),
        "barred": jax.ShapeDtypeStruct((size, len(recommender.vocab)), jnp.bool_),
    }
    scorer = recommender.scorer
    function = jax.jit(lambda params, batch: answer_batch(scorer, params, batch, k=k))
    return function.lower(recommender.params, batch).compile()


def answer_batch(scorer: Scorer, params: Any, batch: dict, *, k: int) -> dict[str, Any]:
    """The k best items of each row that are not barred in it. Pure.

    Args:
        batch: items int32 [B, W], length int32 [B], barred bool [B, n].

    Returns:
        items int32 [B, k], best first, PAD where fewer are left; scores float32 [B, k]; attention
        float32 [B, W] or None; nan, bool [B]: whether a score was NaN.
    """
    attention = None
    asked = {"items": batch["items"], "length": batch["length"]}
    # Attention is a by-product of the forward pass: one program serves who asks for it and who
    # does not.
    if scorer.attend is not None:
        query, attention = scorer.attend(params, batch["items"], batch["length"])
        asked = {"query": query}
    elif scorer.scores is None:
        asked = {"query": scorer.encode(params, batch["items"], batch["length"])}
    scores = catalogue_scores(scorer, params, asked)
    nan = jnp.isnan(scores).any(axis=1)
    best, index = jax.lax.top_k(jnp.where(batch["barred"], -jnp.inf, scores), k)
    items = jnp.where(best == -jnp.inf, PAD, index + 1).astype(jnp.int32)
    return {"items": items, "scores": best, "attention": attention, "nan": nan}
