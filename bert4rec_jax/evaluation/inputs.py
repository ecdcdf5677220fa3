"""What a user is judged on, as fixed-shape arrays: the model's input and the items already seen."""

import math
from typing import NamedTuple

import jax
import numpy as np

from bert4rec_jax.data.sequences import Sequences


class Widths(NamedTuple):
    """In how many shapes batches come; every one is compiled once.

    Attributes:
        inputs: so many widths up to N: with 8 of them N / 8, N / 4, ...; a batch of like lengths is
            computed at the narrowest that holds it.
        growth: the width of seen items is a power of it.
    """

    inputs: int
    growth: int


CPU_WIDTHS = Widths(inputs=8, growth=4)
# To compile a program takes seconds there, and to compute the padding next to nothing.
ACCELERATOR_WIDTHS = Widths(inputs=2, growth=16)


def widths_here() -> Widths:
    """Those for this process's devices."""
    return CPU_WIDTHS if jax.default_backend() == "cpu" else ACCELERATOR_WIDTHS


def model_inputs(
    sequences: Sequences,
    users: np.ndarray,
    ends: np.ndarray,
    *,
    max_length: int,
    append_mask: bool,
    width: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The last items before `ends`, left-aligned, and behind them MASK where the model needs it.

    Args:
        users: int [B], index into `sequences.users`.
        ends: int [B], how many of the user's items the model may know.
        max_length: N; with `append_mask` the last N - 1 items and MASK, else the last N items.
        width: of the result, where every input is known to fit it; N by default.

    Returns:
        items int32 [B, width] with zeros on the right, and length int32 [B], MASK counted.
    """
    known = np.minimum(ends, max_length - append_mask)
    starts = sequences.offsets[users] + ends - known
    items = _ragged(sequences.items, starts, known, max_length if width is None else width)
    if append_mask:
        items[np.arange(len(items)), known] = sequences.vocab.mask_id
    return items, (known + append_mask).astype(np.int32)


def input_widths(ends: np.ndarray, *, max_length: int, append_mask: bool) -> np.ndarray:
    """The narrowest of the widths here that holds each input of `model_inputs`: int [B]."""
    count = widths_here().inputs
    widths = np.unique(-(-max_length * np.arange(1, count + 1) // count))
    lengths = np.minimum(ends, max_length - append_mask) + append_mask
    return widths[np.searchsorted(widths, lengths)]


class SeenItems:
    """Every user's distinct items, each with the place of its first occurrence.

    Attributes:
        longest: the most distinct items any user has, the width H of what `ever` returns.
    """

    def __init__(self, sequences: Sequences):
        n_ids = len(sequences.vocab) + 1
        lengths = np.diff(sequences.offsets)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        distinct, row = np.unique(owner * n_ids + sequences.items, return_index=True)
        self._items = (distinct % n_ids).astype(np.int32)
        self._first = row - sequences.offsets[distinct // n_ids]
        self._counts = np.bincount(distinct // n_ids, minlength=len(lengths))
        self._offsets = np.cumsum(self._counts) - self._counts
        self.longest = int(self._counts.max(initial=0))

    @property
    def counts(self) -> np.ndarray:
        """int64 [users]: distinct items of each user."""
        return self._counts

    def ever(self, users: np.ndarray) -> np.ndarray:
        """All of the users' distinct items: int32 ids [B, H], zeros on the right."""
        return _ragged(self._items, self._offsets[users], self._counts[users], self.longest)

    def before(self, users: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The users' distinct items among their first `ends`: int32 ids [B, W], zeros anywhere.

        W is a power of `Widths.growth` that holds the longest of these users' histories: narrow
        where they come in the order of `counts`, and of so few shapes that little is compiled.
        """
        starts, counts = self._offsets[users], self._counts[users]
        growth = widths_here().growth
        width = growth ** math.ceil(math.log(max(counts.max(), 1), growth))
        first = _ragged(self._first, starts, counts, width)
        return np.where(first < ends[:, None], _ragged(self._items, starts, counts, width), 0)


def _ragged(flat: np.ndarray, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Rows `flat[start : start + length]` as one array [B, width] with zeros on the right."""
    column = np.arange(width)
    index = np.minimum(starts[:, None] + column, len(flat) - 1)
    return np.where(column < lengths[:, None], flat[index], 0)
