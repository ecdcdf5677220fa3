"""Is one run better than another? Paired tests from two files of ranks."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy import special

from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.bootstrap import mean_intervals
from bert4rec_jax.evaluation.report import format_table, read_ranks, read_results
from bert4rec_jax.metrics import metric_values


class Difference(NamedTuple):
    """One metric of two runs on the same users; `difference` is second minus first.

    `low` and `high` bound its 95% bootstrap interval over users; `p` is the paired t-test's
    two-sided p-value, and `p_holm` that value corrected for all metrics of the protocol.
    """

    protocol: str
    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


def compare_runs(
    first: str | os.PathLike,
    second: str | os.PathLike,
    *,
    split: str = "test",
    ks: Sequence[int] = (),
    seed: int = 0,
) -> list[Difference]:
    """Compares two runs user by user.

    Args:
        first, second: ranks.parquet, or the run's folder that holds it.
        ks: cut-offs; none: those of the results.json beside the ranks, or 1, 5 and 10.

    Raises:
        UserError: a file is missing or malformed, or the two differ in users, protocols or, as far
            as the results.json beside them say, in the true items.
    """
    a, b = (read_ranks(path).filter(pl.col("split") == split) for path in (first, second))
    if a.is_empty() or b.is_empty():
        lacking = first if a.is_empty() else second
        raise UserError(f"{lacking}: no ranks of the {split} split; evaluate that run again")
    protocols = a["protocol"].unique(maintain_order=True).to_list()
    others = b["protocol"].unique(maintain_order=True).to_list()
    if set(protocols) != set(others):
        raise UserError(
            f"the runs differ in protocols: {first} has {', '.join(protocols)}, "
            f"{second} has {', '.join(others)}; evaluate both with the same eval.protocols"
        )
    results = [_results(path) for path in (first, second)]
    digests = {parts["dataset"].get("test_digest") for parts in results if parts} - {None}
    if len(digests) > 1:
        raise UserError(
            f"the runs differ in test items: {first} and {second} have other test digests; compare "
            "runs on the same data and split"
        )
    ks = ks or _cutoffs(results) or (1, 5, 10)
    rows = []
    for protocol in protocols:
        pairs = _paired(a, b, protocol, first, second)
        rows += _differences(protocol, *pairs, ks=ks, seed=seed)
    return rows


def format_comparison(rows: list[Difference], *, names: tuple[str, str]) -> str:
    """The comparison as a plain-text table, one line a metric."""
    header = ["protocol", "metric", *names, "difference", "95% interval", "p", "p (Holm)"]
    return format_table(
        header,
        [
            [
                row.protocol,
                row.metric,
                f"{row.first:.4f}",
                f"{row.second:.4f}",
                f"{row.difference:+.4f}",
                f"{row.low:+.4f} .. {row.high:+.4f}",
                f"{row.p:.2g}",
                f"{row.p_holm:.2g}",
            ]
            for row in rows
        ],
    )


def paired_t_test(differences: np.ndarray) -> float:
    """Two-sided p-value of Student's t-test that paired differences have mean 0.

    >>> f"{paired_t_test(np.array([1.0, 2.0, 3.0])):.4f}"  # t = 2 / (1 / sqrt(3)), 2 degrees
    '0.0742'

    Args:
        differences: float64 [users]. With fewer than two users, or none that differs, nothing
            speaks against equality and the value is 1.
    """
    n = len(differences)
    if n < 2 or not differences.any():
        return 1.0
    spread = differences.std(ddof=1) / np.sqrt(n)
    if spread == 0:
        return 0.0
    return float(2 * special.stdtr(n - 1, -abs(differences.mean() / spread)))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction (Holm, 1979) for testing several hypotheses at once.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]

    Args:
        p: float64 [tests].

    Returns:
        corrected p-values, float64 [tests], in the same order.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(stepped)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def _results(path: str | os.PathLike) -> dict[str, Any]:
    """The parts of the results.json beside a run's ranks; none where there is no such file."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    return read_results(folder) if (folder / "results.json").exists() else {}


def _cutoffs(results: list[dict[str, Any]]) -> list[int]:
    """Those of either run: ranks have them all."""
    judged = [names for parts in results for names in parts.get("test", {}).values()]
    found = {name for names in judged for name in names if name.startswith("HR@")}
    return sorted(int(name.removeprefix("HR@")) for name in found)


def _paired(a, b, protocol, first, second) -> tuple[np.ndarray, np.ndarray]:
    """Both runs' ranks under one protocol, in the same order of users."""
    a, b = (t.filter(pl.col("protocol") == protocol).sort("user") for t in (a, b))
    if not a["user"].equals(b["user"]):
        only = set(a["user"]) ^ set(b["user"])
        raise UserError(
            f"the runs differ in users: {first} has {len(a)}, {second} has {len(b)}, and "
            f"{len(only)} of them are in one only; compare runs on the same data and split"
        )
    return a["rank"].to_numpy(), b["rank"].to_numpy()


def _differences(protocol, a, b, *, ks, seed) -> list[Difference]:
    metrics_a, metrics_b = metric_values(a, ks), metric_values(b, ks)
    p = np.array([paired_t_test(metrics_b[m] - metrics_a[m]) for m in metrics_a])
    # Users with the same pair of ranks are one group: see mean_intervals.
    pairs, counts = np.unique(np.stack([a, b], axis=1), axis=0, return_counts=True)
    before, after = metric_values(pairs[:, 0], ks), metric_values(pairs[:, 1], ks)
    change = np.stack([after[m] - before[m] for m in before], axis=1)
    low, high = mean_intervals(change, counts, seed=seed)
    rows = []
    for i, (name, corrected) in enumerate(zip(metrics_a, holm(p), strict=True)):
        x, y = float(metrics_a[name].mean()), float(metrics_b[name].mean())
        interval = float(low[i]), float(high[i])
        rows.append(
            Difference(protocol, name, x, y, y - x, *interval, float(p[i]), float(corrected))
        )
    return rows
