"""SIGTERM as an exception."""

import os
import signal
import sys
import threading
import time

import pytest

from bert4rec_jax import stopping


def test_sigterm_runs_the_clauses_that_clean_up():
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    cleaned = []

    def stopped():
        with stopping.by_exception():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            finally:
                cleaned.append(signal.getsignal(signal.SIGTERM))

    with pytest.raises(stopping.Terminated, match="143"):
        stopped()
    assert cleaned == [signal.SIG_DFL]
    assert (signal.getsignal(signal.SIGTERM), sys.unraisablehook) == (before, hook)


def test_sigterm_in_a_callback_that_drops_exceptions_is_not_lost():
    class Callback:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            dropped.append(self)

    def stopped():
        with stopping.by_exception():
            Callback()
            time.sleep(60)

    dropped = []
    with pytest.raises(stopping.Terminated):
        stopped()
    assert dropped == []


def test_nor_one_that_comes_again_before_the_callback_is_left(monkeypatch):
    """As on a machine so busy that the second signal is there before Python has dealt with it."""

    class AtOnce(threading.Timer):
        def start(self):
            if len(started) < 3:
                started.append(self)
                self.function(*self.args)
            else:
                super().start()

    class Callback:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    def stopped():
        with stopping.by_exception():
            Callback()
            time.sleep(60)

    started = []
    monkeypatch.setattr(threading, "Timer", AtOnce)
    with pytest.raises(stopping.Terminated):
        stopped()
    assert len(started) == 3
