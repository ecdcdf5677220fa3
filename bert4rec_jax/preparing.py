"""--mode=prepare: a log of any size becomes a folder that training reads from the disk."""

import pathlib
import signal
import sys

import ml_collections

from bert4rec_jax import datasets, settings
from bert4rec_jax.console import say
from bert4rec_jax.data import preparation
from bert4rec_jax.errors import UserError


def prepare(config: ml_collections.ConfigDict, output: str) -> None:
    """Write the folder `output` from the log that config.data names, whole or not at all.

    SIGTERM and Ctrl-C end the process with the shell's code for them, and leave nothing.
    """
    settings.check(config)
    if not output:
        raise UserError("--mode=prepare needs --output=FOLDER, where to write")
    data = config.data
    before = signal.signal(signal.SIGTERM, _end)
    try:
        made = preparation.prepare(
            datasets.log_path(data),
            pathlib.Path(output),
            min_item_count=data.min_item_count,
            min_user_count=data.min_user_count,
            user_column=data.user_column,
            item_column=data.item_column,
            time_column=data.time_column,
            stage=datasets.Stage,
        )
    except KeyboardInterrupt:
        say(f"SIGINT: {output} was not written")
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
    numbers = made.statistics
    say(
        f"{output}: {numbers['users']:,} users, {numbers['items']:,} items, "
        f"{numbers['actions']:,} actions in {len(made.shards)} shards, digest "
        f"{made.identity['digest'][:12]}; train on it with --config.data.path={output}"
    )


def _end(number, _) -> None:
    say(f"{signal.Signals(number).name}: nothing was written")
    sys.exit(128 + number)
