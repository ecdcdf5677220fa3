"""Ranks -> HR@k, NDCG@k, MRR, and what a whole list of recommendations says of the catalogue.

The rank of the true item is the number of *other* candidates that score at least as high: 0 is
best, and a tie counts against the true item, so a scorer that cannot tell items apart gets the
worst rank and not the best one.
"""

from collections.abc import Sequence

import numpy as np

from bert4rec_jax.vocab import PAD


def metric_values(ranks: np.ndarray, ks: Sequence[int] = (1, 5, 10)) -> dict[str, np.ndarray]:
    """Every metric of every user, before the mean over users.

    With one relevant item a user, HR@k is Recall@k, the ideal DCG is 1, and NDCG@1 is HR@1, which
    is why NDCG@1 is left out. MRR is not cut at any k.

    Args:
        ranks: int [users], 0 = best.
        ks: cut-offs, each at least 1.

    Returns:
        metric name -> float64 [users]; HR@k for each k, then NDCG@k for each k > 1, then MRR.

    Raises:
        ValueError: a rank is negative or a cut-off is not positive.
    """
    ranks = np.asarray(ranks)
    if ranks.size and ranks.min() < 0:
        raise ValueError(f"ranks start at 0, got {ranks.min()}")
    if min(ks, default=1) < 1:
        raise ValueError(f"cut-offs start at 1, got {min(ks)}")
    gain = 1.0 / np.log2(ranks + 2.0)
    hit = {f"HR@{k}": (ranks < k).astype(np.float64) for k in ks}
    ndcg = {f"NDCG@{k}": np.where(ranks < k, gain, 0.0) for k in ks if k > 1}
    return hit | ndcg | {"MRR": 1.0 / (ranks + 1.0)}


def metrics_from_ranks(ranks: np.ndarray, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """The mean of every metric over users (BERT4Rec, section 4.2).

    Three users, whose true items came first, third and eleventh:

    >>> for name, value in metrics_from_ranks([0, 2, 10]).items():
    ...     print(f"{name} {value:.4f}")
    HR@1 0.3333
    HR@5 0.6667
    HR@10 0.6667
    NDCG@5 0.5000
    NDCG@10 0.5000
    MRR 0.4747

    (NDCG@5 is (1/log2(2) + 1/log2(4) + 0) / 3, MRR is (1 + 1/3 + 1/11) / 3.)

    Args:
        ranks: int [users], 0 = best.
        ks: cut-offs, each at least 1.

    Raises:
        ValueError: there are no ranks, a rank is negative, or a cut-off is not positive.
    """
    if np.size(ranks) == 0:
        raise ValueError("no ranks: a mean over no users is undefined")
    return {name: float(values.mean()) for name, values in metric_values(ranks, ks).items()}


def catalogue_coverage(recommended: np.ndarray, items: int) -> float:
    """The share of the catalogue that is recommended to anyone.

    >>> catalogue_coverage([[1, 2], [1, 3]], items=6)
    0.5

    Args:
        recommended: int ids [users, k]; PAD where a user has fewer than k unseen items.
        items: the size n of the catalogue.
    """
    recommended = np.asarray(recommended)
    return np.unique(recommended[recommended != PAD]).size / items


def mean_popularity(recommended: np.ndarray, counts: np.ndarray) -> float:
    """How many rows of the log the average recommended item has.

    >>> mean_popularity([[1, 2], [1, 3]], counts=[0, 10, 4, 2])
    6.5

    Args:
        recommended: int ids [users, k]; PAD where a user has fewer than k unseen items.
        counts: int [n + 1], rows of each id; counts[PAD] is not read.

    Raises:
        ValueError: nothing is recommended.
    """
    recommended = np.asarray(recommended)
    shown = recommended[recommended != PAD]
    if shown.size == 0:
        raise ValueError("nothing is recommended: a mean over no items is undefined")
    return float(np.asarray(counts)[shown].mean())
