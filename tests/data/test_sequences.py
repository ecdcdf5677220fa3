"""Filtering, order, numbering and splits, on logs small enough to work out by hand."""

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given

from bert4rec_jax.data import interactions
from bert4rec_jax.data.sequences import build, global_time_split, leave_one_out, statistics
from bert4rec_jax.errors import UserError
from bert4rec_jax.vocab import Vocabulary


def frame(rows) -> pl.DataFrame:
    """Rows of (user, item, time) or (user, item)."""
    schema = {"user": pl.String, "item": pl.String, "time": pl.Int64}
    return pl.DataFrame([(*row, None)[:3] for row in rows], schema, orient="row")


def histories(sequences) -> dict[str, list[str]]:
    return {
        user: sequences.vocab.decode(sequences.history(u)) for u, user in enumerate(sequences.users)
    }


def spelled(word: str) -> list[tuple[str, str]]:
    """One user's rows: "u:abc" is user u with items a, b, c."""
    user, items = word.split(":")
    return [(user, item) for item in items]


def log(*words):
    return build(frame([row for word in words for row in spelled(word)]), name="made up")


# Order and numbering


def test_each_user_is_sorted_by_time_and_equal_times_stay_in_file_order():
    rows = [
        ("u", "c", 5),
        ("v", "a", 9),
        ("u", "a", 5),
        ("u", "b", 1),
        ("v", "b", 9),
        ("u", "d", 5),
    ]
    sequences = build(frame(rows), name="made up")
    assert histories(sequences) == {"u": ["b", "c", "a", "d"], "v": ["a", "b"]}
    assert sequences.times.tolist() == [1, 5, 5, 5, 9, 9]


def test_without_times_the_file_order_is_kept():
    rows = [("u", "c"), ("v", "a"), ("u", "a"), ("v", "b"), ("u", "b")]
    sequences = build(frame(rows), name="made up")
    assert histories(sequences) == {"u": ["c", "a", "b"], "v": ["a", "b"]}
    assert sequences.times is None


def test_ids_fall_with_frequency_and_ties_go_to_the_first_in_the_file():
    sequences = log("u:zyxy", "v:xyw")
    assert sequences.vocab.items == ("y", "x", "z", "w")
    assert sequences.counts.tolist() == [0, 3, 2, 1, 1]


def test_arrays_have_the_contracts_types():
    sequences = build(frame([("u", "a", 1), ("u", "b", 2), ("v", "b", 1)]), name="made up")
    assert sequences.items.dtype == np.int32
    assert sequences.offsets.dtype == np.int64
    assert sequences.offsets.tolist() == [0, 2, 3]
    assert sequences.lengths.dtype == np.int64
    assert sequences.lengths.tolist() == [2, 1]
    assert sequences.users == ("u", "v")
    assert np.shares_memory(sequences.history(1), sequences.items)


