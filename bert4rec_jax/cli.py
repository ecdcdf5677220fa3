"""From the command line to one call, and from a user's mistake to one line and exit code 2."""

import functools
import importlib.util
import inspect
import os
import pathlib
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags

from bert4rec_jax import stopping
from bert4rec_jax.errors import UserError, machine_fault

# What absl and ml_collections raise for an unknown flag or setting, a value of the wrong type and
# a config file that is missing.
_FLAG_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError)


def run(
    argv: list[str], define_flags: Callable[[], None], modes: Mapping[str, Callable[..., None]]
) -> int:
    """Parse `argv`, call the mode that `--mode` names, and return the exit code.

    Args:
        define_flags: defines --config, --mode, --workdir and the flags of several processes.
        modes: name -> function of (flag values, work directory, time the command began).
    """
    started = time.monotonic()
    if {"-h", "--help", "-help"} & set(argv[1:]):
        define_flags()
        print(f"{sys.modules['__main__'].__doc__}\n{flags.FLAGS.main_module_help()}")
        return 0

    def run_mode():
        values = parse(argv, define_flags)
        workdir = values.workdir or f"runs/{values.config.data.name}"
        mode = functools.partial(modes[values.mode], values, pathlib.Path(workdir), started)
        if values.distributed:
            _run_with_others(values, mode)
        else:
            mode()

    sys.unraisablehook = _but_late_callbacks(sys.unraisablehook)
    code = reporting(run_mode)
    if code:
        # All is said. Threads that met the same full disk must not add their tracebacks at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return code


def _run_with_others(values: flags.FlagValues, mode: Callable[[], None]) -> None:
    """`mode()` as one of several processes; where it fails, this does not return."""
    if values.mode not in ("train", "evaluate"):
        raise UserError(
            f"--distributed is for train and evaluate: start --mode={values.mode} alone"
        )
    from bert4rec_jax import hosts

    hosts.join(values.coordinator, values.processes, values.process_id)

    def one_of_them():
        try:
            mode()
        except UserError:
            raise
        except Exception:
            hosts.give_way()
            raise

    try:
        code = reporting(one_of_them)
    except BaseException:
        traceback.print_exc()
        code = 1
    hosts.leave(code)


def reporting(function: Callable[[], None]) -> int:
    """Call `function`; the exit code: 2, with one line on stderr, for what the user can mend.

    That is a mistake in the input, or a disk that is full or read-only. SIGTERM and Ctrl-C are one
    line too, and the shell's codes for them, 143 and 130, except where `function` handles them
    itself, as training and serving do. Anything else is a fault of the program: a traceback, and
    code 1.
    """
    try:
        with stopping.by_exception():
            function()
    except UserError as error:
        line, code = f"error: {error}", 2
    except (KeyboardInterrupt, stopping.Terminated) as error:
        number = signal.SIGTERM if isinstance(error, stopping.Terminated) else signal.SIGINT
        line = f"{number.name}: stopped before the end; unfinished output is removed"
        code = 128 + number
    except Exception as error:
        fault = machine_fault(error)
        if fault is None:
            raise
        line, code = f"error: {fault}", 2
    else:
        return 0
    print(" ".join(line.splitlines()), file=sys.stderr)
    return code


def _but_late_callbacks(hook: Callable[[Any], None]) -> Callable[[Any], None]:
    """`hook`, without what Orbax leaves behind where a disk is full.

    It ends its event loop at the first file that cannot be written, and each of the others then
    finds it closed: a traceback apiece on stderr, beside the error that says why.
    """

    def filtered(unraisable):
        late = isinstance(unraisable.exc_value, RuntimeError)
        if not (late and str(unraisable.exc_value) == "Event loop is closed"):
            hook(unraisable)

    return filtered


def require(extra: str, *libraries: str) -> None:
    """UserError if a library is missing that only some modes need."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise UserError(
                f"{library} is not installed: pip install -r requirements-{extra}.txt"
                f" (or bert4rec-jax[{extra}])"
            )


def chosen_config(flag: flags.Flag) -> Any:
    """The config of --config; with --config.model.name=NAME, FILE stands for FILE:NAME.

    So a model comes with its own settings, unless the file has none for it.
    """
    path, _, chosen = flag.config_filename.partition(":")
    name = flag.override_values.get("model.name")
    if name is None or chosen or not _recipe(path)[1]:
        return flag.value
    return _config_of(flag, name)


def configs_of(flag: flags.Flag, names: list[str]) -> dict[str, Any]:
    """NAME -> the config FILE:NAME, for --config=FILE, and the command line's settings over it."""
    if ":" in flag.config_filename or "model.name" in flag.override_values:
        raise UserError(
            f"--models chooses the models ({', '.join(names)}): leave out --config.model.name, and "
            "the name behind the file of --config"
        )
    return {name: _config_of(flag, name) for name in names}


def _config_of(flag: flags.Flag, name: str) -> Any:
    path = flag.config_filename.partition(":")[0]
    get_config, is_for_many = _recipe(path)
    if not is_for_many:
        raise UserError(f"{path} has no settings for {name}: its get_config takes no name")
    try:
        config = get_config(name)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    config.update_from_flattened_dict(flag.override_values)
    return config.lock()


def _recipe(path: str) -> tuple[Callable, bool]:
    """`get_config` of a config file, and whether it takes the name of a model."""
    get_config = runpy.run_path(path)["get_config"]
    return get_config, bool(inspect.signature(get_config).parameters)


def parse(
    argv: list[str],
    define_flags: Callable[[], None],
    values: flags.FlagValues = flags.FLAGS,
) -> flags.FlagValues:
    """`values` as `argv` sets them; UserError for what is unknown or of a wrong type."""
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
