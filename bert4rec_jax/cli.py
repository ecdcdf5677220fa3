"""From the command line to one call, and from a user's mistake to one line and exit code 2."""

import pathlib
import sys
import time

from absl import flags

from bert4rec_jax.errors import UserError


def run(argv: list[str], modes: dict, flag_values: flags.FlagValues = flags.FLAGS) -> int:
    """Parse `argv`, call the mode that `--mode` names, and return the exit code.

    Args:
        modes: name -> function of (flag values, work directory, time the command began).
    """
    started = time.monotonic()
    try:
        rest = _parse(argv, flag_values)
        if rest:
            raise UserError(
                f"unexpected argument {rest[0]!r}; settings are --config.section.key=value"
            )
        workdir = flag_values.workdir or f"runs/{flag_values.config.data.name}"
        modes[flag_values.mode](flag_values, pathlib.Path(workdir), started)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(argv: list[str], flag_values: flags.FlagValues) -> list[str]:
    try:
        return flag_values(argv)[1:]
    # What ml_collections raises for an unknown key, a wrong type and a missing file.
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        text = " ".join(str(error.args[0] if error.args else error).split())
        raise UserError(f"{text} (see --help and configs/default.py)") from error
