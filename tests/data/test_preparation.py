"""A prepared log is the log: the same users, ids, windows and digests, from any kind of source."""

import gzip
import itertools
import json
import shutil

import numpy as np
import polars as pl
import pytest

from bert4rec_jax.data import collecting, interactions, manifest, sequences, tally
from bert4rec_jax.data.batching import Batches, sliding_windows
from bert4rec_jax.data.identity import identify
from bert4rec_jax.data.judged import draw_users
from bert4rec_jax.data.preparation import prepare
from bert4rec_jax.data.prepared import PreparedLog
from bert4rec_jax.errors import UserError

FILTERS = {"min_item_count": 2, "min_user_count": 3}


@pytest.fixture(autouse=True)
def _in_small_pieces(monkeypatch):
    monkeypatch.setattr(collecting, "ROWS_AT_ONCE", 17)
    monkeypatch.setattr(collecting, "LISTS_AT_ONCE", 3)
    monkeypatch.setattr(tally, "_SETTLED_AT_LEAST", 5)


def random_log(seed=0) -> pl.DataFrame:
    """Equal times within a user, rare items, short users, all in the order of an open log."""
    rng = np.random.default_rng(seed)
    rows = 300
    return pl.DataFrame(
        {
            "user": rng.integers(0, 40, rows),
            "item": rng.zipf(1.3, rows) % 90,
            "time": rng.integers(0, 12, rows),
        }
    )


def as_lists(frame: pl.DataFrame) -> pl.DataFrame:
    ordered = frame.sort("time", maintain_order=True)
    return ordered.group_by("user", maintain_order=True).agg(items=pl.col("item"))


def write(frame: pl.DataFrame, kind: str, folder):
    """(the log as `kind`, the same as a file that is read into memory)."""
    plain = folder / "plain.csv"
    frame.write_csv(plain)
    if kind == "csv":
        return plain, plain
    if kind == "text":
        plain = folder / "plain.txt"
        frame.select("user", "item").write_csv(plain, separator=" ", include_header=False)
        return plain, plain
    if kind == "lists":
        lists = as_lists(frame)
        lists.explode("items").rename({"items": "item"}).write_csv(plain)
        frame = lists
    if kind == "strings":
        frame = frame.with_columns(
            pl.format("{}{}", pl.lit(name[0]), name).alias(name) for name in ("user", "item")
        )
        frame.write_csv(plain)
    shards = folder / "shards" / "date=2024-01-01"
    shards.mkdir(parents=True)
    for part in range(3):
        size = len(frame) // 3 + 1
        frame[part * size : (part + 1) * size].write_parquet(shards / f"part-{part}.parquet")
    (shards / "_SUCCESS").touch()
    return folder / "shards", plain


KINDS = ("csv", "text", "shards", "strings", "lists")


@pytest.fixture(params=KINDS)
def both(request, tmp_path):
    """(prepared, in memory) of one log."""
    path, plain = write(random_log(), request.param, tmp_path)
    prepare(path, tmp_path / "prepared", **FILTERS, shard_actions=40)
    frame = interactions.read(plain)
    return PreparedLog(tmp_path / "prepared"), sequences.build(frame, name="log", **FILTERS)


def test_users_items_and_orders_are_those_of_the_log(both):
    prepared, log = both
    whole = prepared.sample(np.arange(len(prepared.lengths)), name="log")
    assert len(prepared.manifest.shards) > 3
    assert whole.users == log.users
    assert whole.vocab == log.vocab
    np.testing.assert_array_equal(whole.items, log.items)
    np.testing.assert_array_equal(whole.offsets, log.offsets)
    assert prepared.manifest.statistics == pytest.approx(sequences.statistics(log))
    split = sequences.leave_one_out(log)
    assert prepared.identity == identify(log, split.test)
    np.testing.assert_array_equal(whole.counts, log.counts)
    for too in (False, True):
        ends = sequences.leave_one_out(log, train_on_valid=too).train_ends
        np.testing.assert_array_equal(
            prepared.train_counts(train_on_valid=too), sequences.train_counts(log, ends)
        )


