"""What a run leaves behind: ranks.parquet, results.json and the table on the screen."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bert4rec_jax.data import panics
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import published
from bert4rec_jax.files import replacing

RANKS_SCHEMA = {
    "user": pl.String,
    "protocol": pl.String,
    "split": pl.String,
    "rank": pl.Int32,
}


def write_ranks(
    path: str | os.PathLike,
    users: Sequence[str],
    ranks: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]],
) -> None:
    """Writes ranks.parquet: one row a user and protocol, rank 0 = best; whole or not at all.

    Args:
        users: raw ids of all users of the log.
        ranks: (split, protocol) -> the users judged, int [cases] into `users`, and their ranks.
    """
    raw = pl.Series("user", list(users), dtype=pl.String)
    frames = [
        pl.DataFrame({"user": raw.gather(rows), "rank": np.asarray(values, np.int32)}).select(
            "user", protocol=pl.lit(protocol), split=pl.lit(split), rank="rank"
        )
        for (split, protocol), (rows, values) in ranks.items()
    ]
    with replacing(path) as unfinished:
        pl.concat(frames).write_parquet(unfinished)


def read_ranks(path: str | os.PathLike) -> pl.DataFrame:
    """Reads ranks.parquet, from its own path or that of the folder it lies in.

    Raises:
        UserError: there is none, or it is no such file.
    """
    path = Path(path)
    file = path / "ranks.parquet" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: no such file or folder; name a finished run's work directory")
    with panics.refusing(
        lambda reason: UserError(f"{file}: not a file of ranks ({reason}); evaluate the run again")
    ):
        return pl.read_parquet(file).select(pl.col(k).cast(t) for k, t in RANKS_SCHEMA.items())


def write_results(path: str | os.PathLike, parts: Mapping[str, Any]) -> None:
    """Writes results.json; whole or not at all.

    Args:
        parts: "dataset", "model", "train", "valid", "test", "test_interval" and whatever else the
            run reports; numpy scalars are written as numbers.

    Raises:
        ValueError: a figure is NaN or infinite, which JSON cannot say.
    """
    text = json.dumps(parts, indent=2, allow_nan=False, default=lambda number: number.item())
    with replacing(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def read_results(workdir: str | os.PathLike) -> dict[str, Any]:
    """The parts of a run's results.json.

    Raises:
        UserError: there is none, or it is no such file.
    """
    path = Path(workdir) / "results.json"
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        return {key: parts[key] for key in ("dataset", "model", "train", "test")} | parts
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a run's results; train or evaluate again") from error


def metrics_table(results: Mapping[str, Any]) -> str:
    """The screen's table of a run's test figures, with the paper's row beside them if it has one.

    Args:
        results: the parts of results.json; "test_interval" where computed.
    """
    dataset, model = results["dataset"]["name"], results["model"]["name"]
    paper = published.row_of_results(results)
    intervals = results.get("test_interval", {})
    header = ["protocol", "metric", "test"]
    header += ["95% interval"] * bool(intervals) + ["paper"] * bool(paper)
    rows = []
    for protocol, metrics in results["test"].items():
        for metric, value in metrics.items():
            row = [protocol, metric, f"{value:.4f}"]
            if intervals:
                low, high = intervals[protocol][metric]
                row.append(f"{low:.4f} .. {high:.4f}")
            if paper:
                same = protocol == published.PROTOCOL and metric in paper
                row.append(f"{paper[metric]:.4f}" if same else "")
            rows.append(row)
    return f"{model} on {dataset}\n{format_table(header, rows)}"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of plain text, numbers to the right.

    >>> print(format_table(["metric", "test"], [["HR@10", "0.6970"], ["MRR", "0.4254"]]))
    metric    test
    HR@10   0.6970
    MRR     0.4254
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    numeric = [all(row[c][:1] in "+-0123456789" for row in rows) for c in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), *map(line, rows)])
