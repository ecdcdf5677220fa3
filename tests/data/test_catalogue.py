"""A catalogue as a file, and other logs in its ids."""

import numpy as np
import polars as pl
import pytest

from bert4rec_jax.data import interactions, sequences
from bert4rec_jax.data.catalogue import read_catalogue, write_catalogue
from bert4rec_jax.errors import UserError
from bert4rec_jax.vocab import Vocabulary

VOCAB = Vocabulary(("10", "x y", "Ω"))


def test_what_is_written_is_read_back(tmp_path):
    write_catalogue(tmp_path / "items.parquet", VOCAB, np.array([0, 7, 5, 5]))
    found = read_catalogue(tmp_path / "items.parquet")
    assert found.vocab == VOCAB
    assert found.vocab.digest == VOCAB.digest
    assert found.counts.tolist() == [0, 7, 5, 5]
    assert found.retired.tolist() == [False, False, False]
    retired = np.array([False, True, False])
    write_catalogue(tmp_path / "items.parquet", VOCAB, np.array([0, 7, 5, 5]), retired)
    assert read_catalogue(tmp_path / "items.parquet").retired.tolist() == retired.tolist()


def test_one_written_before_items_could_retire_has_none_that_are(tmp_path):
    pl.DataFrame({"item": ["a", "b"], "rows": [2, 1]}).write_parquet(tmp_path / "items.parquet")
    assert read_catalogue(tmp_path / "items.parquet").retired.tolist() == [False, False]


def test_a_missing_file_and_another_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"items\.parquet: no such file; training writes it"):
        read_catalogue(tmp_path / "items.parquet")
    pl.DataFrame({"user": ["a"]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"other\.parquet: not a run's catalogue"):
        read_catalogue(tmp_path / "other.parquet")
    frame = pl.DataFrame({"item": ["a", "b"], "rows": [2, 1], "retired": [True, None]})
    frame.write_parquet(tmp_path / "holes.parquet")
    with pytest.raises(UserError, match=r"holes\.parquet: .*values are missing"):
        read_catalogue(tmp_path / "holes.parquet")


def test_histories_of_another_log_are_in_time_order_and_users_without_known_items_stay(tmp_path):
    frame = pl.DataFrame(
        {
            "user": ["b", "a", "b", "c", "b", "a"],
            "item": ["Ω", "new", "10", "new", "new", "x y"],
            "time": [3, 1, 2, 1, 1, 9],
        }
    )
    frame.write_parquet(tmp_path / "log.parquet")
    frame = interactions.read(tmp_path / "log.parquet", vocab=VOCAB)
    found, unknown = sequences.encode(frame, VOCAB, name="other")
    assert unknown == 3
    assert found.users == ("b", "a", "c")
    assert [found.history(user).tolist() for user in range(3)] == [[1, 3], [2], []]
    assert found.vocab is VOCAB


def test_without_times_the_order_of_the_file_counts(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\na,Ω\na,10\nb,no\na,Ω\n")
    frame = interactions.read(tmp_path / "log.csv", vocab=VOCAB)
    found, _ = sequences.encode(frame, VOCAB, name="other")
    assert found.users == ("a", "b")
    assert found.history(0).tolist() == [3, 1, 3]


def test_a_row_without_an_item_is_malformed_and_not_one_whose_item_is_unknown(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\na,Ω\na,\n")
    with pytest.raises(UserError, match="line 3: has no item"):
        interactions.read(tmp_path / "log.csv", vocab=VOCAB)