def test_windows_are_read_by_their_places_in_the_log(both):
    prepared, log = both
    windows = sliding_windows(prepared.offsets, log.lengths, max_length=6, stride=2)
    batches = Batches(*windows, max_length=6, batch_size=16, devices=1, seed=3)
    for step in range(batches.steps_per_epoch + 1):
        starts, lengths = batches(step)
        for row, held, sizes in zip(
            prepared.read(starts, lengths, width=6), starts, lengths, strict=True
        ):
            expected = [log.items[a : a + n] for a, n in zip(held, sizes, strict=True)]
            expected = np.concatenate(expected)
            assert row.tolist() == [*expected.tolist(), *[0] * (6 - len(expected))]


def test_a_sample_knows_the_log_that_it_is_from(both):
    prepared, log = both
    users = draw_users(len(log.users), 7, seed=1)
    some = prepared.sample(users, name="log")
    assert len(set(users.tolist())) == 7
    assert some.users == tuple(log.users[user] for user in users)
    for place, user in enumerate(users):
        np.testing.assert_array_equal(some.history(place), log.history(user))
    np.testing.assert_array_equal(some.places, users)
    np.testing.assert_array_equal(some.counts, log.counts)


def test_shards_do_not_change_what_is_prepared(tmp_path):
    path, _ = write(random_log(), "csv", tmp_path)
    one = prepare(path, tmp_path / "one", **FILTERS)
    many = prepare(path, tmp_path / "many", **FILTERS, shard_actions=10)
    assert len(one.shards) == 1 < len(many.shards)
    assert (one.identity, one.vocabulary) == (many.identity, many.vocabulary)


@pytest.fixture
def prepared_folder(tmp_path):
    path, _ = write(random_log(), "csv", tmp_path)
    prepare(path, tmp_path / "prepared", **FILTERS, shard_actions=40)
    return tmp_path / "prepared"


def test_a_flipped_bit_is_named(prepared_folder):
    for name in ("items-00001.npy", "lengths-00002.npy", "users-00000.parquet", "items.parquet"):
        whole = (prepared_folder / name).read_bytes()
        damaged = bytearray(whole)
        damaged[len(whole) // 2] ^= 1
        (prepared_folder / name).write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{name}: is corrupt"):
            PreparedLog(prepared_folder, progress=lambda size: None)
        (prepared_folder / name).write_bytes(whole)
    PreparedLog(prepared_folder, progress=lambda size: None)


def test_a_cut_or_missing_file_is_named_without_reading_it(prepared_folder):
    file = prepared_folder / "items-00001.npy"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"items-00001\.npy: has \d+ bytes and not \d+"):
        PreparedLog(prepared_folder)
    file.unlink()
    with pytest.raises(UserError, match=r"items-00001\.npy: cannot be read"):
        PreparedLog(prepared_folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["statistics"].update(users=7), r"its shards have \d+ users and not the 7"),
        (lambda m: m["shards"].pop(), r"its shards have"),
        (lambda m: m["catalogue"].update(sha256="0"), r"its digest is not that of its files"),
        (lambda m: m.update(format="other"), r"is a 'other', not a"),
        (lambda m: m.pop("vocabulary"), r"is not a whole manifest"),
        (lambda m: m.update(vocabulary="0"), r"does not fit its shards"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(prepared_folder, change, words):
    path = prepared_folder / manifest.NAME
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match=words):
        PreparedLog(prepared_folder)


def test_counts_that_do_not_fit_the_arrays_are_refused(prepared_folder):
    """Two shards changed so that their sums stay."""
    path = prepared_folder / manifest.NAME
    found = json.loads(path.read_text())
    found["shards"][0]["users"] += 1
    found["shards"][1]["users"] -= 1
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match=r"lengths-00000\.npy: holds int32"):
        PreparedLog(prepared_folder)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"user": ["a", None], "item": [["x"], ["y"]]}, r"row 2: has no user"),
        ({"user": ["a", "b"], "item": [["x"], ["y", None]]}, r"row 2: has an item without"),
        ({"user": ["a", "b"], "item": [["x"], ["y", ""]]}, r"row 2: has an item without"),
        ({"user": [1.0, 2.0], "item": [[3.0], [float("nan")]]}, r"row 2: has an item without"),
        ({"user": [1.0, float("nan")], "item": [["x"], ["y"]]}, r"row 2: has no user"),
        ({"user": ["a", "a"], "item": [["x"], ["y"]]}, r"user a has two rows"),
        ({"user": ["a", None], "item": ["x", "y"]}, r"row 2: has no user"),
        ({"user": [1.0, float("nan")], "item": ["x", "y"]}, r"row 2: has no user"),
        ({"user": ["a", "b"], "item": ["x", None]}, r"row 2: has no item"),
        ({"user": ["a", "b"], "item": ["x", "y"], "time": [1, None]}, r"row 2: has no time"),
        ({"user": ["a", "b"], "item": ["x", "x"]}, r"1 items are left with min_item_count 0"),
    ],
)
def test_what_cannot_be_prepared_is_named_and_leaves_nothing(tmp_path, frame, words):
    pl.DataFrame(frame).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match=words):
        prepare(tmp_path / "log.parquet", tmp_path / "made", min_item_count=0)
    assert [file.name for file in tmp_path.iterdir()] == ["log.parquet"]


