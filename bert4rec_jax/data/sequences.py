"""Interactions -> every user's history in time order, as integers, and the splits of it."""

import dataclasses
import functools

import numpy as np
import polars as pl

from bert4rec_jax.data.statistics import count_repeats, summary
from bert4rec_jax.errors import UserError
from bert4rec_jax.vocab import PAD, Vocabulary

NOTHING = Vocabulary(())


@dataclasses.dataclass(frozen=True, eq=False)
class Whole:
    """What a sample of users must know of the log that it is drawn from.

    Attributes:
        places: int64 [users], each user's place in that log.
        counts: int64 [n + 1], as `Sequences.counts` of that log.
        train_counts: int64 [n + 1], as `train_counts` of it.
    """

    places: np.ndarray
    counts: np.ndarray
    train_counts: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Sequences:
    """All users' histories, one after another (compressed sparse rows).

    Attributes:
        name: of the data set, as a run's report prints it.
        items: int32 [actions], ids 1..n, each user's in time order.
        offsets: int64 [users + 1]; user u has `items[offsets[u]:offsets[u + 1]]`.
        users: raw user ids [users], in order of first appearance.
        vocab: the catalogue; ids by falling frequency, ties by first appearance, unless `build` was
            given ids to keep.
        times: int64 or float64 [actions], as in the log; None where the log has none.
        whole: of users drawn from a larger log, that log; else None.
    """

    name: str
    items: np.ndarray
    offsets: np.ndarray
    users: tuple[str, ...]
    vocab: Vocabulary
    times: np.ndarray | None = None
    whole: Whole | None = None

    def history(self, user: int) -> np.ndarray:
        """int32 view of one user's items, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def targets(self, cases: "Cases") -> np.ndarray:
        """int32 [cases]: what is to be ranked first."""
        return self.items[self.offsets[cases.users] + cases.ends]

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 [users]: rows of each user."""
        return np.diff(self.offsets)

    @property
    def places(self) -> np.ndarray:
        """int64 [users]: each user's place in the log, the larger one if these are a sample."""
        return np.arange(len(self.users)) if self.whole is None else self.whole.places

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """int64 [n + 1]: rows of each id over the whole log, held-out rows included; PAD has 0."""
        if self.whole is not None:
            return self.whole.counts
        return np.bincount(self.items, minlength=len(self.vocab) + 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
    """What is evaluated: the target is `history(user)[end]`, given `history(user)[:end]`.

    Attributes:
        users: int32 [cases], index into `Sequences.users`.
        ends: int64 [cases], at least 1.
    """

    users: np.ndarray
    ends: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Which rows train and which are held out.

    Attributes:
        train_ends: int64 [users]; the first `train_ends[u]` items of u are training rows.
        valid: for choosing a checkpoint.
        test: for the report.
    """

    train_ends: np.ndarray
    valid: Cases
    test: Cases


def build(
    frame: pl.DataFrame,
    *,
    name: str,
    min_item_count: int = 1,
    min_user_count: int = 1,
    known: Vocabulary = NOTHING,
) -> Sequences:
    """Filters, orders and numbers a log.

    One pass of each filter, items first and then users on what is left: the canonical ml-1m is
    (5, 5), beauty (1, 5). Rows that repeat a user and an item are kept. Equal times of one user
    stay in the order of the file, on which a quarter of ml-1m's test items depends.

    Args:
        frame: user, item, time, as `interactions.read` returns it.
        name: of the data set.
        min_item_count: items with fewer rows are dropped.
        min_user_count: users with fewer rows, among those left, are dropped.
        known: a catalogue that the log goes on from: its items keep their ids, those without a row
            here too, and are not filtered; the ids of the others come behind.

    Raises:
        UserError: fewer than two items are left, so there is nothing to rank.
    """
    rows, kept = frame, pl.DataFrame({"item": known.items}, schema={"item": pl.String})
    if min_item_count > 1:
        rows = rows.filter(
            (pl.len().over("item") >= min_item_count) | pl.col("item").is_in(kept["item"].implode())
        )
    if min_user_count > 1:
        rows = rows.filter(pl.len().over("user") >= min_user_count)
    # Strings become integers before the sort: it then moves 4 bytes a row.
    users = rows.select(pl.col("user").unique(maintain_order=True)).with_row_index("row")
    new = rows.group_by("item", maintain_order=True).len().join(kept, on="item", how="anti")
    new = new.sort("len", descending=True, maintain_order=True)
    items = pl.concat([kept, new.select("item")]).with_row_index("id", offset=1)
    if len(items) < 2:
        raise UserError(
            f"{name}: {len(rows)} of {len(frame)} rows, {len(users)} users and {len(items)} items "
            f"are left with min_item_count {min_item_count} and min_user_count {min_user_count}; "
            "2 items are needed: lower data.min_item_count or data.min_user_count"
        )
    return _numbered(rows, users, items, Vocabulary(tuple(items["item"])), name=name)


def encode(frame: pl.DataFrame, vocab: Vocabulary, *, name: str) -> tuple[Sequences, int]:
    """The histories of a log in the ids of a catalogue that is fixed already.

    Nothing is filtered: a user of whom no item is known has an empty history.

    Args:
        frame: user, item, time, as `interactions.read` returns it for `vocab`.
        vocab: of a trained model.

    Returns:
        the histories, and how many rows were left out because `vocab` does not have their item.
    """
    users = frame["user"].unique(maintain_order=True)
    codes = users.to_physical().to_numpy()
    row_of = np.zeros(int(codes.max()) + 1, np.uint32)
    row_of[codes] = np.arange(len(codes), dtype=np.uint32)
    rows = frame.select(
        pl.Series("row", row_of[frame["user"].to_physical().to_numpy()]),
        pl.col("item").alias("id"),
        "time",
    )
    known = _in_order(rows.filter(pl.col("id") != PAD), users.cast(pl.String), vocab, name=name)
    return known, len(frame) - len(known.items)


def _numbered(
    rows: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame, vocab: Vocabulary, *, name: str
) -> Sequences:
    """The rows whose item is among `items` (id, item), by `users` (row, user) and then by time."""
    rows = (
        rows.lazy()
        .join(users.lazy(), on="user", maintain_order="left")
        .join(items.lazy(), on="item", maintain_order="left")
        .select("row", "id", "time")
        .collect()
    )
    return _in_order(rows, users["user"], vocab, name=name)


def _in_order(rows: pl.DataFrame, users: pl.Series, vocab: Vocabulary, *, name: str) -> Sequences:
    """Rows (row of `users`, id, time), by user and then by time."""
    rows = rows.sort("row", "time", maintain_order=True)
    lengths = np.bincount(rows["row"].to_numpy(), minlength=len(users))
    return Sequences(
        name=name,
        items=rows["id"].to_numpy().astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        users=tuple(users),
        vocab=vocab,
        times=None if rows["time"].null_count() else rows["time"].to_numpy(),
    )


def statistics(sequences: Sequences) -> dict[str, int | float]:
    """The data set in numbers, as in the paper's Table 1."""
    lengths = sequences.lengths
    repeats = count_repeats(sequences.items, lengths)
    return summary(lengths, items=len(sequences.vocab), repeats=repeats)


def training_ends(lengths: np.ndarray, *, train_on_valid: bool = False) -> np.ndarray:
    """How many of each user's items train under leave-one-out: int64 [users]."""
    held_out = 1 if train_on_valid else 2
    return np.where(lengths >= 3, lengths - held_out, lengths).astype(np.int64)


def leave_one_out(sequences: Sequences, *, train_on_valid: bool = False) -> Split:
    """The paper's split: each user's last item is for test, the one before for validation.

    Users with fewer than 3 rows give all of them to training and are not evaluated, as in the
    original code (util.py, lines 28-31).

    Args:
        sequences: all rows.
        train_on_valid: train on the validation items too, as the original code does
            (gen_data_fin.py, lines 543-546); validation figures are then not honest.

    Raises:
        UserError: no user has 3 rows.
    """
    lengths = sequences.lengths
    users = np.flatnonzero(lengths >= 3)
    if not len(users):
        raise UserError(
            f"{sequences.name}: no user has 3 or more rows (the longest has {lengths.max()}), "
            "so nobody can be evaluated; give a log with longer histories"
        )
    train_ends = training_ends(lengths, train_on_valid=train_on_valid)
    return Split(train_ends, _cases(users, lengths - 2), _cases(users, lengths - 1))


def train_counts(sequences: Sequences, train_ends: np.ndarray) -> np.ndarray:
    """int64 [n + 1]: training rows of each id, held-out rows left out; PAD has 0."""
    if sequences.whole is not None:
        return sequences.whole.train_counts
    place = np.arange(len(sequences.items)) - np.repeat(sequences.offsets[:-1], sequences.lengths)
    is_train = place < np.repeat(train_ends, sequences.lengths)
    return np.bincount(sequences.items[is_train], minlength=len(sequences.vocab) + 1)


def global_time_split(sequences: Sequences, *, at: float, train_on_valid: bool = False) -> Split:
    """Trains on what happened before a moment, tests on each user's first item from it on.

    No training row is later than any test item, which leave-one-out does not promise: there
    one user's training rows can be later than another user's test item. The ids (by frequency)
    still come from the whole log, as does `Sequences.counts`.

    Users without rows before the moment have no history to rank from, and are not tested. The last
    item before it is for validation, where another comes before that.

    Args:
        sequences: all rows, with times.
        at: the moment, in the log's own unit of time; rows at it are test rows.
        train_on_valid: train on the validation items too.

    Raises:
        UserError: the log has no times, or nobody has rows on both sides of the moment.
    """
    times = sequences.times
    if times is None:
        raise UserError(f"{sequences.name}: has no times, so it cannot be split at one")
    before = np.add.reduceat(times < at, sequences.offsets[:-1], dtype=np.int64)
    tested = np.flatnonzero((before >= 1) & (before < sequences.lengths))
    if not len(tested):
        raise UserError(
            f"{sequences.name}: no user has rows both before and from time {at} on; "
            f"choose one within {times.min()} to {times.max()}, the log's own unit"
        )
    validated = np.flatnonzero(before >= 2)
    if not len(validated):
        raise UserError(
            f"{sequences.name}: no user has two rows before time {at}, so nothing can be "
            "validated on; choose a later one"
        )
    train_ends = before.copy()
    if not train_on_valid:
        train_ends[validated] -= 1
    return Split(train_ends, _cases(validated, before - 1), _cases(tested, before))


def _cases(users: np.ndarray, ends: np.ndarray) -> Cases:
    return Cases(users.astype(np.int32), ends[users])
