"""Every format gives the same rows; every fault gives one line that says where."""

import datetime
import gzip

import polars as pl
import pytest

from bert4rec_jax.data import interactions
from bert4rec_jax.errors import UserError

# Ids are strings even where they look like numbers; the last row repeats the first pair.
ROWS = [("7", "042", 30), ("x-9", "b:c", 10), ("7", "a b", 20), ("7", "042", 40)]
SIMPLE = [("7", "042", 30), ("x-9", "bc", 10), ("7", "042", 40)]

CSV = 'userId,movieId,rating,timestamp\n7,042,5,30\nx-9,b:c,1,10\n7,"a b",2,20\n7,042,5,40\n'
TSV = CSV.replace(",", "\t")
INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "7\t042\t5\t30\nx-9\tb:c\t1\t10\n7\ta b\t2\t20\n7\t042\t5\t40\n"
)


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.fixture
def log(tmp_path):
    return lambda name, text: write(tmp_path / name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.csv", CSV),
        ("log.tsv", TSV),
        ("log.inter", INTER),
        ("named-otherwise.txt", CSV),
        ("no-suffix", TSV),
        ("recbole.txt", INTER),
        ("windows.csv", CSV.replace("\n", "\r\n")),
        ("no-newline-at-the-end.csv", CSV[:-1]),
        ("byte-order-mark.csv", "\ufeff" + CSV),
        ("blank-lines.csv", CSV + "\n\n"),
        ("blank-line-within.csv", CSV.replace("x-9", "\nx-9")),
    ],
)
def test_text_with_a_header(log, name, text):
    frame = interactions.read(log(name, text))
    assert frame.schema == {"user": pl.String, "item": pl.String, "time": pl.Int64}
    assert frame.rows() == ROWS


@pytest.mark.parametrize("name", ["ratings.dat", "ratings", "ratings.txt"])
def test_grouplens_colons(log, name):
    text = "7::042::5::30\nx-9::bc::1::10\n7::042::5::40\n"
    frame = interactions.read(log(name, text))
    assert frame.schema == {"user": pl.String, "item": pl.String, "time": pl.Int64}
    assert frame.rows() == SIMPLE