def test_a_second_row_of_too_few_items_is_a_second_row_all_the_same(tmp_path):
    frame = {"user": ["a", "b", "a"], "item": [["x", "y", "z"], ["x", "y", "z"], ["z", "x"]]}
    pl.DataFrame(frame).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match="user a has two rows"):
        prepare(tmp_path / "log.parquet", tmp_path / "made", min_user_count=3)


def test_a_malformed_line_is_named(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time\na,x,1\nb,y,later\n")
    with pytest.raises(UserError, match=r"line 3: the time 'later' is not a number"):
        prepare(tmp_path / "log.csv", tmp_path / "made")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", b"user,item\ru,a\ru,b\r"),  # ends of lines that nothing else has since 2001
        ("log.csv.gz", gzip.compress(b"user,item\n" + b"u,a\n" * 9999, mtime=0)[:-20]),
    ],
)
def test_the_file_that_cannot_be_read_is_named_and_not_the_folder_to_be_made(
    tmp_path, name, content
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: cannot be read .* is it damaged\?"):
        prepare(tmp_path / name, tmp_path / "made")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_later_files_of_a_folder_may_have_more_columns_and_narrower_ids(tmp_path):
    first = pl.DataFrame({"user": [1, 1, 2, 2], "item": [5, 6, 5, 6], "time": [1, 2, 3, 4]})
    more = {"user": [3, 3], "item": [6, 5], "time": [5, 6], "rating": [1.0, 2.0]}
    later = pl.DataFrame(more, schema_overrides={"user": pl.Int32})
    (tmp_path / "log").mkdir()
    first.write_parquet(tmp_path / "log" / "0.parquet")
    later.write_parquet(tmp_path / "log" / "1.parquet")
    made = prepare(tmp_path / "log", tmp_path / "made", min_item_count=0, min_user_count=1)
    assert made.statistics["users"] == 3


def test_an_interruption_at_any_stage_leaves_nothing(tmp_path):
    path, _ = write(random_log(), "csv", tmp_path)
    before = sorted(tmp_path.iterdir())
    reached = []
    for last in itertools.count(1):

        def stage(name, total, last=last):
            reached.append(name)
            if len(reached) == last:
                raise KeyboardInterrupt
            return lambda done: None

        reached.clear()
        try:
            prepare(path, tmp_path / "made", **FILTERS, stage=stage)
        except KeyboardInterrupt:
            assert sorted(tmp_path.iterdir()) == before
            continue
        break
    assert reached == ["counting items", "counting users", "sorting", "writing", "digesting"]
    with pytest.raises(UserError, match=r"made: exists already"):
        prepare(path, tmp_path / "made", **FILTERS)


def test_what_a_killed_process_left_is_removed(tmp_path):
    path, _ = write(random_log(), "csv", tmp_path)
    (tmp_path / f".made.{2**22 + 1}.part").mkdir()  # beyond the highest number of a process
    prepare(path, tmp_path / "made", **FILTERS)
    assert not list(tmp_path.glob(".made*"))


def test_a_folder_without_parquet_files_is_no_log(tmp_path):
    shutil.copytree(tmp_path, tmp_path / "log")
    with pytest.raises(UserError, match="holds no Parquet files"):
        prepare(tmp_path / "log", tmp_path / "made")
    with pytest.raises(UserError, match="is a folder: give a file, or train on what"):
        interactions.read(tmp_path / "log")
