"""--mode=recommend, one process a command, on a tiny log."""

import os
import signal
import time

import polars as pl
import pytest

from bert4rec_jax import Recommender
from tests.command.program import run, start


def test_recommendations_for_the_users_of_the_log(trained, log, cache, tmp_path):
    workdir, _ = trained
    deny = tmp_path / "deny.txt"
    deny.write_text("\ufeffi5\ni6\n", encoding="utf-8")  # as some editors begin a file
    done = run(
        cache, "--mode=recommend", f"--workdir={workdir}", f"--config.data.path={log}",
        "--top_k=3", f"--deny={deny}", f"--output={tmp_path / 'out.parquet'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found.columns == ["user", "rank", "item", "score", "popular"]
    assert found["user"].to_list() == [f"u{user}" for user in range(40) for _ in range(3)]
    assert found["rank"].to_list() == [0, 1, 2] * 40
    assert not found["popular"].any()
    assert (found.group_by("user").agg(pl.col("score").is_sorted(descending=True)))["score"].all()
    had = pl.read_csv(log).select("user", "item")
    assert found.join(had, on=["user", "item"]).is_empty()
    assert not set(found["item"]) & {"i5", "i6"}


def test_recommendations_for_a_file_of_strangers_without_the_log(trained, cache, tmp_path):
    """x has known items, y only unknown ones; the training log is out of reach."""
    workdir, _ = trained
    path = tmp_path / "new.csv"
    path.write_text("user,item\nx,i1\nx,nothing\nx,i2\ny,nothing\n")
    titles = tmp_path / "titles.csv"
    titles.write_text("item,title\n" + "".join(f"i{i},Film {i}\n" for i in range(100)))
    done = run(
        cache, "--mode=recommend", f"--workdir={workdir}", f"--input={path}", "--top_k=2",
        f"--titles={titles}", f"--output={tmp_path / 'out.jsonl'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 rows left out" in done.stderr
    assert "1 users have no known item" in done.stderr
    found = pl.read_ndjson(tmp_path / "out.jsonl")
    assert found["user"].to_list() == ["x", "x", "y", "y"]
    assert found["popular"].to_list() == [False, False, True, True]
    for item, title in found.select("item", "title").iter_rows():
        assert title == (f"Film {item[1:]}" if int(item[1:]) < 100 else None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output=recs.xlsx",), "must end in one of .parquet, .csv, .jsonl"),
        (("--top_k=151",), "top_k 151 must be in 1 .. 150"),
        (("--deny=nowhere.txt",), "nowhere.txt: cannot be read"),
        (("--titles=README.md",), "README.md"),
        (("--config.model.hidden=999",), "and now it is 999"),
        (("--config.mesh.model=0",), "mesh.model 0 must be positive"),
    ],
)
def test_recommending_with_a_mistake(trained, log, cache, arguments, message):
    workdir, _ = trained
    command = ("--mode=recommend", f"--workdir={workdir}", f"--config.data.path={log}")
    done = run(cache, *command, *arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("mode", ["serve", "export"])
def test_what_uses_a_run_as_it_is_refuses_other_settings(trained, cache, tmp_path, mode):
    command = (f"--mode={mode}", f"--workdir={trained[0]}", f"--output={tmp_path / 'out'}")
    done = run(cache, *command, "--port=0", "--config.data.path=moved.csv", "--config.seed=7")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "holds a run with seed 0, and now it is 7" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_log_that_has_changed_since_the_training_is_refused(trained, log, cache, tmp_path):
    """Its items would have other ids."""
    changed = tmp_path / "log.csv"
    rows = [f"new,i149,{i}\n" for i in range(99)]
    changed.write_text(log.read_text() + "".join(rows))
    command = ("--mode=recommend", f"--workdir={trained[0]}", f"--config.data.path={changed}")
    done = run(cache, *command, f"--output={tmp_path / 'out.csv'}")
    assert done.returncode == 2
    assert f"error: {changed}: has changed since the training" in done.stderr
    assert not (tmp_path / "out.csv").exists()


def test_columns_of_the_file_are_those_that_are_named(trained, cache, tmp_path):
    """Newest first, as only the time's column tells; the last item is not recommended again."""
    path = tmp_path / "new.csv"
    path.write_text("who,item,seen_on\nx,i1,3\nx,i2,2\nx,i3,1\n")
    columns = ("--config.data.user_column=who", "--config.data.time_column=seen_on")
    command = ("--mode=recommend", f"--workdir={trained[0]}", f"--input={path}", "--top_k=5")
    done = run(cache, *command, *columns, f"--output={tmp_path / 'out.jsonl'}")
    assert done.returncode == 0, done.stderr
    found = pl.read_ndjson(tmp_path / "out.jsonl")
    ordered = Recommender.load(trained[0]).recommend([["i3", "i2", "i1"]], k=5)[0]
    assert found["item"].to_list() == [scored.item for scored in ordered]


def test_sigterm_in_the_middle_of_writing_leaves_nothing(trained, log, cache, tmp_path):
    """The unfinished file is a pipe, and what it must hold is more than a pipe does: the program is
    in the middle of writing until somebody reads."""
    fifo = ("sh", "-c", f'mkfifo "{tmp_path}/.out.jsonl.$$.part" && exec "$@"', "sh")
    process = start(
        cache, "--mode=recommend", f"--workdir={trained[0]}", f"--config.data.path={log}",
        "--top_k=150", "--with_seen", f"--output={tmp_path / 'out.jsonl'}", prefix=fifo,
    )  # fmt: skip
    part = tmp_path / f".out.jsonl.{process.pid}.part"
    while not part.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    with open(os.open(part, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        while not pipe.read(1):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        os.set_blocking(pipe.fileno(), True)
        written = pipe.read()
    _, err = process.communicate(timeout=300)
    assert len(written) > 65536
    assert process.returncode == 143
    assert err.splitlines()[-1].startswith("SIGTERM: stopped before the end")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
