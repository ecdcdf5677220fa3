"""Lines for the person at the terminal."""

import os
import sys

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
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
    os.dup2(2, 1)
