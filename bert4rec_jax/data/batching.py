"""Step -> fixed-shape batch of windows, and windows -> rows.

A batch names windows by where they start in the log and how long they are; the log itself lives on
the device and the rows are made there. A batch is a pure function of (seed, step): there is no
iterator whose state a checkpoint would have to hold.
"""

import bisect
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.masking import Row


def sliding_windows(
    offsets: np.ndarray, ends: np.ndarray, *, max_length: int, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """Windows over every user's training items, anchored at the end (gen_data_fin.py, 242-256).

    A history of at most N items is one window. A longer one gives full windows that start at
    len - N, len - N - stride, ... while above 0, and one that starts at 0.

    Args:
        offsets: int64 [users + 1], where each user's items start in the log.
        ends: int64 [users], how many of a user's items are training items.
        max_length: N.
        stride: items between the starts of two windows.

    Returns:
        (starts int32 [W] in the log, lengths int32 [W]).
    """
    starts, lengths = [], []
    for offset, end in zip(offsets[:-1].tolist(), ends.tolist(), strict=True):
        if end == 0:
            continue
        first = [*range(end - max_length, 0, -stride), 0] if end > max_length else [0]
        starts += [offset + s for s in first]
        lengths += [min(end, max_length)] * len(first)
    return np.array(starts, np.int32), np.array(lengths, np.int32)


def pack(lengths: np.ndarray, capacity: int) -> list[list[int]]:
    """Best-fit decreasing: lengths -> rows of lengths whose sums are at most `capacity`.

    The result depends on the multiset of lengths only, so every epoch packs into rows of the same
    shapes, whatever its order: the number of rows, and so of steps, is fixed.
    """
    rows: list[list[int]] = []
    room_of: dict[int, list[int]] = {}  # free places -> rows that have just as many
    rooms: list[int] = []  # the keys of room_of, ascending
    for length in sorted(lengths.tolist(), reverse=True):
        i = bisect.bisect_left(rooms, length)
        if i < len(rooms):
            room = rooms[i]
            row = room_of[room].pop()
            if not room_of[room]:
                del room_of[room], rooms[i]
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(length)
        left = room - length
        if left not in room_of:
            room_of[left] = []
            bisect.insort(rooms, left)
        room_of[left].append(row)
    return rows


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """The training batches: `batches(step)` for any step, in any order.

    Every epoch visits each window once, in a new order. With `packed`, windows share rows (see
    `pack`); without, a row is one window. Either way a step holds `batch_size` windows on average,
    so that packing changes how long a step takes and not what it learns.

    Attributes:
        starts, lengths: int32 [W], from `sliding_windows`.
        max_length: N, the length of a row.
        batch_size: windows a step (the paper's 256).
        devices: rows of a batch are a multiple of this.
        seed: of the order.
    """

    starts: np.ndarray
    lengths: np.ndarray
    max_length: int
    batch_size: int
    devices: int
    seed: int
    packed: bool = True

    @functools.cached_property
    def _layout(self) -> np.ndarray:
        """int32 [R, S]: the lengths of the windows that each row of an epoch holds, 0 for none."""
        if not self.packed:
            return np.sort(self.lengths)[::-1, None]
        rows = pack(self.lengths, self.max_length)
        layout = np.zeros((len(rows), max(map(len, rows))), np.int32)
        for row, held in enumerate(rows):
            layout[row, : len(held)] = held
        return layout

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        return max(1, round(len(self.lengths) / self.batch_size))

    @functools.cached_property
    def rows(self) -> int:
        """Rows of a batch: an epoch's rows spread evenly over its steps and the devices."""
        shares = self.steps_per_epoch * self.devices
        return -(-len(self._layout) // shares) * self.devices

    @property
    def fill(self) -> float:
        """Real items over computed positions, in an epoch."""
        return self.lengths.sum() / (self.steps_per_epoch * self.rows * self.max_length)

    def most_predictions(self, counts: np.ndarray) -> int:
        """The most positions that a row can predict, given `counts` per length of a window."""
        return int(counts[self._layout].sum(axis=1).max())

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(starts, lengths), int32 [rows, S] each, of the batch of `step` (from 0).

        Length 0 means no window. The last batch of an epoch is filled up with empty rows.
        """
        epoch, index = divmod(step, self.steps_per_epoch)
        starts, lengths = _shuffled(self, epoch)
        part = slice(index * self.rows, (index + 1) * self.rows)
        missing = [(0, self.rows - len(starts[part])), (0, 0)]
        return np.pad(starts[part], missing), np.pad(lengths[part], missing)


@functools.lru_cache(maxsize=2)
def _shuffled(batches: Batches, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """(starts, lengths) [R, S] of one epoch: windows of equal length change places at random."""
    rng = np.random.default_rng([batches.seed, epoch])
    order = rng.permutation(len(batches.lengths))
    # Stable, so windows of equal length stay in random order.
    order = order[np.argsort(-batches.lengths[order], kind="stable")]
    layout = batches._layout
    flat = layout.ravel()
    starts = np.zeros(flat.shape, np.int32)
    places = np.argsort(-flat, kind="stable")[: len(order)]
    starts[places] = batches.starts[order]
    rows = rng.permutation(len(layout))
    return starts.reshape(layout.shape)[rows], layout[rows]


def make_row(log: jax.Array, starts: jax.Array, lengths: jax.Array, *, max_length: int) -> Row:
    """The row that holds these windows one after another, padded with zeros.

    Args:
        log: int32 [actions], the items of all users.
        starts, lengths: int32 [S]; length 0 means no window, and none follows.
    """
    index = jnp.arange(max_length, dtype=jnp.int32)
    ends = jnp.cumsum(lengths)  # [S]
    window = jnp.searchsorted(ends, index, side="right", method="compare_all")  # [N]
    used = window < len(lengths)
    window = jnp.minimum(window, len(lengths) - 1)

    def field(x):
        return jnp.where(used, x, 0).astype(jnp.int32)

    positions = index - (ends - lengths)[window]
    return Row(
        items=field(log[jnp.where(used, starts[window] + positions, 0)]),
        segments=field(window + 1),
        positions=field(positions),
        lengths=field(lengths[window]),
        starts=field(starts[window]),
    )
