"""Lines for the person at the terminal."""

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
