"""What Polars does where a damaged file gets past its checks, made an error like any other."""

import contextlib
import os
import sys
from collections.abc import Iterator

import polars as pl


@contextlib.contextmanager
def as_errors() -> Iterator[None]:
    """Raises a panic of Polars' threads, which is no Exception, as a PolarsError.

    Such a thread also prints a backtrace to the process's stderr before the panic arrives here, so
    what is written there meanwhile is dropped.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    except pl.exceptions.PanicException as error:
        raise pl.exceptions.ComputeError(str(error)) from None
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
