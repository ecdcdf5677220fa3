"""How far a figure would move with other users: bootstrap intervals."""

from collections.abc import Sequence

import numpy as np

from bert4rec_jax.metrics import metric_values

CONFIDENCE = 0.95


def metric_intervals(
    ranks: np.ndarray, *, ks: Sequence[int] = (1, 5, 10), resamples: int = 1000, seed: int = 0
) -> dict[str, list[float]]:
    """95% percentile bootstrap intervals over users (Efron and Tibshirani, 1993, chapter 13).

    Args:
        ranks: int [users], 0 = best.

    Returns:
        metric name -> [low, high].
    """
    # A metric is a function of the rank alone, so users of equal rank are one group.
    distinct, counts = np.unique(ranks, return_counts=True)
    metrics = metric_values(distinct, ks)
    low, high = mean_intervals(
        np.stack(list(metrics.values()), axis=1), counts, resamples=resamples, seed=seed
    )
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(metrics)}


def mean_intervals(
    values: np.ndarray, counts: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap intervals of means over users that come in groups of equal values.

    Drawing users with replacement gives the groups multinomial counts, so a resample costs one
    multinomial over the groups instead of one index a user.

    Args:
        values: float64 [groups, metrics].
        counts: int [groups], users in each group.

    Returns:
        low and high, float64 [metrics] each.
    """
    rng = np.random.default_rng(seed)
    users = counts.sum()
    at_once = max(1, 2**22 // len(counts))  # 32 MiB of int64 counts
    means = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        means.append(rng.multinomial(users, counts / users, size=size) @ values / users)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return low, high
