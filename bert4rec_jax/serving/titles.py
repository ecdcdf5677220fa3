"""Finding items by title or id."""

import unicodedata
from collections.abc import Mapping

import numpy as np
import polars as pl

from bert4rec_jax.vocab import Vocabulary


class Titles:
    """The catalogue's titles, and a search of them.

    Args:
        vocab: the catalogue.
        titles: raw id -> title, for some or all items.
        order: int [n], the indices of its items by falling frequency; None: they are so. (A grown
            run has its new items last.)
    """

    def __init__(
        self,
        vocab: Vocabulary,
        titles: Mapping[str, str | None],
        order: np.ndarray | None = None,
    ):
        self._order = np.arange(len(vocab)) if order is None else order
        self._titles = [titles.get(item) for item in vocab.items]
        self._frame = pl.DataFrame(
            {
                "id": [_fold(item) for item in vocab.items],
                "title": [_fold(title or "") for title in self._titles],
            },
            schema={"id": pl.String, "title": pl.String},
        ).with_columns(text=pl.col("title") + "\n" + pl.col("id"))
        self._frame = self._frame.with_row_index("index")[self._order]

    def of(self, index: int) -> str | None:
        """The title of item id `index + 1`."""
        return self._titles[index]

    def search(self, words: str, *, limit: int) -> list[int]:
        """Indices (ids - 1) of the items whose title or id has all of the words, best first.

        Upper and lower case and accents are all one. The item of exactly this id comes first, then
        titles that begin so, then those with a word that begins so, then the rest; the more
        frequent before the less. No words: the most frequent items.
        """
        asked = _fold(words).strip()
        text, title = pl.col("text"), pl.col("title")
        has_all = [text.str.contains(word, literal=True) for word in asked.split()]
        if not has_all:
            return self._order[:limit].tolist()
        later = [
            pl.col("id") != asked,
            ~title.str.starts_with(asked),
            ~title.str.contains(f" {asked}", literal=True),
        ]
        found = (
            self._frame.lazy()
            .filter(has_all)
            .sort(later, maintain_order=True)
            .head(limit)
            .select("index")
            .collect()
        )
        return found["index"].to_list()


def _fold(text: str) -> str:
    """Without case and accents: "Amélie" and "AMELIE" are one."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c)).casefold()
