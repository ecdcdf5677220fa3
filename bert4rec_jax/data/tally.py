"""Counting the users or items of a log that comes in pieces, and numbering the items."""

import numpy as np
import polars as pl

_SETTLED_AT_LEAST = 1 << 22
_DENSE = 1 << 27  # integers that span no more are looked up in an array


class Tally:
    """How many rows each key has and where the first is, of keys that come in pieces."""

    def __init__(self):
        self._parts: list[pl.DataFrame] = []
        self._settled = self._waiting = 0

    def add(self, keys: pl.Series, places: np.ndarray | pl.Series) -> None:
        places = pl.Series("first", places).cast(pl.Int64)
        part = pl.DataFrame([keys.alias("key"), places]).group_by("key")
        self._parts.append(part.agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("first").min()))
        self._waiting += len(self._parts[-1])
        # Seldom enough that all settling together takes a time in proportion to the log's.
        if self._waiting > max(_SETTLED_AT_LEAST, self._settled):
            self._settle()

    def table(self) -> pl.DataFrame:
        """key, rows, first: in the order of first appearance."""
        if not self._parts:
            return pl.DataFrame(schema={"key": pl.String, "rows": pl.Int64, "first": pl.Int64})
        self._settle()
        return self._parts[0].sort("first")

    def _settle(self) -> None:
        whole = pl.concat(self._parts).group_by("key")
        self._parts = [whole.agg(pl.col("rows").sum(), pl.col("first").min())]
        self._settled, self._waiting = len(self._parts[0]), 0


class Codes:
    """The items that are kept, and the places of their rows as they come by."""

    def __init__(self, tally: Tally, *, min_item_count: int):
        table = tally.table().filter(pl.col("rows") >= min_item_count)
        # So that the ids are the codes where no user is filtered.
        self.raw = table.sort("rows", descending=True, maintain_order=True)["key"]
        self.rows = np.zeros(len(self.raw), np.int64)
        self.first = np.full(len(self.raw), np.iinfo(np.int64).max)
        self._dense = None
        if self.raw.dtype.is_integer() and len(self.raw):
            self._least = int(self.raw.min())
            span = int(self.raw.max()) - self._least + 1
            if span <= _DENSE:
                self._dense = np.full(span, -1, np.int32)
                places = self.raw.cast(pl.Int64).to_numpy() - self._least
                self._dense[places] = np.arange(len(self.raw))
        self._table = pl.DataFrame({"item": self.raw}).with_row_index("code")

    def encode(self, items: pl.Series) -> np.ndarray:
        """int32 codes; -1 for an item that is not kept."""
        if self._dense is None:
            asked = items.alias("item").to_frame()
            found = asked.join(self._table, on="item", how="left", maintain_order="left")
            return found["code"].cast(pl.Int32).fill_null(-1).to_numpy()
        places = items.cast(pl.Int64).to_numpy() - self._least
        outside = (places < 0) | (places >= len(self._dense))
        return np.where(outside, -1, self._dense[np.where(outside, 0, places)])

    def count(self, codes: np.ndarray, places: np.ndarray) -> None:
        """Take note of rows at rising places."""
        self.rows += np.bincount(codes, minlength=len(self.rows))
        first = np.full_like(self.first, np.iinfo(np.int64).max)
        first[codes[::-1]] = places[::-1]  # of those that repeat the last one stays: the first
        np.minimum(self.first, first, out=self.first)
