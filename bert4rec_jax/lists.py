"""Files of items to read, and files of recommendations to write."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from bert4rec_jax.console import say
from bert4rec_jax.data import panics
from bert4rec_jax.errors import UserError
from bert4rec_jax.vocab import PAD, Vocabulary

_SUFFIXES = (".parquet", ".csv", ".jsonl")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def check_output(path: Path) -> None:
    """UserError unless the name of a file of recommendations says a format that can be written."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path}: the name of --output must end in one of {', '.join(_SUFFIXES)}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; choose another --output")


def read_items(path: str, vocab: Vocabulary) -> list[str]:
    """The raw ids in a file: the column `item` of a .parquet, .csv or .tsv, else one a line.

    Says how many of them are not in `vocab`.

    Raises:
        UserError: there is no such file or column, or none of its items is in `vocab`, which is
            more likely the wrong file than a wish.
    """
    if Path(path).suffix.lower() in (".parquet", *_SEPARATORS):
        items = _read_table(path, ("item",))["item"].to_list()
    else:
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{path}: cannot be read ({reason}); is it the right file?") from error
        items = [line.strip() for line in lines if line.strip()]
    if unknown := _strangers(path, items, vocab):
        say(f"{path}: {unknown:,} of {len(items):,} items are not known to the model")
    return items


def _strangers(path: str, items: list[str], vocab: Vocabulary) -> int:
    """How many are not in `vocab`; UserError if all of them."""
    unknown = int((vocab.encode(items) == PAD).sum())
    if unknown == len(items):
        raise UserError(
            f"{path}: none of its {len(items)} items is one that the model knows; is it the right "
            "file?"
        )
    return unknown


def read_titles(path: str, vocab: Vocabulary) -> dict[str, str]:
    """Raw id -> title, of a .parquet or .csv with the columns `item` and `title`.

    Raises:
        UserError: as `read_items`.
    """
    frame = _read_table(path, ("item", "title"))
    _strangers(path, frame["item"].to_list(), vocab)  # many: titles of a larger catalogue
    return dict(zip(frame["item"], frame["title"], strict=True))


def _read_table(path: str, columns: tuple[str, ...]) -> pl.DataFrame:
    with panics.refusing(
        lambda reason: UserError(f"{path}: cannot be read ({reason}); is it the right file?")
    ):
        suffix = Path(path).suffix.lower()
        if suffix == ".parquet":
            frame = pl.read_parquet(path)
        else:
            separator = _SEPARATORS.get(suffix, ",")
            frame = pl.read_csv(path, infer_schema=False, separator=separator)
    if missing := [column for column in columns if column not in frame.columns]:
        raise UserError(
            f"{path}: no column {missing[0]!r} among {', '.join(frame.columns)}; rename one"
        )
    return frame.select(pl.col(column).cast(pl.String) for column in columns)


def as_frame(
    users: Sequence[str],
    vocab: Vocabulary,
    items: np.ndarray,
    scores: np.ndarray,
    popular: np.ndarray,
    titles: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """A row a recommendation: user, rank (0 is best), item, score, popular, and title if given.

    Args:
        users: raw ids [users].
        items: int32 [users, k], PAD where there is none; scores: float32 [users, k].
        popular: bool [users], who was offered popular items for want of a history.
        titles: raw id -> title; null for an item that has none.
    """
    rows, ranks = np.nonzero(items != PAD)
    raw = pl.Series("item", list(vocab.items), dtype=pl.String)
    frame = pl.DataFrame(
        {
            "user": pl.Series("user", list(users), dtype=pl.String).gather(rows),
            "rank": ranks.astype(np.int32),
            "item": raw.gather(items[rows, ranks] - 1),
            "score": scores[rows, ranks],
            "popular": popular[rows],
        }
    )
    if titles is None:
        return frame
    known = pl.Series("title", [titles.get(item) for item in vocab.items], dtype=pl.String)
    return frame.with_columns(title=known.gather(items[rows, ranks] - 1))
