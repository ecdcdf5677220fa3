"""What is a fault of the machine, and what is one of the program."""

import errno

import pytest

from bert4rec_jax import cli
from bert4rec_jax.errors import UserError, machine_fault


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "", "a/b"), "a/b: No space left on device: free some space"),
        (OSError(errno.EACCES, "", b"a"), "a: Permission denied: choose another place"),
        (ValueError("INTERNAL: write failed: No space left on device [x]"), "No space left on"),
        (caused(RuntimeError("save"), OSError(errno.EDQUOT, "")), "Disk quota exceeded: free"),
        (MemoryError(), "out of memory: lower train.batch_size"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9"), "out of memory"),
    ],
)
def test_a_fault_of_the_machine_is_one_line_and_code_2(error, says, capsys):
    def function():
        raise error

    assert machine_fault(error).startswith(says)
    assert cli.reporting(function) == 2
    assert capsys.readouterr().err == f"error: {machine_fault(error)}\n"


def test_a_fault_of_the_program_is_not_hidden():
    assert machine_fault(KeyError("x")) is None
    with pytest.raises(KeyError):
        cli.reporting(lambda: {}["x"])


def test_a_message_with_line_breaks_is_one_line(capsys):
    def function():
        raise UserError("data.path a\nb: no such file")

    assert cli.reporting(function) == 2
    assert capsys.readouterr().err == "error: data.path a b: no such file\n"
