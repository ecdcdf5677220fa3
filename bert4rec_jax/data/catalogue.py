"""What a model's item ids mean, as a file beside its checkpoints: whoever has both needs no log."""

import os
from pathlib import Path

import numpy as np
import polars as pl

from bert4rec_jax.errors import UserError
from bert4rec_jax.vocab import Vocabulary


def write_catalogue(path: str | os.PathLike, vocab: Vocabulary, counts: np.ndarray) -> None:
    """Writes a row an item, in the order of the ids 1..n.

    Args:
        vocab: the n items.
        counts: int [n + 1], training rows of each id; PAD's is left out.
    """
    pl.DataFrame(
        {"item": vocab.items, "rows": np.asarray(counts[1:], np.int64)},
        schema={"item": pl.String, "rows": pl.Int64},
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
        frame = pl.read_parquet(path).select(pl.col("item").cast(pl.String), "rows")
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a run's catalogue ({reason})") from error
    return Vocabulary(tuple(frame["item"])), np.concatenate([[0], frame["rows"].to_numpy()])
