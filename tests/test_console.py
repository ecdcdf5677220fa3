"""A run goes on when nobody reads what it says."""

import os
import pathlib
import subprocess
import sys

import pytest

from bert4rec_jax import console

MAIN = pathlib.Path(__file__).parents[1] / "main.py"


def test_a_stream_without_a_reader_takes_all_and_fails_never():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as stream:
        unread = console.Unread(stream)
        for _ in range(3):
            assert unread.write("a line\n") == 7
            unread.flush()
        assert unread.fileno() == writer  # what it does not have itself is the stream's


def test_within_both_streams_go_on_and_behind_they_are_the_old_ones():
    before = sys.stdout, sys.stderr
    with console.going_on_unread():
        assert all(isinstance(stream, console.Unread) for stream in (sys.stdout, sys.stderr))
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_into_a_closed_pipe_is_no_error_and_on_a_full_disk_one_line(unbuffered):
    command = [sys.executable, MAIN, "--help"]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)
    gone = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment)
    os.close(writer)
    assert (gone.returncode, gone.stderr) == (0, b"")
    with open("/dev/full", "w") as full:
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment)
    assert found.returncode == 2
    line = b"error: No space left on device: free some space; the same command then goes on\n"
    assert found.stderr == line
