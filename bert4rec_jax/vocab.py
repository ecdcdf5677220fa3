"""The id layout, in one place: PAD = 0, items 1..n, MASK = n + 1; raw id <-> id."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable

import numpy as np

PAD = 0


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The catalogue. Raw ids are strings, whatever type the log stored them in.

    Attributes:
        items: raw item ids, a tuple of n strings; `items[i]` has id `i + 1`.
    """

    items: tuple[str, ...]

    def __len__(self) -> int:
        """The number n of items, specials not counted."""
        return len(self.items)

    @property
    def mask_id(self) -> int:
        return len(self.items) + 1

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {raw: i for i, raw in enumerate(self.items, start=1)}

    def encode(self, raw: Iterable[str]) -> np.ndarray:
        """Raw ids -> int32 ids [len(raw)]; PAD where an item is not in the catalogue."""
        return np.array([self._ids.get(str(r), PAD) for r in raw], np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Ids in 1..n -> raw ids; IndexError for PAD, MASK and anything else."""
        raw = []
        for i in ids:
            if not 1 <= i <= len(self.items):
                raise IndexError(f"id {i} is not an item: items are 1..{len(self.items)}")
            raw.append(self.items[i - 1])
        return raw

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the raw ids in id order: equal digests mean interchangeable tables."""
        return hashlib.sha256("\x00".join(self.items).encode()).hexdigest()
