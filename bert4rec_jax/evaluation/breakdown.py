"""Which users and which items the figures come from."""

from collections.abc import Sequence

import numpy as np

from bert4rec_jax.evaluation.bootstrap import metric_intervals
from bert4rec_jax.metrics import metrics_from_ranks


def by_history_length(
    ranks: np.ndarray, lengths: np.ndarray, *, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, dict[str, float]]:
    """Metrics in quarters of the users, by how many items they have before the true one.

    Users of equal length are never parted, so quarters differ in size, and where very many users
    are equally long there are fewer than four.

    Args:
        ranks: int [cases], 0 = best.
        lengths: int [cases], the items before the true one: `cases.ends`.

    Returns:
        "shortest-longest" -> {"users": how many, metric: mean, "interval": {metric: [low, high]}},
        shortest histories first.
    """
    bounds = np.unique(np.quantile(lengths, [0.25, 0.5, 0.75], method="lower"))
    quarter = np.searchsorted(bounds, lengths)
    groups = {}
    for q in np.unique(quarter):
        inside = lengths[quarter == q]
        groups[f"{inside.min()}-{inside.max()}"] = quarter == q
    return {name: _figures(ranks[rows], ks) for name, rows in groups.items()}


def by_item_popularity(
    ranks: np.ndarray,
    targets: np.ndarray,
    counts: np.ndarray,
    *,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, dict[str, float]]:
    """Metrics of true items in the head, the middle and the tail of the catalogue.

    Items are put in order of their training rows; the head is the most popular items that together
    hold the first third of the rows, the middle the next third, the tail the rest. An item on a
    border belongs to the group it begins in; items without training rows are in the tail.

    Args:
        ranks: int [cases], 0 = best.
        targets: int ids [cases], the true items.
        counts: int [n + 1], training rows of each id; counts[0] is not read.

    Returns:
        "head", "middle", "tail" -> {"users": true items among the cases, "items": catalogue items,
        metric: mean, "interval": {metric: [low, high]}}; a group with no true item has no metrics.
    """
    order = np.argsort(-counts[1:], kind="stable")
    rows = counts[1:][order]
    before = np.cumsum(rows) - rows
    third = np.empty(len(rows), np.int64)
    third[order] = np.minimum(3 * before // max(rows.sum(), 1), 2)
    result = {}
    for t, name in enumerate(("head", "middle", "tail")):
        figures = _figures(ranks[third[targets - 1] == t], ks)
        result[name] = {"items": int((third == t).sum())} | figures
    return result


def _figures(ranks: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    users = {"users": len(ranks)}
    if not len(ranks):
        return users
    return users | metrics_from_ranks(ranks, ks) | {"interval": metric_intervals(ranks, ks=ks)}
