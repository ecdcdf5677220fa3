"""All protocols on the validation and test cases of one split, from one set of parameters."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from bert4rec_jax.data.sequences import Cases, Sequences, Split, train_counts
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import breakdown
from bert4rec_jax.evaluation.bootstrap import metric_intervals
from bert4rec_jax.evaluation.inputs import SeenItems
from bert4rec_jax.evaluation.negatives import (
    COUNT,
    SAMPLED_PROTOCOLS,
    draw_negatives,
    read_negatives,
    write_negatives,
)
from bert4rec_jax.evaluation.ranking import Ranker
from bert4rec_jax.evaluation.scorers import Scorer
from bert4rec_jax.metrics import catalogue_coverage, mean_popularity, metrics_from_ranks
from bert4rec_jax.vocab import PAD


class Judge:
    """Args:
    scorer, log, split: the model and what it is judged on.
    max_length: N.
    protocols: the first one is broken down by history length and item popularity if "full" is
        not among them.
    ks: cut-offs of HR and NDCG.
    negatives: a file of negatives to rank against, written first where it is missing; empty: draw
        them from `seed` and keep no file.
    batch_size: users at once.
    map_over_devices, sharing: as for `Ranker`.
    """

    def __init__(
        self,
        scorer: Scorer,
        log: Sequences,
        split: Split,
        *,
        max_length: int,
        seed: int,
        protocols: tuple[str, ...],
        ks: tuple[int, ...],
        negatives: str,
        batch_size: int,
        map_over_devices: Callable[[Callable], Callable],
        sharing: tuple[int, int] = (1, 1),
    ):
        self._log, self._split, self._seed = log, split, seed
        self._protocols, self._ks, self._negatives_path = tuple(protocols), tuple(ks), negatives
        self._sampled = [p for p in self._protocols if p in SAMPLED_PROTOCOLS]
        self._seen = SeenItems(log)
        self._negatives: dict[str, dict[str, np.ndarray]] = {}
        # What is wrong with the log or the file is said before training, not at its first
        # validation.
        if self._sampled:
            self._refuse_who_has_seen_too_much()
        if self._sampled and negatives:
            self._negatives = {split: self._make_negatives(split) for split in ("valid", "test")}
        self._ranker = Ranker(
            scorer,
            log,
            self._seen,
            protocols=self._protocols,
            max_length=max_length,
            batch_size=batch_size,
            map_over_devices=map_over_devices,
            sharing=sharing,
        )

    def validate(self, params: Any) -> dict[str, float]:
        """Validation metrics by "PROTOCOL/METRIC"."""
        return {
            f"{protocol}/{metric}": value
            for protocol, metrics in self._metrics(self._ranks(params, "valid")).items()
            for metric, value in metrics.items()
        }

    def report(self, params: Any) -> tuple[dict[str, Any], dict]:
        """The parts of results.json that come from ranks, and the ranks for `write_ranks`.

        The parts: "valid", "test", "valid_interval", "test_interval", "breakdown" (of one protocol)
        and "recommendations" (of the ten best unseen items a test user).
        """
        valid, test = self._ranks(params, "valid"), self._ranks(params, "test")
        main = "full" if "full" in test else self._protocols[0]
        cases, train = self._split.test, train_counts(self._log, self._split.train_ends)
        targets = self._log.targets(cases)
        top, _ = self._ranker.top_k(params, cases, k=min(10, len(self._log.vocab)))
        parts = {
            "valid": self._metrics(valid),
            "test": self._metrics(test),
            "valid_interval": self._intervals(valid),
            "test_interval": self._intervals(test),
            "breakdown": {
                "protocol": main,
                "history_length": breakdown.by_history_length(test[main], cases.ends, ks=self._ks),
                "item_popularity": breakdown.by_item_popularity(
                    test[main], targets, train, ks=self._ks
                ),
            },
            "recommendations": {"coverage@10": catalogue_coverage(top, len(self._log.vocab))},
        }
        if (top != PAD).any():  # else everybody has seen everything
            parts["recommendations"]["mean_popularity@10"] = mean_popularity(top, train)
        ranks = {("valid", p): (self._split.valid.users, r) for p, r in valid.items()}
        ranks |= {("test", p): (self._split.test.users, r) for p, r in test.items()}
        return parts, ranks

    def _metrics(self, ranks: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
        return {protocol: metrics_from_ranks(r, self._ks) for protocol, r in ranks.items()}

    def _intervals(self, ranks: dict[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
        return {
            protocol: metric_intervals(r, ks=self._ks, seed=self._seed)
            for protocol, r in ranks.items()
        }

    def _ranks(self, params: Any, split: str) -> dict[str, np.ndarray]:
        cases: Cases = getattr(self._split, split)
        if split not in self._negatives:
            self._negatives[split] = self._draw(cases)
        return self._ranker.ranks(params, cases, self._negatives[split])

    def _make_negatives(self, split: str) -> dict[str, np.ndarray]:
        """From the file, which is written first where it is missing."""
        path, cases = self._negatives_path, getattr(self._split, split)
        if not os.path.exists(path):
            drawn = {
                (name, protocol): (of, negatives)
                for name, of in (("valid", self._split.valid), ("test", self._split.test))
                for protocol, negatives in self._draw(of).items()
            }
            write_negatives(path, self._log, drawn)
        return {
            p: read_negatives(path, self._log, self._seen, cases, split=split, protocol=p)
            for p in self._sampled
        }

    def _refuse_who_has_seen_too_much(self) -> None:
        left = len(self._log.vocab) - self._seen.counts
        for cases in (self._split.valid, self._split.test):
            least = cases.users[np.argmin(left[cases.users])]
            if left[least] < COUNT:
                raise UserError(
                    f"user {self._log.users[least]} has not seen {left[least]} of "
                    f"{len(self._log.vocab)} items, and {self._sampled[0]} draws {COUNT}: set "
                    "eval.protocols to ('full',)"
                )

    def _draw(self, cases: Cases) -> dict[str, np.ndarray]:
        return {
            p: draw_negatives(self._log, self._seen, cases, protocol=p, seed=self._seed)
            for p in self._sampled
        }