@pytest.mark.parametrize("separator", [" ", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_user_item_text_has_no_times(log, separator, end):
    text = end.join(f"{user}{separator}{item}" for user, item, _ in SIMPLE) + end
    frame = interactions.read(log("log.txt", text))
    assert frame.schema == {"user": pl.String, "item": pl.String, "time": pl.Int64}
    assert frame.rows() == [(user, item, None) for user, item, _ in SIMPLE]


def test_user_item_text_may_have_colons_in_ids(log):
    assert interactions.read(log("log.txt", "u:1 i:1\nu:1 i:2\n")).rows() == [
        ("u:1", "i:1", None),
        ("u:1", "i:2", None),
    ]


def test_parquet(tmp_path):
    path = tmp_path / "log.parquet"
    frame = pl.DataFrame({"user_id": [2, 1], "item": ["a", "b"], "time": [5, 4]})
    frame.write_parquet(path)
    assert interactions.read(path).rows() == [("2", "a", 5), ("1", "b", 4)]
    frame.drop("time").write_parquet(path)
    assert interactions.read(path).rows() == [("2", "a", None), ("1", "b", None)]


def test_parquet_dates_become_microseconds(tmp_path):
    moment = datetime.datetime(1970, 1, 1, 0, 0, 1, 500_000)
    frame = pl.DataFrame({"user": ["u"], "item": ["a"], "time": [moment]})
    frame.write_parquet(tmp_path / "log.parquet")
    assert interactions.read(tmp_path / "log.parquet").rows() == [("u", "a", 1_500_000)]


@pytest.mark.parametrize(("name", "text"), [("log.csv", CSV), ("log.inter", INTER)])
def test_compressed_files_read_the_same(tmp_path, name, text):
    with gzip.open(tmp_path / f"{name}.gz", "wt", encoding="utf-8", newline="") as file:
        file.write(text)
    assert interactions.read(tmp_path / f"{name}.gz").rows() == ROWS
    # Polars can compress as well, and writes a frame of whole lines as the lines they are.
    lines = pl.DataFrame({"line": text.splitlines()})
    lines.write_csv(
        tmp_path / f"{name}.zst", include_header=False, quote_style="never", compression="zstd"
    )
    assert interactions.read(tmp_path / f"{name}.zst").rows() == ROWS


def test_columns_can_be_named(log):
    path = log("log.csv", "who,what,when,user\nu,a,3,5\n")
    frame = interactions.read(path, user_column="who", item_column="what", time_column="when")
    assert frame.rows() == [("u", "a", 3)]


def test_a_log_without_a_time_column_is_in_time_order_already(log):
    assert interactions.read(log("log.csv", "user,item\nu,a\n")).rows() == [("u", "a", None)]


def test_times_with_fractions_are_floats(log):
    frame = interactions.read(log("log.csv", "user,item,time\nu,a,3\nu,b,1.5e0\n"))
    assert frame["time"].to_list() == [3.0, 1.5]


def test_long_integers_stay_exact(log):
    nanoseconds = 1_700_000_000_123_456_789
    frame = interactions.read(log("log.csv", f"user,item,time\nu,a,{nanoseconds}\n"))
    assert frame["time"].to_list() == [nanoseconds]


def test_fields_that_are_not_read_may_be_missing(log):
    frame = interactions.read(log("log.csv", "user,item,rating\nu,a\nu,b,5\nu,c,\n"))
    assert frame["item"].to_list() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("empty.csv", "", "is empty"),
        ("header-only.csv", "user,item,time\n", "holds no interactions"),
        ("blank.txt", "\n\n", "line 1 is blank"),
        ("log.csv", "user,rating,time\nu,1,2\n", "no item column among user, rating, time; set"),
        ("log.txt", "what,is,this\n1,2,3\n", "no user column among what, is, this"),
        ("prose.txt", "Once upon a time\n", "unknown format, line 1 is 'Once upon a time'"),
        ("log.json", '{"user": 1}\n', "unknown format"),
        ("log.jsonl", '{"user": 1, "item": 2, "time": 3}\n', "unknown format"),
        ("log.txt", "1 2\n3\n4 5\n", "line 2: has no item"),
        ("log.txt", "1 2\n 3\n4 5\n", "line 2: has no user"),
        ("log.txt", "1 2\n\n3 4 5\n", "line 3: has 3 fields where 2 are expected"),
        ("r.dat", "1::2::3::4\n1::2::3\n", "line 2: has no time"),
        ("r.dat", "1::2::3::4\n1::2::3::x\n", "line 2: the time 'x' is not a number"),
        ("r.dat", "1::2::3::4\n1::2::3::4::5\n", "line 2: has 9 fields where 7"),
        ("log.csv", "user,item,time\nu,a,1\nu,,2\n", "line 3: has no item"),
        ("log.csv", '"user","item"\n"u","a"\n"u",""\n', "line 3: has no item"),
        ("log.csv", "user,item,time\nu,a,1\nu,b,٣٤\n", "line 3: the time '٣٤' is not a number"),
        ("log.csv", "user,item,time\nu,a,1\nu,b,1e400\n", "line 3: the time '1e400' is not a"),
        ("log.csv", "user,item,time\nu,a,1\nu,b,2014-07-01\n", "line 3: the time '2014-07-01'"),
        ("log.csv", "user,item,time\nu,a,1.5\nu,b,nan\n", "line 3: the time 'nan'"),
        ("log.csv", "user,item,time\nu,a,1.5\nu,b,1_000\n", "line 3: the time '1_000'"),
        ("log.csv", "user,item,time\nu,a,1\nu,b,\n", "line 3: has no time"),
        ("log.csv", 'user,item,time\n"u\nv",a,1\nu,b,x\n', "line 4: the time 'x'"),
        ("log.csv", "user,item,time\nu,a,1\nu,b,2,3,4\n", "line 3: has 5 fields where 3"),
        ("log.csv", "user,title,item\nu,A,1\nu,B, part 2,2\n", "line 3: has 4 fields where 3"),
        ("log.inter", "user_id:token\titem_id:token\nu\n", "line 2: has no item"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file_and_the_place(log, name, text, says):
    path = log(name, text)
    with pytest.raises(UserError, match=says) as raised:
        interactions.read(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_named_column_must_be_there(log):
    with pytest.raises(UserError, match=r"no column 'when' among user, item, time; set data.time"):
        interactions.read(log("log.csv", "user,item,time\nu,a,1\n"), time_column="when")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.csv: does not exist; name a log file"):
        interactions.read(tmp_path / "nowhere.csv")
    with pytest.raises(
        UserError, match="is a folder: give a file, or train on what --mode=prepare makes of its"
    ):
        interactions.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("log.csv.gz", gzip.compress(b"user,item\n" + b"u,a\n" * 9999, mtime=0)[:-20], "damaged"),
        ("log.csv.gz", b"user,item\nu,a\n", "is not .gz data"),
        ("log.csv.zst", b"user,item\nu,a\n", "is not .zst data"),
        ("log.parquet", b"PAR1 and no more", "damaged"),
        ("log.parquet", b"user,item\nu,a\n", "damaged"),
        ("ml-1m.zip", b"PK\x03\x04 and so on", "zip archive; unpack it"),
        ("log.txt", b"1 2\n3 \xff\xfe\n", "utf-?8"),
        ("log.txt", b"\xff\xfe1 2\n", "utf-?8"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as raised:
        interactions.read(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ({"item": ["a", None]}, "row 2: column 'item' has no value"),
        ({"item": [1.0, float("nan")]}, "row 2: column 'item' has no value"),
        ({"item": ["a", ""]}, "row 2: column 'item' has no value"),
        ({"time": [1.0, float("nan")]}, "row 2: column 'time' has no value"),
        ({"time": ["noon", "later"]}, "time column 'time' holds String"),
        ({"item": [["a"], ["b"]]}, "holds a list of items in a row: give one with"),
    ],
)
def test_faults_in_parquet_are_named(tmp_path, column, says):
    whole = {"user": ["u", "u"], "item": ["a", "b"], "time": [1, 2]}
    pl.DataFrame(whole | column).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match=says) as raised:
        interactions.read(tmp_path / "log.parquet")
    assert "\n" not in str(raised.value)
