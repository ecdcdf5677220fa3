"""Lines for the person at the terminal."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_silent = False


def be_silent() -> None:
    """Say nothing from now on but errors: of several processes of a run, one speaks."""
    global _silent
    _silent = True


def is_silent() -> bool:
    return _silent


def say(line: str) -> None:
    """On stderr: stdout has the figures, for programs too."""
    if not _silent:
        print(line, file=sys.stderr, flush=True)


def keep_stdout_for_figures() -> None:
    """Send to stderr what native libraries print to stdout by themselves.

    Gloo, which CPU devices of several processes speak through, prints its connections there, from
    several threads at once.
    """
    sys.stdout.flush()
    sys.stdout = Unread(os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding))
    os.dup2(2, 1)


class Unread:
    """A stream that goes on, into nothing, once its reader has gone (`main.py 2>&1 | head -1`).

    What a run says is not what it is for: hours of training must not end by it.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._point_to_nothing()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._point_to_nothing()

    def _point_to_nothing(self) -> None:
        # The descriptor itself: the stream still holds what it could not write, and writes it at
        # the next flush, the interpreter's last one at the latest.
        to_nothing(self._stream.fileno())


def to_nothing(descriptor: int) -> None:
    """What is written to it from now on is lost."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextlib.contextmanager
def going_on_unread() -> Iterator[None]:
    """Within, stdout and stderr are `Unread`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(Unread, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
