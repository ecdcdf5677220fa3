"""The columns of a log as integers, while it is read: a fraction of the memory of its strings."""

import polars as pl

from bert4rec_jax.vocab import PAD, Vocabulary


def compact(vocab: Vocabulary) -> list[pl.Expr]:
    """Of the String columns user and item: a Categorical, and ids of `vocab`, UInt32.

    PAD is an item that `vocab` does not have; null stays null.
    """
    item = pl.col("item")
    ids = item.replace_strict(
        pl.Series(vocab.items, dtype=pl.String),
        pl.Series(range(1, len(vocab) + 1), dtype=pl.UInt32),
        default=pl.lit(PAD, pl.UInt32),
        return_dtype=pl.UInt32,
    )
    known = pl.when(item.is_not_null()).then(ids).alias("item")
    return [pl.col("user").cast(pl.Categorical), known]
