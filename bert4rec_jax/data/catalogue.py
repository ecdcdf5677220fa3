"""What a model's item ids mean, as a file beside its checkpoints: whoever has both needs no log."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bert4rec_jax.data import panics
from bert4rec_jax.data.sequences import NOTHING
from bert4rec_jax.errors import UserError
from bert4rec_jax.vocab import Vocabulary


def write_catalogue(
    path: str | os.PathLike,
    vocab: Vocabulary,
    counts: np.ndarray,
    retired: np.ndarray | None = None,
) -> None:
    """Writes a row an item, in the order of the ids 1..n.

    Args:
        vocab: the n items.
        counts: int [n + 1], training rows of each id; PAD's is left out.
        retired: bool [n], items that must never be recommended again; None: none.
    """
    pl.DataFrame(
        {
            "item": vocab.items,
            "rows": np.asarray(counts[1:], np.int64),
            "retired": np.zeros(len(vocab), bool) if retired is None else retired,
        },
        schema={"item": pl.String, "rows": pl.Int64, "retired": pl.Boolean},
    ).write_parquet(path)


def read_catalogue(path: str | os.PathLike) -> tuple[Vocabulary, np.ndarray]:
    """(vocabulary, int64 counts [n + 1]) as they were written.

    Raises:
        UserError: there is no such file, or it is another.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; training writes it: the same command as before goes on from "
            "the last checkpoint, and adds it"
        )
    try:
        with panics.as_errors():
            frame = pl.read_parquet(path).select(
                pl.col("item").cast(pl.String), pl.col("rows").cast(pl.Int64)
            )
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise _damaged(path, reason) from error
    if frame.is_empty() or frame["item"].has_nulls() or frame["rows"].has_nulls():
        raise _damaged(path, "values are missing")
    if frame["item"].is_duplicated().any():
        raise _damaged(path, "an item is there twice")
    return Vocabulary(tuple(frame["item"])), np.concatenate([[0], frame["rows"].to_numpy()])


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: not a run's catalogue ({reason}); give the training command again, which writes "
        "it, or restore it from a copy"
    )


def refuse_other(workdir: Path, vocab: Vocabulary, trained_on: str) -> None:
    """UserError unless the catalogue in `workdir` has the digest that its checkpoints name."""
    if vocab.digest != trained_on:
        raise UserError(
            f"{workdir}: items.parquet (digest {vocab.digest[:12]}) is not the catalogue that was "
            f"trained on ({trained_on[:12]}): restore it from a copy"
        )


def read_retired(path: str | os.PathLike) -> np.ndarray:
    """bool [n]: which items of a catalogue, as `read_catalogue` reads it, are retired."""
    frame = pl.read_parquet(path)
    if "retired" not in frame.columns:  # written before items could be
        return np.zeros(len(frame), bool)
    return frame["retired"].to_numpy()


# A work directory with this file was grown from another: its items.parquet, not its log, says what
# the ids are. In it: whence, as JSON.
ORIGIN = "finetuned.json"


def is_grown(workdir: Path) -> bool:
    return (workdir / ORIGIN).is_file()


def kept_vocabulary(workdir: Path) -> Vocabulary:
    """The items whose ids a run in `workdir` must keep; empty where its log gives the ids."""
    return read_catalogue(workdir / "items.parquet")[0] if is_grown(workdir) else NOTHING


def read_origin(workdir: Path) -> dict[str, Any]:
    """What the run in `workdir` was grown from."""
    path = workdir / ORIGIN
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: does not say what the run was grown from; restore it") from error
