"""SIGTERM as an exception, so that what is half-written is removed on its way."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Terminated(SystemExit):
    """SIGTERM came; its code is the shell's for it, 143."""


@contextlib.contextmanager
def by_exception() -> Iterator[None]:
    """SIGTERM raises Terminated in what is called here; a second one ends the process at once.

    What sets a handler of its own there has it.
    """
    before, hook = signal.signal(signal.SIGTERM, _terminate), sys.unraisablehook
    sys.unraisablehook = _and_again_if_dropped(hook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def _terminate(number, frame):
    while frame is not None:
        if frame.f_code is _HOOKED:  # the machine is so busy that it still runs
            return _once_more()
        frame = frame.f_back
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(128 + number)


def _and_again_if_dropped(hook: Callable[[Any], None]) -> Callable[[Any], None]:
    """`hook`, and the signal again where Python drops its exception.

    That is in the callbacks of weak references and of the garbage collector, of which JAX has many,
    and in this function.
    """

    def hooked(unraisable):
        if not isinstance(unraisable.exc_value, Terminated):
            return hook(unraisable)
        signal.signal(signal.SIGTERM, _terminate)
        _once_more()

    return hooked


_HOOKED = _and_again_if_dropped(print).__code__  # that of each `hooked`


def _once_more():
    """The signal a little later, when what would drop its exception is left."""
    threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()
