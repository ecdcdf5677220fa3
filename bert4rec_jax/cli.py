"""From the command line to one call, and from a user's mistake to one line and exit code 2."""

import functools
import importlib.util
import inspect
import pathlib
import re
import runpy
import signal
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import flags

from bert4rec_jax import console, stopping
from bert4rec_jax.errors import UserError, machine_fault

# What absl and ml_collections raise for an unknown flag or setting, a value of the wrong type and
# a config file that is missing or not Python.
_FLAG_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError)
# Their words, made ours.
_REWORDED = {
    r"^\w+Error: ": "",
    r"^\[Errno \d+\] (.+): '(.+)'$": r"\2: \1",
    r"\. Did you mean: (.+) \?$": r"; did you mean \1?",
}


def run(
    argv: list[str], define_flags: Callable[[], None], modes: Mapping[str, Callable[..., None]]
) -> int:
    """Parse `argv`, call the mode that `--mode` names, and return the exit code.

    Args:
        define_flags: defines --config, --mode, --workdir and the flags of several processes.
        modes: name -> function of (flag values, work directory, time the command began).
    """
    started = time.monotonic()

    def run_mode():
        if {"-h", "--help", "-help"} & set(argv[1:]):
            define_flags()
            own = flags.FLAGS.flags_by_module_dict()[argv[0]]
            print(usage(sys.modules["__main__"].__doc__, own))
            return
        values = parse(argv, define_flags)
        workdir = values.workdir or f"runs/{values.config.data.name}"
        mode = functools.partial(modes[values.mode], values, pathlib.Path(workdir), started)
        if values.distributed:
            _run_with_others(values, mode)
        else:
            mode()

    sys.unraisablehook = _but_late_callbacks(sys.unraisablehook)
    with console.going_on_unread():
        code = reporting(run_mode) or reporting(sys.stdout.flush)
    if code:
        # All is said. Threads that met the same full disk must not add their tracebacks at exit,
        # nor a full stdout its own.
        try:
            sys.stdout.flush()
        except OSError:
            console.to_nothing(1)
        console.to_nothing(2)
    return code


def _run_with_others(values: flags.FlagValues, mode: Callable[[], None]) -> None:
    """`mode()` as one of several processes; where it fails, the process ends here.

    Raises:
        UserError: the mode is for one process.
    """
    if values.mode not in ("train", "evaluate"):
        raise UserError(
            f"--distributed is for train and evaluate: start --mode={values.mode} alone"
        )
    from bert4rec_jax import hosts

    def one_of_them():
        console.keep_stdout_for_figures()
        hosts.join(values.coordinator, values.processes, values.process_id)
        try:
            mode()
            hosts.wait_for_all()
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


def settings_of(flag: flags.Flag) -> dict[str, Any]:
    """The command line's settings, by dotted name, over those of a run that is there already.

    With --config.model.name=NAME, the name of that recipe's model: the run has the rest.
    """
    found = dict(flag.override_values)
    if "model.name" in found:
        found["model.name"] = chosen_config(flag).model.name
    return found


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
    # Not the name: a recipe's may be another than its model's, as that of `lstm` is.
    others = {key: x for key, x in flag.override_values.items() if key != "model.name"}
    config.update_from_flattened_dict(others)
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
        raise UserError(
            f"unexpected {rest[0]!r}: flags begin with --, as in --mode=evaluate or "
            "--config.train.steps=1000 (see --help)"
        )
    return values


def _reason(error: BaseException) -> str:
    """The last line that says why: ml_collections wraps errors in errors, and in tracebacks."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}"
        return f"{where}: {error.msg}; --config names a file of Python, like configs/custom.py"
    if isinstance(error, KeyError):
        name, _, hint = str(*error.args[:1]).strip().partition("\n")
        return f"unknown setting {name}" + (f"; {_uncapitalised(hint)}" if hint else "")
    line = str(error).strip().splitlines()[-1].strip()
    for pattern, words in _REWORDED.items():
        line = re.sub(pattern, words, line)
    return _uncapitalised(line)


def _uncapitalised(line: str) -> str:
    return line[:1].lower() + line[1:] if line[1:2].islower() else line


def usage(doc: str, defined: Iterable[flags.Flag]) -> str:
    """What --help prints: `doc`, and the flags in the order of their definition."""
    lines = [doc, "Flags, and the modes that they are for:\n"]
    for flag in defined:
        text = re.sub("^<.+?>: ", "", flag.help)  # absl lists the values of an enum here
        default = flag.default
        if default and "(default" not in text:
            text += f" (default {', '.join(default) if isinstance(default, list) else default})"
        name, indent = f"  --{flag.name:<16}", " " * 20
        lines.append(textwrap.fill(text, 96, initial_indent=name, subsequent_indent=indent))
    return "\n".join(lines)
