"""The digests: blind to names and to the order of users, not to the order of anybody's items."""

import dataclasses
import hashlib

import numpy as np
import polars as pl
import pytest

from bert4rec_jax.data import interactions
from bert4rec_jax.data.identity import CANONICAL, Identity, identify, verdict
from bert4rec_jax.data.sequences import build, leave_one_out
from bert4rec_jax.vocab import Vocabulary

SCHEMA = {"user": pl.String, "item": pl.String, "time": pl.Int64}


def random_log(users=60, items=30, seed=0) -> dict[str, list[str]]:
    rng = np.random.default_rng(seed)
    return {
        f"u{u}": [f"i{i}" for i in rng.zipf(1.5, rng.integers(3, 20)) % items] for u in range(users)
    }


def identity_of(log: dict[str, list[str]]) -> Identity:
    rows = [(user, item, None) for user, history in log.items() for item in history]
    sequences = build(pl.DataFrame(rows, SCHEMA, orient="row"), name="made up")
    return identify(sequences, leave_one_out(sequences).test)


def swapped(log, user, i) -> dict[str, list[str]]:
    history = list(log[user])
    history[i], history[i + 1] = history[i + 1], history[i]
    return log | {user: history}


@pytest.mark.parametrize("seed", range(5))
def test_renaming_and_the_order_of_users_change_nothing(seed):
    log = random_log(seed=seed)
    rng = np.random.default_rng(seed + 100)
    users, items = rng.permutation(60), rng.permutation(30)
    renamed = {
        f"user {users[int(user[1:])]}": [f"item {items[int(item[1:])]}" for item in log[user]]
        for user in rng.permutation(list(log))
    }
    assert identity_of(renamed) == identity_of(log)


def test_users_and_items_that_are_alike_do_not_depend_on_their_order():
    # All users have the same length, all items one row: signatures are equal throughout, and a
    # numbering of ties by order of appearance would tell these two apart.
    assert identity_of({"u": ["a", "b", "c"], "v": ["d", "e", "f"]}) == identity_of(
        {"v": ["f", "d", "e"], "u": ["c", "a", "b"]}
    )


def test_any_two_neighbours_swapped_change_the_digest():
    log = random_log()
    known = identity_of(log).digest
    for user, history in log.items():
        for i in range(len(history) - 1):
            same = history[i] == history[i + 1]
            assert (identity_of(swapped(log, user, i)).digest == known) == same, (user, i)


def test_the_test_digest_sees_the_test_items_only():
    log = random_log()
    known = identity_of(log)
    user = next(u for u, h in log.items() if len(h) > 5 and len(set(h[-3:])) == 3)
    earlier, later = identity_of(swapped(log, user, -3)), identity_of(swapped(log, user, -2))
    assert earlier.test_digest == known.test_digest
    assert earlier.digest != known.digest
    assert later.test_digest != known.test_digest


def test_a_lost_row_changes_both():
    log = random_log()
    known, lost = identity_of(log), identity_of(log | {"u7": log["u7"][1:]})
    assert lost.digest != known.digest
    assert lost.test_digest != known.test_digest


def slow_digest(log: dict[str, list[str]]) -> str:
    """The definition, with Python's own integers and names in place of numbers."""

    def mix(x):
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    rows = [(user, i, item) for user, history in log.items() for i, item in enumerate(history)]
    users = {user: len(history) for user, history in log.items()}
    for _ in range(3):
        items = dict.fromkeys((item for _, _, item in rows), 0)
        for user, i, item in rows:
            items[item] = (items[item] + mix(mix(users[user]) + mix(i))) % 2**64
        users = dict.fromkeys(users, 0)
        for user, i, item in rows:
            users[user] = (users[user] + mix(mix(items[item]) + mix(i))) % 2**64
    signatures = b"".join(user.to_bytes(8, "little") for user in sorted(users.values()))
    return hashlib.sha256(signatures).hexdigest()


def test_the_digest_is_the_one_defined_on_every_machine_and_version():
    log = random_log()
    assert identity_of(log).digest == slow_digest(log)


@pytest.mark.parametrize(("name", "min_item_count"), [("ml-1m", 5), ("beauty", 1)])
def test_the_shared_files_are_canonical_and_a_copy_with_another_tie_order_is_not(
    shared_data, name, min_item_count
):
    sequences = build(
        interactions.read(shared_data / f"{name}.txt.gz"),
        name=name,
        min_item_count=min_item_count,
        min_user_count=5,
    )
    test = leave_one_out(sequences).test
    identity = identify(sequences, test)
    assert (identity.digest, identity.test_digest) == CANONICAL[name]
    assert identity.canonical == name
    assert verdict(name, identity) == f"canonical {name}"

    items = sequences.items.copy()
    items[:2] = items[1::-1]
    other = identify(dataclasses.replace(sequences, items=items), test)
    assert other.canonical is None
    assert other.test_digest == identity.test_digest
    assert verdict(name, other).startswith(f"not the canonical {name} (its test items")


def test_the_verdict_of_other_data():
    assert verdict("ml-1m", Identity("x", "y", None)) == "not the canonical ml-1m"
    assert verdict("my shop", Identity("x", "y", None)) == "no canonical version to compare with"
    assert verdict("my shop", Identity("x", "y", "beauty")) == "canonical beauty"


def test_grouplens_rows_with_equal_times_give_the_canonical_sequences(tmp_path):
    """A prepared `user item` log and the raw ratings it came from are one data set."""
    rng = np.random.default_rng(3)
    canonical, ratings = {}, []
    for user in range(1, 41):
        history = rng.permutation(12)[: rng.integers(5, 12)]
        times = np.sort(rng.integers(0, 4, len(history)))  # nearly all of them shared by several
        canonical[str(user)] = [str(item) for item in history]
        # Raw files are in another order, yet equal times are in the order that counts.
        for group in rng.permutation(4):
            for item, time in zip(history, times, strict=True):
                if time == group:
                    ratings.append((7000 - user, 300 + 7 * item, 978300760 + time))
    ratings.append((6999, 9999, 978300761))  # a rare item, which the filter drops
    path = tmp_path / "ratings.dat"
    path.write_text("".join(f"{u}::{i}::4::{t}\n" for u, i, t in ratings))
    raw = interactions.read(path)
    built = build(raw, name="ml-1m", min_item_count=5, min_user_count=5)
    assert [
        [(int(i) - 300) // 7 for i in built.vocab.decode(built.history(u))] for u in range(40)
    ] == [[int(item) for item in history] for history in canonical.values()]
    identity = identify(built, leave_one_out(built).test)
    assert identity == identity_of(dict(reversed(canonical.items())))

    # The preparation that is so common: ties in the order of the item ids.
    tied = build(
        raw.sort("time", pl.col("item").cast(pl.Int64)),
        name="ml-1m",
        min_item_count=5,
        min_user_count=5,
    )
    other = identify(tied, leave_one_out(tied).test)
    assert tied.counts.sum() == built.counts.sum()
    assert other.digest != identity.digest
    assert other.test_digest != identity.test_digest


def test_items_that_are_kept_without_a_row_change_nothing():
    frame = pl.DataFrame(
        {"user": ["a", "a", "a", "b", "b", "b"], "item": [*"xyzyzx"], "time": [*range(6)]}
    )
    log = build(frame, name="log")
    known = Vocabulary(("gone", *log.vocab.items, "gone too"))
    grown = build(frame, name="log", known=known)
    found = [identify(one, leave_one_out(one).test) for one in (log, grown)]
    assert found[0] == found[1]
