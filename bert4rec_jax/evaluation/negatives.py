"""The negatives of the sampled protocols: drawn once for all users, written to a file and back."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from bert4rec_jax.data import panics
from bert4rec_jax.data.sequences import Cases, Sequences
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.inputs import SeenItems
from bert4rec_jax.files import replacing
from bert4rec_jax.sampling import sample_negatives
from bert4rec_jax.vocab import PAD

SAMPLED_PROTOCOLS = ("popularity_100", "uniform_100")
COUNT = 100


def draw_negatives(
    sequences: Sequences,
    seen: SeenItems,
    cases: Cases,
    *,
    protocol: str,
    seed: int,
    count: int = COUNT,
    batch_size: int = 256,
) -> np.ndarray:
    """Negatives of every case: never an item of the user's whole history, the later part included.

    Popularity is counted over all rows of the log, validation and test included, as the original
    does. A user's negatives depend on the seed, the protocol and the user's place in the log, and
    on nothing else: not on the batch, the order of the cases or the number of devices.

    Args:
        protocol: "popularity_100" or "uniform_100".

    Returns:
        int32 ids [cases, count], distinct within a row.

    Raises:
        UserError: a user has seen so much that fewer than `count` items are left.
    """
    counts = sequences.counts[1:]
    if protocol == "uniform_100":
        counts = np.ones_like(counts)
    if counts.sum() >= 2**31:
        raise UserError(
            f"negatives are drawn from at most 2**31 - 1 rows, and there are {counts.sum()}: set "
            "eval.protocols to ('full',)"
        )
    cumulative = jnp.asarray(np.cumsum(counts), jnp.int32)
    # Threefry whatever the default generator: the others draw other numbers under vmap.
    root = jax.random.key(seed, impl="threefry2x32")
    root = jax.random.fold_in(root, SAMPLED_PROTOCOLS.index(protocol))

    batches, places = [], sequences.places.astype(np.int32)
    for start in range(0, len(cases.users), batch_size):
        row = np.minimum(np.arange(start, start + batch_size), len(cases.users) - 1)
        users = cases.users[row]
        batches.append(_draw_batch(root, cumulative, places[users], seen.ever(users), count=count))
    negatives = np.concatenate(jax.device_get(batches))[: len(cases.users)]

    drawn = (negatives != PAD).sum(axis=1)
    if (drawn < count).any():
        case = int(np.argmax(drawn < count))
        raise UserError(
            f"user {sequences.users[cases.users[case]]}: {protocol} draws {count} items that the "
            f"user has not seen, and the catalogue has only {drawn[case]}: set "
            "eval.protocols to ('full',)"
        )
    return negatives


@functools.partial(jax.jit, static_argnames="count")
def _draw_batch(root, cumulative, places, seen, *, count):
    def draw(place, excluded):
        key = jax.random.fold_in(root, place)
        return sample_negatives(key, cumulative, excluded, count=count)

    return jax.vmap(draw)(places, seen)


def write_negatives(
    path: str | os.PathLike,
    sequences: Sequences,
    drawn: Mapping[tuple[str, str], tuple[Cases, np.ndarray]],
) -> None:
    """Writes a Parquet file by which any system can be judged on the same negatives.

    One row a case: `split`, `protocol`, `user`, `target` and `negatives`, a list in the order
    drawn; raw ids, as strings.

    Args:
        drawn: (split, protocol) -> the cases and their negatives, int32 [cases, count].
    """
    catalogue = pl.Series(sequences.vocab.items, dtype=pl.String)
    users = pl.Series(list(sequences.users), dtype=pl.String)
    frames = []
    for (split, protocol), (cases, negatives) in drawn.items():
        targets = sequences.targets(cases)
        frames.append(
            pl.DataFrame(
                {
                    "user": users.gather(cases.users),
                    "target": catalogue.gather(targets - 1),
                    "negatives": catalogue.gather(negatives.ravel() - 1)
                    .reshape(negatives.shape)
                    .arr.to_list(),
                }
            ).select(pl.lit(split).alias("split"), pl.lit(protocol).alias("protocol"), pl.all())
        )
    with replacing(path) as unfinished:
        pl.concat(frames).write_parquet(unfinished)


def read_negatives(
    path: str | os.PathLike,
    sequences: Sequences,
    seen: SeenItems,
    cases: Cases,
    *,
    split: str,
    protocol: str,
    count: int = COUNT,
) -> np.ndarray:
    """Negatives of every case from a file of `write_negatives`, or of another system.

    Returns:
        int32 ids [cases, count].

    Raises:
        UserError: the file is missing or unreadable, lacks a column or a user, names an item that
            is not in the catalogue, or gives a user the wrong number of items, one item twice or
            an item of the user's own history.
    """
    columns = ("split", "protocol", "user", "negatives")
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file of negatives")
    with panics.refusing(lambda reason: _unfit(path, f"not a readable Parquet file ({reason})")):
        table = pl.read_parquet(path)
    if missing := [name for name in columns if name not in table.columns]:
        raise _unfit(path, f"no column {missing[0]} ({', '.join(columns)} are needed)")
    if not isinstance(table["negatives"].dtype, pl.List):
        raise _unfit(path, "column negatives must hold a list of items in each row")
    table = table.filter(pl.col("split") == split, pl.col("protocol") == protocol)
    table = table.with_columns(pl.col("user").cast(pl.String))
    if table["user"].is_duplicated().any():
        twice = table["user"].filter(table["user"].is_duplicated())[0]
        raise _unfit(path, f"user {twice} has two rows for {split} {protocol}")

    users = pl.Series("user", [sequences.users[u] for u in cases.users], dtype=pl.String)
    table = users.to_frame().join(table, on="user", how="left", maintain_order="left")

    def refuse(bad: np.ndarray, what: str) -> None:
        if bad.any():
            raise _unfit(path, f"user {users[int(np.argmax(bad))]} {what}")

    lists = table["negatives"]
    refuse(lists.is_null().to_numpy(), f"has no negatives for {split} {protocol}")
    refuse((lists.list.len() != count).to_numpy(), f"does not have {count} negatives")
    flat = lists.explode().cast(pl.String).to_list()
    negatives = sequences.vocab.encode(flat).reshape(-1, count)
    refuse((negatives == PAD).any(axis=1), "has a negative that is not in the catalogue")
    ordered = np.sort(negatives, axis=1)
    refuse((ordered[:, 1:] == ordered[:, :-1]).any(axis=1), "has the same negative twice")
    for start in range(0, len(users), 1024):  # a bounded piece of [cases, count, seen] at a time
        rows = slice(start, start + 1024)
        known = _any_in(negatives[rows], seen.ever(cases.users[rows]))
        refuse(np.pad(known, (start, 0)), "has a negative from the user's own history")
    return negatives


def _unfit(path: str | os.PathLike, what: str) -> UserError:
    return UserError(f"{path}: {what}; mend it, or remove it to have negatives drawn anew")


def _any_in(items: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether a row of `items` [B, count] shares an item with the row of `others` [B, H]: [B]."""
    row = np.arange(len(items))[:, None]
    top = max(items.max(), others.max()) + 1
    return np.isin(row * top + items, row * top + others).any(axis=1)
