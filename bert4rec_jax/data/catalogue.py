"""What a model's item ids mean, as a file beside its checkpoints: whoever has both needs no log."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from bert4rec_jax.data import panics
from bert4rec_jax.data.sequences import NOTHING
from bert4rec_jax.errors import UserError
from bert4rec_jax.vocab import Vocabulary

_SCHEMA = {"item": pl.String, "rows": pl.Int64, "retired": pl.Boolean}


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
        schema=_SCHEMA,
    ).write_parquet(path)


class Catalogue(NamedTuple):
    """What `write_catalogue` was given: the items, int64 counts [n + 1], bool retired [n]."""

    vocab: Vocabulary
    counts: np.ndarray
    retired: np.ndarray


def read_catalogue(path: str | os.PathLike) -> Catalogue:
    """The catalogue as it was written.

    Raises:
        UserError: there is no such file, or it is another.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; training writes it: the same command as before goes on from "
            "the last checkpoint, and adds it"
        )
    with panics.refusing(lambda reason: _damaged(path, reason)):
        frame = pl.read_parquet(path)
        if "retired" not in frame.columns:  # written before items could be
            frame = frame.with_columns(retired=False)
        frame = frame.select(pl.col(name).cast(kind) for name, kind in _SCHEMA.items())
    if frame.is_empty() or any(column.has_nulls() for column in frame):
        raise _damaged(path, "values are missing")
    if frame["item"].is_duplicated().any():
        raise _damaged(path, "an item is there twice")
    items, rows, retired = frame
    counts = np.concatenate([[0], rows.to_numpy()])
    return Catalogue(Vocabulary(tuple(items)), counts, retired.to_numpy())


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


# A work directory with this file was grown from another: its items.parquet, not its log, says what
# the ids are. In it: whence, as JSON.
ORIGIN = "finetuned.json"


def is_grown(workdir: Path) -> bool:
    return (workdir / ORIGIN).is_file()


def kept_vocabulary(workdir: Path) -> Vocabulary:
    """The items whose ids a run in `workdir` must keep; empty where its log gives the ids."""
    return read_catalogue(workdir / "items.parquet").vocab if is_grown(workdir) else NOTHING


def read_origin(workdir: Path) -> dict[str, Any]:
    """What the run in `workdir` was grown from."""
    path = workdir / ORIGIN
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: does not say what the run was grown from; restore it") from error
