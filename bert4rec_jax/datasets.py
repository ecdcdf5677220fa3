"""The data of a run: a log read into memory, or a prepared one that is read by place."""

import dataclasses
import pathlib
import time
from typing import Any

import ml_collections
import numpy as np

from bert4rec_jax import hosts
from bert4rec_jax.console import say
from bert4rec_jax.data import (
    identity,
    interactions,
    judged,
    manifest,
    sequences,
    sources,
    synthetic,
)
from bert4rec_jax.data.identity import Identity
from bert4rec_jax.data.prepared import PreparedLog
from bert4rec_jax.data.sequences import NOTHING, Sequences, Split
from bert4rec_jax.data.synthetic import Oracle
from bert4rec_jax.errors import UserError
from bert4rec_jax.progress import Progress
from bert4rec_jax.vocab import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """Attributes:
    log: the histories in memory: all, or those of a prepared log's users who are judged.
    split: of `log`; its cases are those of at most eval.users users.
    offsets, train_ends: int64, of everybody who trains, as `batching.sliding_windows` takes them.
    statistics, identity: of all the data.
    oracle: of a generated log, else None.
    prepared: what training reads, if it is not `log`.
    """

    log: Sequences
    split: Split
    offsets: np.ndarray
    train_ends: np.ndarray
    statistics: dict[str, Any]
    identity: Identity
    oracle: Oracle | None = None
    prepared: PreparedLog | None = None


def load(config: ml_collections.ConfigDict, known: Vocabulary = NOTHING) -> Data:
    """Reads what config.data names.

    Args:
        known: as for `sequences.build`.

    Raises:
        UserError: as the modules of `data/`; or the config asks what a prepared log cannot give.
    """
    if manifest.is_prepared(config.data.path):
        if len(known):
            raise UserError(
                f"{config.data.path}: a prepared log has ids of its own, and this run must keep "
                "those of the run before: give the log itself"
            )
        return _open_prepared(config)
    log, oracle = _read_log(config.data, known)
    split = _split(log, config.data)
    known = identity.identify(log, split.test)
    users = judged.draw_users(len(log.users), config.eval.users, seed=config.seed)
    if len(users) < len(log.users):
        _say_who_is_judged(len(users), len(log.users))
        split = judged.judged_by(split, users)
    return Data(log, split, log.offsets, split.train_ends, sequences.statistics(log), known, oracle)


def log_path(data: ml_collections.ConfigDict) -> pathlib.Path:
    """Of the log that config.data names; downloaded if it must be."""
    cache = pathlib.Path(data.cache).expanduser()
    return pathlib.Path(data.path or sources.fetch(data.name, cache))


def check(config: ml_collections.ConfigDict) -> None:
    """UserError where a config asks what its prepared log cannot give; of any other log, nothing.

    `load` checks it too; here it costs no more than to read the folder's manifest.
    """
    data, path = config.data, config.data.path
    if not manifest.is_prepared(path):
        return
    if data.split != "leave_one_out":
        raise UserError(
            f"{path}: a prepared log holds no times: data.split {data.split} needs the log itself"
        )
    if config.model.name == "markov":
        raise UserError(
            f"{path}: markov counts a whole log in memory: give the log itself, or another model"
        )
    found = manifest.read(pathlib.Path(path))
    for name in ("min_item_count", "min_user_count"):
        if getattr(found, name) != data[name]:
            raise UserError(
                f"{path}: was prepared with data.{name} {getattr(found, name)}, and now it is "
                f"{data[name]}: set it so, or run --mode=prepare again"
            )


def _open_prepared(config: ml_collections.ConfigDict) -> Data:
    check(config)
    data, path = config.data, config.data.path
    found = manifest.read(pathlib.Path(path))
    progress = None
    if data.verify and hosts.is_first():
        size = sum(file["bytes"] for file in found.files)
        progress = Stage(f"checking {path} (data.verify)", size, unit="byte")
    log = PreparedLog(path, progress=progress)
    users = judged.draw_users(len(log.lengths), config.eval.users, seed=config.seed)
    if len(users) < len(log.lengths):
        _say_who_is_judged(len(users), len(log.lengths))
    some = log.sample(users, name=data.name, train_on_valid=data.train_on_valid)
    return Data(
        some,
        _split(some, data),
        log.offsets,
        sequences.training_ends(log.lengths, train_on_valid=data.train_on_valid),
        found.statistics,
        log.identity,
        prepared=log,
    )


def _split(log: Sequences, data: ml_collections.ConfigDict) -> Split:
    if data.split == "global_time":
        return sequences.global_time_split(
            log, at=data.split_time, train_on_valid=data.train_on_valid
        )
    return sequences.leave_one_out(log, train_on_valid=data.train_on_valid)


def _read_log(
    data: ml_collections.ConfigDict, known: Vocabulary
) -> tuple[Sequences, Oracle | None]:
    if data.name == "synthetic" and not data.path:
        return synthetic.generate(seed=0)
    frame = interactions.read(
        log_path(data),
        user_column=data.user_column,
        item_column=data.item_column,
        time_column=data.time_column,
    )
    log = sequences.build(
        frame,
        name=data.name,
        min_item_count=data.min_item_count,
        min_user_count=data.min_user_count,
        known=known,
    )
    return log, None


def _say_who_is_judged(some: int, users: int) -> None:
    say(f"judged on {some:,} of {users:,} users (eval.users)")


class Stage:
    """Says what is done, and every few seconds how far it is; called with how much more was."""

    SECONDS_BETWEEN_LINES = 5.0

    def __init__(self, name: str, total: int, *, unit: str = "row"):
        say(f"{name}: {total:,} {unit}s")
        self._progress = Progress(total=total, done=0, unit=unit)
        self._total, self._done, self._said = total, 0, time.monotonic()

    def __call__(self, more: int) -> None:
        self._done += more
        late = time.monotonic() - self._said > self.SECONDS_BETWEEN_LINES
        if late and self._done < self._total:
            self._progress.report(self._done)
            self._said = time.monotonic()
        if self._done >= self._total:
            self._progress.close()
