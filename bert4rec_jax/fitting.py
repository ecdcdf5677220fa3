"""From a frame of interactions to a run: what `Recommender.fit` does."""

import contextlib
import pathlib
import re
import runpy
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections
import polars as pl

from bert4rec_jax import modes
from bert4rec_jax.errors import UserError, first_line
from bert4rec_jax.files import replacing


def fit(
    frame: Any,
    columns: Mapping[str, str | None],
    workdir: pathlib.Path,
    settings: Mapping[str, Any],
) -> None:
    """Train in `workdir` on a frame, which is kept there as log.parquet.

    Args:
        frame: of polars or pandas, or what else Polars takes.
        columns: "user", "item" and "time" -> a column of it; "time" -> None where there is none.
        settings: "seed", and sections of configs/default.py.

    Raises:
        UserError: see `Recommender.fit`.
    """
    config, log = config_of(settings), as_log(frame, columns)
    if config.data.path:
        raise UserError("settings: data.path is for the frame itself: leave it out")
    if config.model.name == "markov":
        raise UserError("settings: markov keeps no parameters to recommend with: choose another")
    path, has_run = workdir / "log.parquet", (workdir / "config.json").exists()
    if has_run and not (path.exists() and pl.read_parquet(path).equals(log)):
        raise UserError(f"{workdir} holds a run on another frame: choose another workdir")
    with replacing(path) as unfinished:
        log.write_parquet(unfinished)
    config.data.path = str(path.resolve())
    with contextlib.redirect_stdout(sys.stderr):  # the table of figures is for the command
        finished = modes.train(config, workdir, started=time.monotonic())
    if not finished:
        raise UserError(f"{workdir}: the training was stopped; the same call goes on with it")


def as_log(frame: Any, columns: Mapping[str, str | None]) -> pl.DataFrame:
    """The columns user, item and, where one is named, time."""
    wanted = {role: name for role, name in columns.items() if name is not None}
    if not isinstance(frame, pl.DataFrame | pl.LazyFrame):
        try:
            frame = _converted(frame, wanted)
        except UserError:
            raise
        except (TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
            name = type(frame).__name__
            raise UserError(f"a {name} is no frame for Polars ({first_line(error)})") from error
    frame = frame.lazy()
    _refuse_missing(wanted, frame.collect_schema().names())
    return frame.select(**{role: pl.col(name) for role, name in wanted.items()}).collect()


def _refuse_missing(wanted: Mapping[str, str], names: Iterable[str]) -> None:
    names = list(names)
    for role, name in wanted.items():
        if name not in names:
            among = ", ".join(map(str, names))
            raise UserError(f"the frame has no column {name!r} among {among}: set {role}=")


def _converted(frame: Any, wanted: Mapping[str, str]) -> pl.DataFrame:
    try:
        return pl.DataFrame(frame)
    except ImportError:  # Polars reads a pandas frame of strings or times by pyarrow only
        _refuse_missing(wanted, frame)
        columns = {name: frame[name] for name in wanted.values()}
        whole = {name: x.astype(object).where(x.notna(), None) for name, x in columns.items()}
        return pl.DataFrame({name: x.to_list() for name, x in whole.items()}, strict=False)


def config_of(settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """configs/custom.py with `settings` over it; UserError for one that does not exist."""
    for name, section in settings.items():
        if name != "seed" and not isinstance(section, Mapping):
            raise UserError(
                f"settings: {name} {section!r} must be a dict of its settings, as in "
                "train={'steps': 3000} (see configs/default.py)"
            )
    folder = _configs()
    config = runpy.run_path(str(folder / "default.py"))["get_config"]()
    recipes = runpy.run_path(str(folder / "baselines.py"))
    config.update_from_flattened_dict(recipes["CUSTOM"])
    try:
        model = dict(settings.get("model", {}))
        recipes["apply"](config, model.pop("name", "bert4rec"))
        config.lock().update({**settings, "model": model})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        text = str(error.args[0] if error.args else error)
        reason = first_line(text)
        if unknown := re.match(r'Key "(\w+)" does not exist', text):
            meant = re.search(r'Did you mean "(\w+)"', text)
            reason = f"there is no {unknown[1]!r}" + (
                f"; did you mean {meant[1]}?" if meant else ""
            )
        raise UserError(f"settings: {reason} (see configs/default.py)") from error
    return config


def _configs() -> pathlib.Path:
    """Where the config files lie: in the package where it is installed, else beside it."""
    here = pathlib.Path(__file__).resolve().parent
    inside = here / "configs"
    return inside if inside.is_dir() else here.parent / "configs"
