"""Files that are whole or not there, and one writer a folder."""

import signal
import subprocess
import sys

import polars as pl
import pytest

from bert4rec_jax.files import InUseError, only_writer, replacing, writing

HOLD = """
import pathlib, sys, time
from bert4rec_jax.files import only_writer
with only_writer(pathlib.Path(sys.argv[1]), files=()):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_file_is_replaced_whole_or_stays(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as unfinished:
        unfinished.write_text("old")
        assert not path.exists()

    def fail():
        with replacing(path) as unfinished:
            unfinished.write_text("ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_one_process_holds_a_folder_until_it_is_killed(tmp_path):
    for name in (".a.json.7.part", ".mine.7.part"):
        (tmp_path / name).touch()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InUseError, match="in use by another process"):
            only_writer(tmp_path, files=("a.json",)).__enter__()
        assert (tmp_path / ".a.json.7.part").exists()
        holder.send_signal(signal.SIGKILL)
    with only_writer(tmp_path, files=("a.json",)):
        assert not (tmp_path / ".a.json.7.part").exists()
        assert (tmp_path / ".mine.7.part").exists()


@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        ("csv", pl.read_csv),
        ("CSV", pl.read_csv),
        ("jsonl", pl.read_ndjson),
        ("parquet", pl.read_parquet),
        ("PARQUET", pl.read_parquet),
    ],
)
def test_frames_written_one_by_one_are_one_file(tmp_path, suffix, read):
    frames = [pl.DataFrame({"user": [f"u{i}", 'v"x,y'], "rank": [i, 1]}) for i in range(12)]
    with writing(tmp_path / f"out.{suffix}") as write:
        for frame in frames:
            write(frame)
    assert read(tmp_path / f"out.{suffix}").equals(pl.concat(frames))
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{suffix}"]
