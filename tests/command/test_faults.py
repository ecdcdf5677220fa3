"""SIGKILL and a work directory that another process holds, one process a command.

scripts/fault_injection.py does the first at length.
"""

import json
import shutil
import signal
import time

import polars as pl
import pytest

from bert4rec_jax.files import only_writer
from tests.command.program import TINY, losses, run, start


@pytest.fixture
def own_cache(cache, trained, tmp_path):
    """With the programs of `trained`: a process that is killed may spoil it."""
    return shutil.copytree(cache, tmp_path / "compiled")


def test_killed_while_saving_and_while_evaluating(trained, log, own_cache, workdir):
    command = (*TINY, f"--config.data.path={log}", f"--workdir={workdir}")
    command += ("--config.train.checkpoint_minutes=1e-6",)  # after every step
    metrics, checkpoints = workdir / "metrics.jsonl", workdir / "checkpoints"

    def saving():
        return any("tmp" in path.name for path in checkpoints.glob("*"))

    def evaluating():
        return metrics.exists() and '"step": 12, "split": "valid"' in metrics.read_text()

    for moment in (saving, evaluating):
        process = start(own_cache, *command)
        while not moment():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = run(own_cache, *command)
    assert done.returncode == 0, done.stderr
    assert done.stdout == trained[1].stdout
    assert losses(workdir) == losses(trained[0])
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == [*range(1, 7), 6, *range(7, 13), 12]
    assert pl.read_parquet(workdir / "ranks.parquet").equals(
        pl.read_parquet(trained[0] / "ranks.parquet")
    )
    assert not saving()


def test_a_full_disk_is_one_line_and_the_run_goes_on_after_it(trained, log, own_cache, workdir):
    """A limit on the size of files stands in for the disk: most of a checkpoint's do not fit."""
    command = (*TINY, f"--config.data.path={log}", f"--workdir={workdir}")
    limit = ("sh", "-c", 'ulimit -f 16 && exec "$@"', "sh")  # 8 KiB a file
    full = run(own_cache, *command, prefix=limit)
    assert full.returncode == 2
    assert full.stdout == ""
    last = full.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith("free some space; the same command then goes on")
    assert "Traceback" not in full.stderr
    assert "Exception" not in full.stderr
    done = run(own_cache, *command)
    assert done.returncode == 0, done.stderr
    assert done.stdout == trained[1].stdout
    assert losses(workdir) == losses(trained[0])


def test_beside_a_training_evaluation_reads_and_a_second_training_is_refused(trained, log, cache):
    workdir, done = trained
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*.*")}
    with only_writer(workdir, files=()):
        path = f"--config.data.path={log}"
        second = run(cache, *TINY, path, f"--workdir={workdir}")
        beside = run(cache, "--mode=evaluate", path, f"--workdir={workdir}")
    assert second.returncode == 2
    assert second.stderr.endswith(
        f"error: {workdir} is in use by another process: wait for its end, or choose another "
        "--workdir\n"
    )
    assert beside.returncode == 0, beside.stderr
    assert beside.stdout == done.stdout
    assert f"{workdir} is in use by another process: no results.json" in beside.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
