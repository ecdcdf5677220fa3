"""The vectorised evaluator: every protocol's ranks from one forward pass a user.

It works in two stages, each over batches of users of like cost: histories of like length become
queries [users, d], then queries of users who have seen like numbers of items become ranks.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax import mesh, shards
from bert4rec_jax.data.sequences import Cases, Sequences
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.inputs import SeenItems, input_widths, model_inputs
from bert4rec_jax.evaluation.negatives import SAMPLED_PROTOCOLS
from bert4rec_jax.evaluation.scorers import Scorer
from bert4rec_jax.vocab import PAD

FULL_PROTOCOLS = ("full", "full_with_history")
PROTOCOLS = SAMPLED_PROTOCOLS + FULL_PROTOCOLS

# Scores of the whole catalogue that exist at one time on a device: 128 MiB of float32.
SCORES_AT_ONCE = 2**25


class Ranker:
    """Ranks each case's true item among its candidates, and recommends unseen items.

    The rank is the number of other candidates that score at least as high as the true item.
    `full` leaves out the items the user had before (not the true item, should it be one of
    them); `full_with_history` leaves out nothing.

    Args:
        scorer: the model.
        sequences: the log; its catalogue is what is ranked.
        seen: `SeenItems(sequences)`, shared with whoever draws negatives.
        protocols: those of PROTOCOLS that are wanted.
        max_length: N, the length of the model's input.
        batch_size: users at a time; halved, when they are ranked, until their scores of the whole
            catalogue, where a protocol needs them, keep to SCORES_AT_ONCE.
        map_over_devices: compiles a pure function of (params, batch) whose batch and results are
            dicts of arrays [batch_size, ...]; a mesh may split those over its devices.
        sharing: how many devices share a batch's rows, and how many the catalogue.
    """

    def __init__(
        self,
        scorer: Scorer,
        sequences: Sequences,
        seen: SeenItems,
        *,
        protocols: tuple[str, ...],
        max_length: int,
        batch_size: int = 256,
        map_over_devices: Callable[[Callable], Callable] = jax.jit,
        sharing: tuple[int, int] = (1, 1),
    ):
        if unknown := set(protocols) - set(PROTOCOLS):
            raise UserError(f"unknown protocol {min(unknown)}; known are {', '.join(PROTOCOLS)}")
        self._scorer, self._sequences, self._seen = scorer, sequences, seen
        self._protocols, self._max_length = protocols, max_length
        sharing_rows, sharing_items = sharing
        rows = batch_size // sharing_rows
        while rows * len(sequences.vocab) > SCORES_AT_ONCE * sharing_items:
            rows //= 2
        if rows == 0:
            raise UserError(
                f"a catalogue of {len(sequences.vocab)} items is too large to rank on "
                f"{sharing_items} devices: raise mesh.model"
            )
        self._batch_size, self._scoring_batch_size = batch_size, rows * sharing_rows
        self._map_over_devices = map_over_devices
        self._encode = map_over_devices(
            lambda params, batch: {"query": scorer.encode(params, batch["items"], batch["length"])}
        )
        self._rank = map_over_devices(lambda params, batch: rank_batch(scorer, params, batch))
        self._top_k = {}

    def ranks(
        self, params: Any, cases: Cases, negatives: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Ranks under every protocol of this ranker.

        Args:
            params: the model's, as `scorer` takes them.
            negatives: sampled protocol -> int32 ids [cases, count]; others are not read.

        Returns:
            protocol -> int32 ranks [cases], 0 = best, in the order of `cases`.

        Raises:
            UserError: a score is NaN; names the user.
        """
        sequences, whole = self._sequences, set(self._protocols) & set(FULL_PROTOCOLS)
        sampled = {name: negatives[name] for name in self._protocols if name in SAMPLED_PROTOCOLS}
        targets = sequences.targets(cases)
        at_once = self._scoring_batch_size if whole or self._scorer.scores else self._batch_size
        asked, order = self._asked(params, cases), self._by_seen(cases)
        results = []
        for rows in _batches(order, at_once):
            batch = asked(rows) | {"target": targets[rows]}
            batch["negatives"] = {name: items[rows] for name, items in sampled.items()}
            if whole:
                batch["seen"] = self._seen.before(cases.users[rows], cases.ends[rows])
            results.append((rows, self._rank(params, batch)))
        columns = _gather(results, len(order))
        self._refuse_nan(columns["nan"], cases)
        return {name: columns[name] for name in self._protocols}

    def on(self, sequences: Sequences) -> "Ranker":
        """This ranker, with its compiled programs, for other histories of the same catalogue."""
        other = copy.copy(self)
        other._sequences, other._seen = sequences, SeenItems(sequences)
        return other

    def top_k(
        self, params: Any, cases: Cases, k: int, *, with_seen: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items that each user has not had before `ends`; there need be no true item.

        Args:
            with_seen: leave none out.

        Returns:
            items int32 [cases, k], best first, PAD where fewer than k are left, and their scores
            float32 [cases, k]. Equal scores are in the order of the ids: frequent items first.

        Raises:
            UserError: a score is NaN, and names the user; or the catalogue has fewer than k items.
        """
        if k > len(self._sequences.vocab):
            raise UserError(f"the {k} best of only {len(self._sequences.vocab)} items: lower k")
        if k not in self._top_k:
            self._top_k[k] = self._map_over_devices(
                lambda params, batch: top_k_batch(self._scorer, params, batch, k=k)
            )
        asked, order = self._asked(params, cases), self._by_seen(cases)
        results = []
        for rows in _batches(order, self._scoring_batch_size):
            batch = asked(rows)
            batch["seen"] = self._seen.before(cases.users[rows], cases.ends[rows])
            if with_seen:
                batch["seen"] = np.zeros_like(batch["seen"])
            results.append((rows, self._top_k[k](params, batch)))
        columns = _gather(results, len(order))
        self._refuse_nan(columns["nan"], cases)
        return columns["items"], columns["scores"]

    def _by_seen(self, cases: Cases) -> np.ndarray:
        """The cases in the order of how many items their users know."""
        return np.argsort(self._seen.counts[cases.users], kind="stable")

    def _asked(self, params: Any, cases: Cases) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """Rows of `cases` -> what a batch of them is scored from: "query", or "items" and "length"
        for a scorer without queries."""
        if self._scorer.scores:
            return functools.partial(self._inputs, cases, width=self._max_length)
        widths = input_widths(
            cases.ends, max_length=self._max_length, append_mask=self._scorer.append_mask
        )
        results = []
        for rows in _batches(np.argsort(widths, kind="stable"), self._batch_size):
            batch = self._inputs(cases, rows, width=widths[rows].max())
            results.append((rows, self._encode(params, batch)))
        query = _gather(results, len(widths))["query"]
        return lambda rows: {"query": query[rows]}

    def _inputs(self, cases: Cases, rows: np.ndarray, *, width: int) -> dict[str, np.ndarray]:
        items, length = model_inputs(
            self._sequences,
            cases.users[rows],
            cases.ends[rows],
            max_length=self._max_length,
            append_mask=self._scorer.append_mask,
            width=width,
        )
        return {"items": items, "length": length}

    def _refuse_nan(self, nan: np.ndarray, cases: Cases) -> None:
        if nan.any():
            user = self._sequences.users[cases.users[int(np.argmax(nan))]]
            raise UserError(
                f"user {user}: scores are NaN ({nan.sum()} of {nan.size} users); the "
                "training has diverged: train with a lower optimizer.learning_rate"
            )


def rank_batch(scorer: Scorer, params: Any, batch: dict) -> dict[str, jax.Array]:
    """Ranks a batch of users under all protocols that `batch` has the means for. Pure.

    Args:
        batch: query [B, d] (of a scorer with `scores` instead items [B, N] and length [B]),
            target [B], negatives {protocol: [B, count]} and, where the whole catalogue is ranked,
            seen [B, H]: distinct ids in any order, PAD ignored.

    Returns:
        int32 ranks [B] by protocol, and "nan", bool [B]: whether a score was NaN.
    """
    target = batch["target"][:, None]
    if "seen" in batch or scorer.scores:
        scores = catalogue_scores(scorer, params, batch)

        def score_here(rows):
            return jnp.take_along_axis(scores, rows, axis=1)

        size = scores.shape[1]
        nan = mesh.max_over_shards(jnp.isnan(scores).any(axis=1))
    else:
        table, bias = scorer.item_table(params)

        def score_here(rows):
            # No matrix product, which rounds equal items' scores unlike by where they stand.
            return jnp.sum(batch["query"][:, None, :] * table[rows], axis=-1) + bias[rows]

        size = len(table)
        nan = jnp.zeros(len(target), bool)

    def score(items):
        return shards.at_rows(score_here, items - 1, size)

    protocols = batch["negatives"]
    # The true items and all negatives at once, so that those of equal items are equal.
    scored = score(jnp.concatenate([target, *protocols.values()], axis=1))
    nan |= jnp.isnan(scored).any(axis=1)
    true, *sampled = jnp.split(
        scored, np.cumsum([1, *(x.shape[1] for x in protocols.values())])[:-1], axis=1
    )
    ranks = {}
    if "seen" in batch:
        others = mesh.sum_over_shards((scores >= true).sum(axis=1)) - 1
        seen = (batch["seen"] != PAD) & (batch["seen"] != target) & (score(batch["seen"]) >= true)
        ranks = {"full": others - seen.sum(axis=1), "full_with_history": others}
    for protocol, scores_of_negatives in zip(protocols, sampled, strict=True):
        ranks[protocol] = (scores_of_negatives >= true).sum(axis=1)
    return {name: rank.astype(jnp.int32) for name, rank in ranks.items()} | {"nan": nan}


def top_k_batch(scorer: Scorer, params: Any, batch: dict, *, k: int) -> dict[str, jax.Array]:
    """The k best unseen items of a batch of users. Pure.

    Args:
        batch: query [B, d] (or items, length) and seen [B, H] as for `rank_batch`.

    Returns:
        items int32 [B, k] and scores float32 [B, k], best first, and nan, bool [B].
    """
    scores = catalogue_scores(scorer, params, batch)
    nan = mesh.max_over_shards(jnp.isnan(scores).any(axis=1))
    rows = jnp.arange(len(scores))[:, None]
    column, here = shards.local_rows(batch["seen"] - 1, scores.shape[1])
    column = jnp.where(here & (batch["seen"] != PAD), column, scores.shape[1])
    unseen = scores.at[rows, column].set(-jnp.inf, mode="drop")
    best, index = shards.top_k(unseen, k)
    items = jnp.where(best == -jnp.inf, PAD, index + 1).astype(jnp.int32)
    return {"items": items, "scores": best, "nan": nan}


def catalogue_scores(scorer: Scorer, params: Any, batch: dict) -> jax.Array:
    """Scores float32 [B, n] of the catalogue, or of this device's shard of it: the one array of
    users x items.

    Args:
        batch: query [B, d] (or items and length) as for `rank_batch`.
    """
    if scorer.scores:
        return scorer.scores(params, batch["items"], batch["length"])
    table, bias = scorer.item_table(params)
    # "highest" because accelerators otherwise round float32 factors to 10 or 7 bits, which is
    # enough to exchange neighbours in a ranking.
    return jnp.matmul(batch["query"], table.T, precision="highest") + bias[None, :]


def _batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """`order` in pieces, always of `size`: the last one repeats the last row."""
    for start in range(0, len(order), size):
        yield order[np.minimum(np.arange(start, start + size), len(order) - 1)]


def _gather(
    results: list[tuple[np.ndarray, dict[str, jax.Array]]], cases: int
) -> dict[str, np.ndarray]:
    """All batches' results in one transfer: row i of each is case i's.

    Args:
        results: of each batch, the rows it held and what came out. Every case is in one.
    """
    rows, values = zip(*results, strict=True)
    values, columns = jax.device_get(values), {}
    for name in values[0]:
        column = np.concatenate([value[name] for value in values])
        columns[name] = np.empty((cases, *column.shape[1:]), column.dtype)
        columns[name][np.concatenate(rows)] = column
    return columns