@given(st.lists(st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcde"), st.integers(0, 3))))
def test_build_equals_a_plain_loop(rows):
    if len({item for _, item, _ in rows}) < 2:
        return
    sequences = build(frame(rows), name="made up")
    expected: dict[str, list] = {}
    for user, item, time in rows:
        expected.setdefault(user, []).append((time, item))
    # Python's sort is stable, and Python's dicts remember the order of the first appearance.
    assert histories(sequences) == {
        user: [item for _, item in sorted(history, key=lambda row: row[0])]
        for user, history in expected.items()
    }
    assert list(histories(sequences)) == list(expected)


# Filters


def test_items_are_filtered_first_and_users_on_what_is_left_once():
    # a and b have 3 rows, c has 2. Without c, w falls to 1 row and goes, and then b has 2 rows
    # only: it stays, since each filter passes once.
    words = ["u:abc", "v:aab", "w:cb"]
    rows = [row for word in words for row in spelled(word)]
    sequences = build(frame(rows), name="made up", min_item_count=3, min_user_count=2)
    assert histories(sequences) == {"u": ["a", "b"], "v": ["a", "a", "b"]}
    assert sequences.counts.tolist() == [0, 3, 2]


def test_users_can_be_filtered_alone():
    rows = spelled("u:abc") + spelled("v:d")
    sequences = build(frame(rows), name="made up", min_user_count=2)
    assert histories(sequences) == {"u": ["a", "b", "c"]}
    assert len(sequences.vocab) == 3


def test_too_little_left_is_a_clear_error():
    with pytest.raises(UserError) as raised:
        build(frame(spelled("u:abc")), name="tiny", min_item_count=5, min_user_count=4)
    assert str(raised.value) == (
        "tiny: 0 of 3 rows, 0 users and 0 items are left with min_item_count 5 and "
        "min_user_count 4; 2 items are needed: lower data.min_item_count or data.min_user_count"
    )


# Statistics


def test_statistics_by_hand():
    sequences = log("u:abac", "v:a", "w:ab")
    assert statistics(sequences) == {
        "users": 3,
        "items": 3,
        "actions": 7,
        "length_mean": pytest.approx(7 / 3),
        "length_min": 1,
        "length_median": 2.0,
        "length_max": 4,
        "density": pytest.approx(7 / 9),
        "repeats": 1,
    }


@pytest.mark.parametrize(
    ("file", "min_item_count", "table_1"),
    [("ml-1m", 5, (6_040, 3_416, 999_611)), ("beauty", 1, (40_226, 54_542, 353_962))],
)
def test_statistics_are_those_of_the_papers_table_1(shared_data, file, min_item_count, table_1):
    frame = interactions.read(shared_data / f"{file}.txt.gz")
    counted = statistics(build(frame, name=file, min_item_count=min_item_count, min_user_count=5))
    assert (counted["users"], counted["items"], counted["actions"]) == table_1
    assert counted["length_min"] >= 5


# Leave-one-out


def test_leave_one_out_holds_out_the_last_two():
    sequences = log("u:abcd", "v:bca")
    split = leave_one_out(sequences)
    assert split.train_ends.tolist() == [2, 1]
    assert targets(sequences, split.valid) == {"u": "c", "v": "c"}
    assert targets(sequences, split.test) == {"u": "d", "v": "a"}
    assert (split.test.users.dtype, split.test.ends.dtype) == (np.int32, np.int64)


def test_the_test_input_contains_the_validation_item():
    sequences = log("u:abcd")
    (user,), (end,) = leave_one_out(sequences).test.users, leave_one_out(sequences).test.ends
    assert sequences.vocab.decode(sequences.history(user)[:end]) == ["a", "b", "c"]


def test_validation_items_can_train_as_in_the_original():
    split = leave_one_out(log("u:abcd", "v:ab"), train_on_valid=True)
    assert split.train_ends.tolist() == [3, 2]
    assert split.valid.ends.tolist() == [2]


def test_users_with_one_or_two_items_only_train():
    split = leave_one_out(log("u:a", "v:ab", "w:abc"))
    assert split.train_ends.tolist() == [1, 2, 1]
    assert split.valid.users.tolist() == split.test.users.tolist() == [2]


def test_nobody_to_evaluate_is_a_clear_error():
    with pytest.raises(UserError, match=r"no user has 3 or more rows \(the longest has 2\)"):
        leave_one_out(log("u:ab", "v:a"))


def targets(sequences, cases) -> dict[str, str]:
    return {
        sequences.users[user]: sequences.vocab.decode([sequences.history(user)[end]])[0]
        for user, end in zip(cases.users, cases.ends, strict=True)
    }


# Split at a moment

TIMED = [
    *[("early", item, time) for item, time in zip("abc", [1, 2, 3], strict=True)],
    *[("both", item, time) for item, time in zip("abcd", [1, 4, 5, 6], strict=True)],
    *[("late", item, time) for item, time in zip("ab", [5, 6], strict=True)],
    *[("short", item, time) for item, time in zip("cd", [4, 9], strict=True)],
]


def test_a_moment_divides_the_rows():
    sequences = build(frame(TIMED), name="made up")
    split = global_time_split(sequences, at=5)
    assert targets(sequences, split.test) == {"both": "c", "short": "d"}
    assert targets(sequences, split.valid) == {"early": "c", "both": "b"}
    assert split.train_ends.tolist() == [2, 1, 0, 1]
    assert global_time_split(sequences, at=5, train_on_valid=True).train_ends.tolist() == [
        *[3, 2, 0, 1]
    ]


@given(
    st.lists(st.tuples(st.sampled_from("uvwx"), st.sampled_from("abc"), st.integers(0, 9))),
    st.integers(1, 9),
)
def test_no_training_row_is_as_late_as_any_test_item(rows, at):
    if len({item for _, item, _ in rows}) < 2:
        return
    sequences = build(frame(rows), name="made up")
    try:
        split = global_time_split(sequences, at=at)
    except UserError:
        return
    starts = sequences.offsets[:-1]
    for user, end in enumerate(split.train_ends):
        assert (sequences.times[starts[user] : starts[user] + end] < at).all()
    assert (sequences.times[starts[split.test.users] + split.test.ends] >= at).all()
    assert (sequences.times[starts[split.valid.users] + split.valid.ends] < at).all()
    for cases in (split.valid, split.test):
        assert (cases.ends >= 1).all()
    assert (split.train_ends[split.valid.users] <= split.valid.ends).all()


def test_a_log_without_times_cannot_be_split_at_one():
    with pytest.raises(UserError, match="has no times"):
        global_time_split(log("u:abc"), at=1)


@pytest.mark.parametrize("at", [0, 100])
def test_a_moment_outside_the_log_is_a_clear_error(at):
    with pytest.raises(UserError, match="choose one within 1 to 9"):
        global_time_split(build(frame(TIMED), name="made up"), at=at)


def test_a_known_catalogue_keeps_its_ids_and_new_items_come_behind_by_frequency():
    """Known: c, gone, a. Of the new ones d has three rows, b two, e one and is filtered."""
    rows = [("u", item, i) for i, item in enumerate("bdacdbde")]
    known = Vocabulary(("c", "gone", "a"))
    found = build(frame(rows), name="later", min_item_count=2, known=known)
    assert found.vocab.items == ("c", "gone", "a", "d", "b")
    assert found.history(0).tolist() == [5, 4, 3, 1, 4, 5, 4]
