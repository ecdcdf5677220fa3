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
        (starts [W] in the log, int32 where that is enough, else int64; lengths int32 [W]).
    """
    used = np.flatnonzero(ends)
    offsets, ends = offsets[:-1][used], ends[used]
    beyond = ends - max_length
    counts = np.where(beyond > 0, 1 - -beyond // stride, 1)  # of windows, the one at 0 included
    begins = np.cumsum(counts) - counts
    backwards = np.arange(counts.sum()) - np.repeat(begins, counts)
    starts = np.repeat(offsets, counts) + np.maximum(
        np.repeat(beyond, counts) - stride * backwards, 0
    )
    fits = not len(starts) or starts.max() < 2**31
    lengths = np.repeat(np.minimum(ends, max_length), counts)
    return starts.astype(np.int32 if fits else np.int64), lengths.astype(np.int32)


def pack(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Best-fit decreasing: lengths -> rows of lengths whose sums are at most `capacity`.

    The result depends on the multiset of lengths only, so every epoch packs into rows of the same
    shapes, whatever its order: the number of rows, and so of steps, is fixed.

    All windows of one length are placed at once, since a row that is the best fit for a length
    stays so until it has no room for another: work grows with the number of lengths and rooms.

    Args:
        lengths: int [W], in 1 .. capacity.

    Returns:
        (the lengths in each row, falling, row after row: int32 [W]; where each row begins in them
        and the end: int64 [R + 1]).
    """
    opened = 0
    rows_of: dict[int, list[np.ndarray]] = {}  # free places -> rows that have just as many: a stack
    rooms: list[int] = []  # the keys of rows_of, ascending
    placed: list[tuple[np.ndarray, np.ndarray]] = []  # (rows, lengths) of windows

    def push(room: int, rows: np.ndarray) -> None:
        if len(rows):
            if room not in rows_of:
                rows_of[room] = []
                bisect.insort(rooms, room)
            rows_of[room].append(rows)

    def pop(room: int, most: int) -> np.ndarray:
        stack, taken = rows_of[room], []
        while stack and most:
            top = stack.pop()
            if len(top) > most:
                stack.append(top[:-most])
            taken.append(top[-most:][::-1])
            most -= len(taken[-1])
        if not stack:
            del rows_of[room], rooms[bisect.bisect_left(rooms, room)]
        return np.concatenate(taken)

    distinct, counts = np.unique(lengths, return_counts=True)
    for length, count in zip(distinct[::-1].tolist(), counts[::-1].tolist(), strict=True):
        while count:
            i = bisect.bisect_left(rooms, length)
            room = rooms[i] if i < len(rooms) else capacity
            fit = room // length  # windows of this length, into one row
            if i < len(rooms):
                rows = pop(room, -(-count // fit))
            else:
                rows = np.arange(opened, opened - (-count // fit), dtype=np.int32)
                opened += len(rows)
            held = np.full(len(rows), fit)
            held[-1] = min(fit, count - fit * (len(rows) - 1))
            placed.append((np.repeat(rows, held), np.full(held.sum(), length, np.int32)))
            push(room - fit * length, rows[held == fit])
            if held[-1] < fit:
                push(room - int(held[-1]) * length, rows[-1:])
            count -= int(held.sum())
    row, length = (np.concatenate(parts) for parts in zip(*placed, strict=True))
    begins = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=opened))])
    return length[np.argsort(row, kind="stable")], begins


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """The training batches: `batches(step)` for any step, in any order.

    Every epoch visits each window once, in a new order. With `packed`, windows share rows (see
    `pack`); without, a row is one window. Either way a step has as many rows as `batch_size`
    windows take on average, rounded up to whole ones. An epoch's rows are spread evenly over the
    steps that this makes: where there are few, a step may have far fewer.

    Attributes:
        starts, lengths: int [W], from `sliding_windows`.
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
    def _packing(self) -> tuple[np.ndarray, np.ndarray]:
        """As `pack` returns it."""
        if not self.packed:
            return np.sort(self.lengths)[::-1], np.arange(len(self.lengths) + 1)
        return pack(self.lengths, self.max_length)

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """Int [W]: the places in `_packing` in the order of falling length."""
        return _falling(self._packing[0], self.max_length)

    @functools.cached_property
    def _widest(self) -> int:
        """S: the most windows in a row."""
        return int(np.diff(self._packing[1]).max())

    @property
    def _rows_per_epoch(self) -> int:
        return len(self._packing[1]) - 1

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        wanted = -(-self._rows_per_epoch * self.batch_size // len(self.lengths))
        return -(-self._rows_per_epoch // wanted)

    @functools.cached_property
    def rows(self) -> int:
        """Rows of a batch: an epoch's rows spread evenly over its steps and the devices."""
        return -(-self._rows_per_epoch // (self.steps_per_epoch * self.devices)) * self.devices

    @property
    def fill(self) -> float:
        """Real items over computed positions, in an epoch."""
        return self.lengths.sum() / (self.steps_per_epoch * self.rows * self.max_length)

    def most_predictions(self, counts: np.ndarray) -> int:
        """The most positions that a row can predict, given `counts` per length of a window."""
        held, begins = self._packing
        return int(np.add.reduceat(counts[held], begins[:-1]).max())

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(starts, lengths) [rows, S] of the batch of `step` (from 0), in the windows' dtypes.

        Length 0 means no window. The batches of an epoch hold the same number of rows, give or take
        one; what is missing to `rows` are empty ones, the last.
        """
        epoch, index = divmod(step, self.steps_per_epoch)
        ordered, rows = _shuffled(self, epoch)
        held, begins = self._packing
        first, end = (len(rows) * i // self.steps_per_epoch for i in (index, index + 1))
        rows = rows[first:end]
        column = np.arange(self._widest)
        used = np.zeros((self.rows, self._widest), bool)
        used[: len(rows)] = column < (begins[rows + 1] - begins[rows])[:, None]
        starts = np.zeros(used.shape, self.starts.dtype)
        lengths = np.zeros(used.shape, np.int32)
        places = (begins[rows][:, None] + column)[used[: len(rows)]]
        starts[used], lengths[used] = ordered[places], held[places]
        return starts, lengths


@functools.lru_cache(maxsize=2)
def _shuffled(batches: Batches, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """One epoch's order: (the windows' starts in the places of the packing [W], its rows [R]).

    Windows of equal length change places at random.
    """
    rng = np.random.default_rng([batches.seed, epoch])
    order = rng.permutation(len(batches.lengths))
    order = order[_falling(batches.lengths[order], batches.max_length)]
    starts = np.empty_like(batches.starts)
    starts[batches._places] = batches.starts[order]
    return starts, rng.permutation(batches._rows_per_epoch)


def _falling(lengths: np.ndarray, longest: int) -> np.ndarray:
    """The order of falling length; equal lengths stay in the order they come in."""
    # Small integers are sorted by their digits: ten times as fast.
    return np.argsort((longest - lengths).astype(np.min_scalar_type(longest)), kind="stable")


def make_rows(log: jax.Array, starts: jax.Array, lengths: jax.Array, *, max_length: int) -> Row:
    """The rows that hold a batch's windows, fields [B, N].

    Args:
        log: int32 [actions], the items of all users; or [B, N], the rows' own items, each in its
            place: what the host reads of a log that the device has no room for.
        starts, lengths: int32 [B, S], as `make_row` takes them.
    """
    if log.ndim == 1:
        return jax.vmap(functools.partial(make_row, log, max_length=max_length))(starts, lengths)
    rows = jax.vmap(functools.partial(_lay_out, max_length=max_length))(starts, lengths)
    return rows._replace(items=log)


def make_row(log: jax.Array, starts: jax.Array, lengths: jax.Array, *, max_length: int) -> Row:
    """The row that holds these windows one after another, padded with zeros.

    Args:
        log: int32 [actions], the items of all users.
        starts, lengths: int32 [S]; length 0 means no window, and none follows.
    """
    row = _lay_out(starts, lengths, max_length=max_length)
    items = log[row.starts + row.positions]
    return row._replace(items=jnp.where(row.segments > 0, items, 0).astype(jnp.int32))


def _lay_out(starts: jax.Array, lengths: jax.Array, *, max_length: int) -> Row:
    """`make_row` but for the items, which are zeros."""
    index = jnp.arange(max_length, dtype=jnp.int32)
    ends = jnp.cumsum(lengths)  # [S]
    window = jnp.searchsorted(ends, index, side="right", method="compare_all")  # [N]
    used = window < len(lengths)
    window = jnp.minimum(window, len(lengths) - 1)

    def field(x):
        return jnp.where(used, x, 0).astype(jnp.int32)

    return Row(
        items=jnp.zeros_like(index),
        segments=field(window + 1),
        positions=field(index - (ends - lengths)[window]),
        lengths=field(lengths[window]),
        starts=field(starts[window]),
    )
