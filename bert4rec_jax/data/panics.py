"""What Polars does where a damaged file gets past its checks, made an error like any other."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

import polars as pl

from bert4rec_jax.errors import UserError, first_line


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


@contextlib.contextmanager
def refusing(refusal: Callable[[str], UserError]) -> Iterator[None]:
    """Raises what Polars or the file system says of a file as `refusal` of its first line."""
    try:
        with as_errors():
            yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise refusal(first_line(error)) from error
