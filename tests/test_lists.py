"""Lists of items, and their titles, in the formats that docs and README name."""

import polars as pl
import pytest

from bert4rec_jax.errors import UserError
from bert4rec_jax.lists import read_items, read_titles
from bert4rec_jax.vocab import Vocabulary

VOCAB = Vocabulary(("3", "a b", "7"))


def test_a_text_file_has_one_item_a_line(tmp_path, capsys):
    (tmp_path / "items.txt").write_text("\ufeff7\n\n a b \nunknown\n")
    assert read_items(str(tmp_path / "items.txt"), VOCAB) == ["7", "a b", "unknown"]
    said = capsys.readouterr().err
    assert said.endswith("items.txt: 1 of 3 items are not known to the model\n")


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        ("parquet", pl.DataFrame.write_parquet),
        ("csv", pl.DataFrame.write_csv),
        ("tsv", lambda frame, path: frame.write_csv(path, separator="\t")),
    ],
)
@pytest.mark.parametrize("items", [[7, 3], ["7", "a b"]])
def test_a_table_has_them_in_its_column_item(tmp_path, suffix, write, items):
    path = tmp_path / f"items.{suffix}"
    write(pl.DataFrame({"why": ["x", "y"], "item": items}), path)
    assert read_items(str(path), VOCAB) == [str(item) for item in items]


def test_titles_are_by_the_item_as_text(tmp_path):
    path = tmp_path / "titles.parquet"
    pl.DataFrame({"title": ["Seven", "Three"], "item": [7, 3]}).write_parquet(path)
    assert read_titles(str(path), VOCAB) == {"7": "Seven", "3": "Three"}


def test_a_table_without_the_column_is_refused_by_name(tmp_path):
    path = tmp_path / "items.csv"
    pl.DataFrame({"movie": ["7"]}).write_csv(path)
    with pytest.raises(UserError, match=r"items\.csv.*item"):
        read_items(str(path), VOCAB)


def test_a_list_of_which_the_model_knows_nothing_is_refused(tmp_path):
    path = tmp_path / "items.txt"
    path.write_text("x\ny\n")
    with pytest.raises(UserError, match="none of its 2 items"):
        read_items(str(path), VOCAB)
    pl.DataFrame({"item": ["x"], "title": ["X"]}).write_csv(tmp_path / "titles.csv")
    with pytest.raises(UserError, match=r"titles\.csv: none of its 1 items"):
        read_titles(str(tmp_path / "titles.csv"), VOCAB)
