"""A log that does not fit in memory -> every user's history, in shards of users.

What is in memory at one time: the table of users, the table of items, and one shard. The rows
themselves go through a scratch folder.

Items have provisional numbers here, *codes*: their final ids depend on what the filters leave.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from bert4rec_jax.data.lazylog import LazyLog
from bert4rec_jax.data.tally import Codes, Tally
from bert4rec_jax.errors import UserError

ROWS_AT_ONCE = 1 << 21
LISTS_AT_ONCE = 1 << 16

Progress = Callable[[int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
    """Some users, one after another.

    Attributes:
        users: raw ids, String [users].
        lengths: int32 [users], at least 1.
        codes: uint32 [actions], of each user's items, oldest first.
    """

    users: pl.Series
    lengths: np.ndarray
    codes: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Collected:
    """Attributes:
    items: raw ids, String [codes].
    rows: int64 [codes], of each item among the users that are kept.
    first: int64 [codes], where the first of them is in the log.
    shards: each reads one shard; users are in the order of their first row.
    """

    items: pl.Series
    rows: np.ndarray
    first: np.ndarray
    shards: list[Callable[[], Shard]]


def collect(
    log: LazyLog,
    scratch: Path,
    *,
    min_item_count: int,
    min_user_count: int,
    shard_actions: int,
    stage: Callable[[str, int], Progress],
) -> Collected:
    """Filters and groups a log as `sequences.build` does.

    Args:
        scratch: a folder for what is not in memory; the shards that are returned read from it.
        shard_actions: about how many interactions a shard has.
        stage: (what is done, how many rows there are) -> what to call with the rows that were done.

    Raises:
        UserError: a field has no value, or nothing is left.
    """
    options = {
        "min_item_count": max(min_item_count, 1),
        "min_user_count": max(min_user_count, 1),
        "shard_actions": shard_actions,
        "stage": stage,
    }
    return (_collect_lists if log.lists else _collect_rows)(log, scratch, **options)


# Interactions: users are numbered in one reading, and in another each row goes to its user's shard.


def _collect_rows(
    log, scratch, *, min_item_count, min_user_count, shard_actions, stage
) -> Collected:
    progress, tally = stage("counting items", log.count), Tally()
    for frame in log.batches(log.rows.select("place", "item"), ROWS_AT_ONCE):
        tally.add(frame["item"], frame["place"])
        progress(len(frame))
    codes = Codes(tally, min_item_count=min_item_count)

    progress, tally = stage("counting users", log.count), Tally()
    for frame in log.batches(log.rows.select("place", "user", "item"), ROWS_AT_ONCE):
        progress(len(frame))
        if min_item_count > 1:
            frame = frame.filter(codes.encode(frame["item"]) >= 0)
        tally.add(frame["user"], frame["place"])
    users = tally.table().filter(pl.col("rows") >= min_user_count)
    lengths = users["rows"].to_numpy().astype(np.int32)
    shard_of = (np.cumsum(lengths, dtype=np.int64) - 1) // shard_actions  # [users]
    names = np.unique(shard_of)
    begins = np.searchsorted(shard_of, [*names, np.iinfo(np.int64).max])

    kind = [("user", "<u4"), ("code", "<u4")]
    if (time := log.rows.collect_schema().get("time")) is not None:
        kind.append(("time", "<i8" if time.is_integer() else "<f8"))
    progress = stage("sorting", log.count)
    numbered = users.with_row_index("number").select("number", user="key").lazy()
    # The streaming join keeps the users in memory and lets the rows pass by, in their order.
    found = log.rows.join(numbered, on="user", maintain_order="left")
    for frame in log.batches(found.drop("user"), ROWS_AT_ONCE):
        code = codes.encode(frame["item"])
        kept = code >= 0
        code, frame = code[kept], frame.filter(kept)
        codes.count(code, frame["place"].to_numpy())
        rows = np.empty(len(frame), kind)
        rows["user"], rows["code"] = frame["number"].to_numpy(), code
        if len(kind) == 3:
            rows["time"] = frame["time"].to_numpy()
        to = np.searchsorted(begins, rows["user"], side="right") - 1
        rows = rows[np.argsort(to, kind="stable")]
        ends = np.cumsum(np.bincount(to, minlength=len(names)))
        for shard, part in enumerate(np.split(rows, ends[:-1])):
            with _rows_file(scratch, shard).open("ab") as file:
                part.tofile(file)
        progress(len(kept))

    def read(shard: int) -> Shard:
        rows = np.fromfile(_rows_file(scratch, shard), kind)
        frame = pl.DataFrame({name: rows[name] for name, _ in kind})
        order = [name for name, _ in kind if name != "code"]
        own = slice(begins[shard], begins[shard + 1])
        return Shard(
            users["key"][own].cast(pl.String),
            lengths[own],
            frame.sort(order, maintain_order=True)["code"].to_numpy(),
        )

    shards = [functools.partial(read, shard) for shard in range(len(names))]
    return Collected(codes.raw.cast(pl.String), codes.rows, codes.first, shards)


def _rows_file(scratch: Path, shard: int) -> Path:
    return scratch / f"rows-{shard}.bin"


# Histories: they are grouped already, and only have to be filtered and written.


def _collect_lists(
    log, scratch, *, min_item_count, min_user_count, shard_actions, stage
) -> Collected:
    progress, tally, before = stage("counting items", log.count), Tally(), 0
    for frame in log.batches(log.rows.select("place", "item"), LISTS_AT_ONCE):
        _, items = _flat(log, frame)
        tally.add(items, before + np.arange(len(items)))
        before += len(items)
        progress(len(frame))
    codes = Codes(tally, min_item_count=min_item_count)

    files: list[Path] = []
    waiting: list[Shard] = []

    def write() -> None:
        files.append(scratch / f"histories-{len(files)}")
        whole = _joined(waiting)
        whole.users.to_frame("user").write_parquet(files[-1].with_suffix(".users"))
        np.save(files[-1].with_suffix(".lengths.npy"), whole.lengths)
        np.save(files[-1].with_suffix(".codes.npy"), whole.codes)
        waiting.clear()

    progress, before = stage("numbering", log.count), 0
    for frame in log.batches(log.rows, LISTS_AT_ONCE):
        lengths, items = _flat(log, frame)
        code = codes.encode(items)
        owner = np.repeat(np.arange(len(frame)), lengths)
        kept = np.bincount(owner[code >= 0], minlength=len(frame))
        stays = kept >= min_user_count
        of_those = (code >= 0) & stays[owner]
        codes.count(code[of_those], before + np.flatnonzero(of_those))
        before += len(code)
        waiting.append(
            Shard(
                frame["user"].filter(stays).cast(pl.String),
                kept[stays].astype(np.int32),
                code[of_those].astype(np.uint32),
            )
        )
        if sum(len(shard.codes) for shard in waiting) >= shard_actions:
            write()
        progress(len(frame))
    if sum(len(shard.codes) for shard in waiting):
        write()
    _refuse_twice(log)

    def read(file: Path) -> Shard:
        return Shard(
            pl.read_parquet(file.with_suffix(".users"))["user"],
            np.load(file.with_suffix(".lengths.npy")),
            np.load(file.with_suffix(".codes.npy")),
        )

    shards = [functools.partial(read, file) for file in files]
    return Collected(codes.raw.cast(pl.String), codes.rows, codes.first, shards)


def _flat(log: LazyLog, frame: pl.DataFrame) -> tuple[np.ndarray, pl.Series]:
    """(lengths int64 [users], all items one after another) of some histories."""
    lengths = frame["item"].list.len().to_numpy().astype(np.int64)
    items = frame.filter(lengths > 0)["item"].explode()
    if items.null_count():
        at = np.searchsorted(np.cumsum(lengths), items.is_null().arg_max(), side="right")
        log.refuse(frame["place"][int(at)], "has an item without a value")
    return lengths, items


def _joined(shards: list[Shard]) -> Shard:
    return Shard(
        pl.concat([shard.users for shard in shards]),
        np.concatenate([shard.lengths for shard in shards]),
        np.concatenate([shard.codes for shard in shards]),
    )


def _refuse_twice(log: LazyLog) -> None:
    """Of all users: one with too few items in each of two rows may have enough in both."""
    counts = log.rows.group_by("user").len()
    twice = counts.filter(pl.col("len") > 1).head(1).collect(engine="streaming")
    if len(twice):
        raise UserError(f"{log.path}: user {twice['user'][0]} has two rows; give each user one row")
