"""Lines for the person at the terminal."""

import sys


def say(line: str) -> None:
    """On stderr: stdout has the figures, for programs too."""
    print(line, file=sys.stderr, flush=True)
