"""A tiny log, and a run on it that all tests of the command line share."""

import pathlib

import polars as pl
import pytest

from tests.command.program import TINY, run


@pytest.fixture(scope="session")
def log(tmp_path_factory) -> pathlib.Path:
    """150 items on a ring; each of 40 users walks along it for a while. Ids are strings."""
    rows = [
        (f"u{user}", f"i{(150 * user // 40 + step) % 150}", step)
        for user in range(40)
        for step in range(5 + user % 12)
    ]
    path = tmp_path_factory.mktemp("log") / "log.csv"
    pl.DataFrame(rows, schema=["user", "item", "time"], orient="row").write_csv(path)
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def workdir(tmp_path) -> pathlib.Path:
    return tmp_path / "run"


@pytest.fixture(scope="session")
def trained(log, cache, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained") / "run"
    done = run(cache, *TINY, f"--config.data.path={log}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done
