"""All protocols on the validation and test cases of one split, from one set of parameters."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from bert4rec_jax.data.sequences import Cases, Sequences, Split
from bert4rec_jax.evaluation import breakdown
from bert4rec_jax.evaluation.bootstrap import metric_intervals
from bert4rec_jax.evaluation.inputs import SeenItems
from bert4rec_jax.evaluation.negatives import (
    SAMPLED_PROTOCOLS,
    draw_negatives,
    read_negatives,
    write_negatives,
)
from bert4rec_jax.evaluation.ranking import Ranker, Scorer
from bert4rec_jax.metrics import catalogue_coverage, mean_popularity, metrics_from_ranks


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
    ):
        self._log, self._split, self._seed = log, split, seed
        self._protocols, self._ks, self._negatives_path = tuple(protocols), tuple(ks), negatives
        self._sampled = [p for p in self._protocols if p in SAMPLED_PROTOCOLS]
        self._seen = SeenItems(log)
        self._negatives: dict[str, dict[str, np.ndarray]] = {}
        self._ranker = Ranker(
            scorer,
            log,
            self._seen,
            protocols=self._protocols,
            max_length=max_length,
            batch_size=batch_size,
            map_over_devices=map_over_devices,
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

        The parts: "valid", "test", "test_interval", "breakdown" (of one protocol) and
        "recommendations" (of the ten best unseen items a test user).
        """
        valid, test = self._ranks(params, "valid"), self._ranks(params, "test")
        main = "full" if "full" in test else self._protocols[0]
        cases, train = self._split.test, self._train_counts()
        targets = self._log.items[self._log.offsets[cases.users] + cases.ends]
        top, _ = self._ranker.top_k(params, cases, k=min(10, len(self._log.vocab)))
        parts = {
            "valid": self._metrics(valid),
            "test": self._metrics(test),
            "test_interval": {
                protocol: metric_intervals(ranks, ks=self._ks, seed=self._seed)
                for protocol, ranks in test.items()
            },
            "breakdown": {
                "protocol": main,
                "history_length": breakdown.by_history_length(test[main], cases.ends, ks=self._ks),
                "item_popularity": breakdown.by_item_popularity(
                    test[main], targets, train, ks=self._ks
                ),
            },
            "recommendations": {
                "coverage@10": catalogue_coverage(top, len(self._log.vocab)),
                "mean_popularity@10": mean_popularity(top, train),
            },
        }
        ranks = {("valid", p): (self._split.valid.users, r) for p, r in valid.items()}
        ranks |= {("test", p): (self._split.test.users, r) for p, r in test.items()}
        return parts, ranks

    def _metrics(self, ranks: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
        return {protocol: metrics_from_ranks(r, self._ks) for protocol, r in ranks.items()}

    def _ranks(self, params: Any, split: str) -> dict[str, np.ndarray]:
        cases: Cases = getattr(self._split, split)
        if split not in self._negatives:
            self._negatives[split] = self._make_negatives(cases, split)
        return self._ranker.ranks(params, cases, self._negatives[split])

    def _make_negatives(self, cases: Cases, split: str) -> dict[str, np.ndarray]:
        path = self._negatives_path
        if path and not os.path.exists(path):
            drawn = {
                (name, protocol): (of, negatives)
                for name, of in (("valid", self._split.valid), ("test", self._split.test))
                for protocol, negatives in self._draw(of).items()
            }
            write_negatives(path, self._log, drawn)
        if not path:
            return self._draw(cases)
        return {
            p: read_negatives(path, self._log, self._seen, cases, split=split, protocol=p)
            for p in self._sampled
        }

    def _draw(self, cases: Cases) -> dict[str, np.ndarray]:
        return {
            p: draw_negatives(self._log, self._seen, cases, protocol=p, seed=self._seed)
            for p in self._sampled
        }

    def _train_counts(self) -> np.ndarray:
        """int64 [n + 1]: training rows of each id."""
        index = np.arange(len(self._log.items))
        place = index - np.repeat(self._log.offsets[:-1], self._log.lengths)
        train = place < np.repeat(self._split.train_ends, self._log.lengths)
        return np.bincount(self._log.items[train], minlength=len(self._log.vocab) + 1)
