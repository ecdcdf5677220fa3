"""--mode=table: models one after another, and all of them in one table."""

import contextlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Mapping

import jax
import ml_collections

from bert4rec_jax import datasets, modes, settings
from bert4rec_jax.console import say
from bert4rec_jax.data.sequences import NOTHING
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import models_table, report
from bert4rec_jax.files import replacing


def make_table(configs: Mapping[str, ml_collections.ConfigDict], workdir: pathlib.Path) -> None:
    """Train what is not finished, each in its folder of `workdir`; then write and print the table.

    A stop (SIGTERM) saves, and the same call goes on: what is finished is not trained again.

    Args:
        configs: name of a model, and of its folder -> its config. All on the same data.

    Raises:
        UserError: a config or a folder is not in order; before anything is trained.
    """
    if not configs:
        raise UserError("--models is empty: name at least one model")
    for config in configs.values():
        settings.check_training(config)
        datasets.check(config)
    finished = finished_of(configs, workdir)
    for place, (name, config) in enumerate(configs.items(), start=1):
        done = "finished before" if name in finished else f"in {workdir / name}"
        say(f"{name} ({place} of {len(configs)}): {done}")
        if name in finished:
            continue
        # A model's own table is beside the point of this command's output.
        with contextlib.redirect_stdout(sys.stderr):
            if not modes.train(config, workdir / name, started=time.monotonic()):
                return
        jax.clear_caches()  # programs of one model are of no use to the next
    results = {name: report.read_results(workdir / name) for name in configs}
    table = models_table.summary(results)
    print(models_table.screen(table))
    if not os.access(workdir, os.W_OK):
        say(f"{workdir} is read-only: no table.json and table.md")
        return
    with replacing(workdir / "table.json") as unfinished:
        unfinished.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    with replacing(workdir / "table.md") as unfinished:
        unfinished.write_text(models_table.markdown(table), encoding="utf-8")


def finished_of(
    configs: Mapping[str, ml_collections.ConfigDict], workdir: pathlib.Path
) -> list[str]:
    """The names of those that `make_table` would not train.

    Raises:
        UserError: a folder has another run, or one on other data than the configs, which are all
            on the same, have now.
    """
    finished = [name for name in configs if modes.is_finished(configs[name], workdir / name)]
    if finished:
        digest = datasets.load(configs[finished[0]], NOTHING).identity.digest
        for name in finished:
            modes.refuse_other_data(digest, workdir / name)
    return finished
