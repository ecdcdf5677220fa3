"""A log of any size -> a folder of shards that training reads by place, and what they are known by.

    FOLDER/manifest.json          counts and digests; see manifest.py
    FOLDER/items.parquet          the catalogue in the order of the ids: item, rows, and how many of
                                  them leave-one-out holds out: valid, test
    FOLDER/items-00000.npy        int32, the users' items one after another, oldest first
    FOLDER/lengths-00000.npy      int32, how many items each user has
    FOLDER/users-00000.parquet    user: raw ids

Users and items are numbered as `sequences.build` numbers those of a log in memory, so that both
are the same data.
"""

import csv
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from bert4rec_jax.data import collecting, manifest
from bert4rec_jax.data.identity import READINGS, identify_parts
from bert4rec_jax.data.lazylog import open_log
from bert4rec_jax.data.manifest import Manifest
from bert4rec_jax.data.statistics import count_repeats, summary
from bert4rec_jax.errors import UserError, first_line, machine_fault
from bert4rec_jax.files import appearing
from bert4rec_jax.vocab import Vocabulary

SHARD_ACTIONS = 1 << 24  # 64 MiB of items


def prepare(
    path: str | Path,
    folder: Path,
    *,
    min_item_count: int = 1,
    min_user_count: int = 1,
    user_column: str = "",
    item_column: str = "",
    time_column: str = "",
    shard_actions: int = SHARD_ACTIONS,
    stage: Callable[[str, int], Callable[[int], None]] = lambda name, total: lambda done: None,
) -> Manifest:
    """Writes `folder`, whole or not at all.

    Args:
        path: the log, as for `lazylog.open_log`.
        folder: must not exist.
        min_item_count, min_user_count: as for `sequences.build`.
        shard_actions: about how many interactions a shard has; a shard must fit in memory.
        stage: (what is done, how much there is) -> what to call with how much of it was done.

    Raises:
        UserError: as `interactions.read` and `sequences.build`; or `folder` is there already, or
            cannot be written.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already; remove it, or choose another --output")
    columns = {"user_column": user_column, "item_column": item_column, "time_column": time_column}
    filters = {"min_item_count": min_item_count, "min_user_count": min_user_count}
    try:
        with appearing(folder) as unfinished:
            scratch = unfinished / "scratch"
            scratch.mkdir()
            log = open_log(path, scratch, **columns)
            collected = collecting.collect(
                log, scratch, **filters, shard_actions=shard_actions, stage=stage
            )
            made = _write(unfinished, collected, str(path), filters, stage)
            shutil.rmtree(scratch)
    except (pl.exceptions.PolarsError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)}); is it damaged?") from error
    except OSError as error:
        if error.errno is None and machine_fault(error) is None:  # Polars', of a file that is cut
            reason = first_line(error)
            raise UserError(f"{path}: cannot be read ({reason}); is it damaged?") from error
        where, reason = error.filename or folder, error.strerror or error
        raise UserError(f"{where}: {reason}; see to it, or choose another --output") from error
    return made


def _write(folder, collected, source, filters, stage) -> Manifest:
    order = np.lexsort((collected.first, -collected.rows))
    order = order[collected.rows[order] > 0]
    if len(order) < 2:
        raise UserError(
            f"{source}: {len(order)} items are left with min_item_count "
            f"{filters['min_item_count']} and min_user_count {filters['min_user_count']}; 2 items "
            "are needed: lower data.min_item_count or data.min_user_count"
        )
    ids = np.zeros(len(collected.rows), np.int32)
    ids[order] = np.arange(1, len(order) + 1)
    actions = int(collected.rows.sum())
    progress = stage("writing", actions)
    shards, all_lengths, repeats = [], [], 0
    held_out = np.zeros((2, len(order) + 1), np.int64)  # by validation, by test
    for number, read in enumerate(collected.shards):
        shard = read()
        items = ids[shard.codes]
        repeats += count_repeats(items, shard.lengths)
        long = shard.lengths >= 3
        ends = np.cumsum(shard.lengths, dtype=np.int64)[long]
        for row, back in enumerate((2, 1)):
            held_out[row] += np.bincount(items[ends - back], minlength=len(order) + 1)
        names = manifest.shard_files(number)
        np.save(folder / names["items"], items)
        np.save(folder / names["lengths"], shard.lengths)
        shard.users.alias("user").to_frame().write_parquet(folder / names["users"])
        all_lengths.append(shard.lengths)
        shards.append(
            {
                "users": len(shard.lengths),
                "actions": len(items),
                "files": {of: manifest.describe(folder / name) for of, name in names.items()},
            }
        )
        progress(len(items))
    lengths = np.concatenate(all_lengths)
    vocab = Vocabulary(tuple(collected.items.gather(order)))
    pl.DataFrame(
        {
            "item": vocab.items,
            "rows": collected.rows[order],
            "valid": held_out[0, 1:],
            "test": held_out[1, 1:],
        }
    ).write_parquet(folder / "items.parquet")
    made = Manifest(
        source=source,
        **filters,
        vocabulary=vocab.digest,
        identity=_identity(
            folder, shards, lengths, len(vocab), stage("digesting", READINGS * actions)
        ),
        statistics=summary(lengths, items=len(vocab), repeats=repeats),
        catalogue=(catalogue := manifest.describe(folder / "items.parquet")),
        shards=shards,
        digest=manifest.digest_of(catalogue, shards),
    )
    manifest.write(folder, made)
    return made


def _identity(folder, shards, lengths, catalogue, progress) -> dict:
    parts = [
        tuple(
            np.load(folder / shard["files"][of]["file"], mmap_mode="r")
            for of in ("items", "lengths")
        )
        for shard in shards
    ]
    tested = np.flatnonzero(lengths >= 3)
    lasts = [np.asarray(items[np.cumsum(of, dtype=np.int64) - 1]) for items, of in parts]
    targets = np.concatenate(lasts)[tested]
    found = identify_parts(parts, catalogue, tested, targets, progress=progress)
    return dataclasses.asdict(found)
