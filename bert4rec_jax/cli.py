"""From the command line to one call, and from a user's mistake to one line and exit code 2."""

import pathlib
import sys
import time
from collections.abc import Callable, Mapping

from absl import flags

from bert4rec_jax.errors import UserError

# What absl and ml_collections raise for an unknown flag or setting, a value of the wrong type and
# a config file that is missing.
_FLAG_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError)


def run(
    argv: list[str], define_flags: Callable[[], None], modes: Mapping[str, Callable[..., None]]
) -> int:
    """Parse `argv`, call the mode that `--mode` names, and return the exit code.

    Args:
        define_flags: defines --config, --mode and --workdir.
        modes: name -> function of (flag values, work directory, time the command began).
    """
    started = time.monotonic()
    if {"-h", "--help", "-help"} & set(argv[1:]):
        define_flags()
        print(f"{sys.modules['__main__'].__doc__}\n{flags.FLAGS.main_module_help()}")
        return 0
    try:
        values = _parse(argv, define_flags)
        workdir = values.workdir or f"runs/{values.config.data.name}"
        modes[values.mode](values, pathlib.Path(workdir), started)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(argv: list[str], define_flags: Callable[[], None]) -> flags.FlagValues:
    values = flags.FLAGS
    try:
        define_flags()  # ml_collections reads the settings among the arguments here already
        rest = values(argv)[1:]
        _ = values.config.data  # a file that could not be loaded shows at the first look into it
    except _FLAG_ERRORS as error:
        raise UserError(f"{_reason(error)} (see --help and configs/default.py)") from error
    if rest:
        raise UserError(f"unexpected {rest[0]!r}; settings are --config.section.key=value")
    return values


def _reason(error: BaseException) -> str:
    """The last line that says why: ml_collections wraps errors in errors, and in tracebacks."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    return text.strip().splitlines()[-1].strip()
