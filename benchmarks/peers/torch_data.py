"""The PyTorch program's input: the same windows and masks as ours, in several layouts. Numpy only.

A batch is `groups` of rows, one behind the other in flat arrays of T places: a group of R rows of
length L takes R * L of them. What the layouts differ in is how much of T is padding.
"""

import dataclasses
import functools
import math
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from bert4rec_jax.data import interactions, sequences


@dataclasses.dataclass
class Batch:
    """Attributes:
    ids, positions, segments: int64 [T]; segments tell a row's histories apart, 0 is padding.
    groups: (rows, length) of each group; the products add up to T.
    masked: int64 [M], places that are to be predicted.  labels: int64 [M], from 0.
    rows: windows.  items: real tokens.
    asked: for each group the masked places of its rows, int64 [rows, S]; a row with fewer repeats
        its first place.  slots: int64 [M], where each of `masked` stands among them.
    """

    ids: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    groups: tuple[tuple[int, int], ...]
    masked: np.ndarray
    labels: np.ndarray
    rows: int
    items: int

    @functools.cached_property
    def asked(self) -> list[np.ndarray]:
        return self._asked_and_slots[0]

    @functools.cached_property
    def slots(self) -> np.ndarray:
        return self._asked_and_slots[1]

    @functools.cached_property
    def _asked_and_slots(self):
        asked, slots, at, before = [], [], 0, 0
        for rows, length in self.groups:
            here = self.masked[(self.masked >= at) & (self.masked < at + rows * length)]
            row = (here - at) // length
            per_row = np.bincount(row, minlength=rows)
            # Rounded up, so that a compiled program sees few shapes.
            width = -(-int(per_row.max()) // 8) * 8
            place = np.arange(len(here)) - (np.cumsum(per_row) - per_row)[row]
            group = np.repeat(at + length * np.arange(rows)[:, None], width, axis=1)
            group[row, place] = here
            asked.append(group)
            slots.append(before + row * width + place)
            at, before = at + rows * length, before + rows * width
        return asked, np.concatenate(slots)


def read(options) -> sequences.Sequences:
    frame = interactions.read(options.data, user_column="", item_column="", time_column="")
    return sequences.build(
        frame,
        name=options.dataset,
        min_item_count=options.min_item_count,
        min_user_count=options.min_user_count,
    )


def sliding_windows(log, *, max_length: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """(starts, lengths) as bert4rec_jax/data/batching.py makes them, which needs jax."""
    starts, lengths = [], []
    ends = sequences.leave_one_out(log).train_ends
    for offset, end in zip(log.offsets[:-1].tolist(), ends.tolist(), strict=True):
        first = [*range(end - max_length, 0, -stride), 0] if end > max_length else [0]
        starts += [offset + s for s in first]
        lengths += [min(end, max_length)] * len(first)
    return np.array(starts), np.array(lengths)


class Sampler:
    """Batches of `batch_size` windows, epoch after epoch.

    Layouts: "padded" pads every window to N. "bucketed" makes batches of windows of like length.
    "grouped" takes random windows, sorts them by length and pads each group of `group_rows` to its
    longest: the batches are as random as the padded ones. "packed" lays random windows one after
    another in rows of N.
    """

    def __init__(
        self,
        log,
        options,
        layout: str,
        group_rows: int = 16,
    ):
        self.items, self.mask_id = log.items.astype(np.int64), log.vocab.mask_id
        self.starts, self.lengths = sliding_windows(
            log, max_length=options.max_length, stride=options.stride
        )
        self.counts = np.array(
            [0]
            + [
                min(options.budget, max(1, math.floor(options.proportion * n + 0.5)))
                for n in range(1, options.max_length + 1)
            ]
        )
        self.max_length, self.batch_size = options.max_length, options.batch_size
        self.layout, self.group_rows = layout, group_rows
        self.rng = np.random.default_rng(options.seed)
        self.epoch = iter(())

    def __call__(self) -> Batch:
        try:
            windows = next(self.epoch)
        except StopIteration:
            self.epoch = iter(self._windows_of_batches())
            windows = next(self.epoch)
        return self._packed(windows) if self.layout == "packed" else self._grouped(windows)

    def fill(self, batches: int = 50) -> float:
        """Real items over computed places, in the next batches."""
        drawn = [self() for _ in range(batches)]
        return sum(b.items for b in drawn) / sum(len(b.ids) for b in drawn)

    def _windows_of_batches(self) -> list[np.ndarray]:
        order = self.rng.permutation(len(self.starts))
        if self.layout == "bucketed":
            order = order[np.argsort(self.lengths[order], kind="stable")]
        steps = len(order) // self.batch_size
        batches = list(order[: steps * self.batch_size].reshape(steps, self.batch_size))
        self.rng.shuffle(batches)
        return batches

    def _grouped(self, windows) -> Batch:
        windows = windows[np.argsort(-self.lengths[windows], kind="stable")]
        size = self.group_rows if self.layout == "grouped" else len(windows)
        fields, groups = [], []
        for first in range(0, len(windows), size):
            part = windows[first : first + size]
            lengths = self.lengths[part, None]
            longest = self.max_length if self.layout == "padded" else int(lengths.max())
            place = np.arange(longest)
            fields.append(self._fields(self.starts[part, None], lengths, place, place < lengths))
            groups.append((len(part), longest))
        return self._batch([np.concatenate(f) for f in zip(*fields, strict=True)], groups, windows)

    def _packed(self, windows) -> Batch:
        windows = windows[np.argsort(-self.lengths[windows], kind="stable")]
        room = np.full(len(windows), self.max_length)
        start, length, place, segment = np.zeros((4, len(windows), self.max_length), np.int64)
        used = np.zeros(len(windows), int)
        for window in windows:
            size = self.lengths[window]
            fits = np.where(room >= size, room, self.max_length + 1)
            row = int(fits.argmin())  # best fit
            there = slice(self.max_length - room[row], self.max_length - room[row] + size)
            used[row] += 1
            start[row, there], length[row, there] = self.starts[window], size
            place[row, there], segment[row, there] = np.arange(size), used[row]
            room[row] -= size
        rows = int((used > 0).sum())
        start, length, place, segment = (x[:rows] for x in (start, length, place, segment))
        fields = self._fields(start, length, place, segment > 0, segment)
        return self._batch(fields, [(rows, self.max_length)], windows)

    def _fields(self, starts, lengths, place, real, segments=None):
        """Flat ids, positions, segments, and which places are masked."""
        real, place = np.broadcast_arrays(real, place)
        ids = np.where(real, self.items[np.where(real, starts + place, 0)], 0)
        segments = real.astype(np.int64) if segments is None else segments
        # A random order within every segment: its first `count` places are masked.
        draws = self.rng.random(real.shape, np.float32) + np.where(real, segments, 1 << 10)
        order = np.argsort(draws, axis=1)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(real.shape[1])[None], axis=1)
        rank = rank - (np.arange(real.shape[1])[None] - place)  # before it: earlier segments
        masked = real & (rank < self.counts[np.broadcast_to(lengths, real.shape)])
        return [x.ravel() for x in (ids, place, segments, masked)]

    def _batch(self, fields, groups, windows) -> Batch:
        ids, positions, segments, masked = fields
        (masked,) = np.nonzero(masked)
        labels = ids[masked] - 1
        ids[masked] = self.mask_id
        return Batch(
            ids, positions, segments, tuple(groups), masked, labels,
            len(windows), int(self.lengths[windows].sum()),
        )  # fmt: skip
