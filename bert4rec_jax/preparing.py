"""--mode=prepare: a log of any size becomes a folder that training reads from the disk."""

import pathlib

import ml_collections

from bert4rec_jax import datasets, settings
from bert4rec_jax.console import say
from bert4rec_jax.data import preparation
from bert4rec_jax.errors import UserError


def prepare(config: ml_collections.ConfigDict, output: str) -> None:
    """Write the folder `output` from the log that config.data names, whole or not at all."""
    settings.check(config)
    if not output:
        raise UserError("--mode=prepare needs --output=FOLDER, where to write")
    data = config.data
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
    numbers = made.statistics
    say(
        f"{output}: {numbers['users']:,} users, {numbers['items']:,} items, "
        f"{numbers['actions']:,} actions in {len(made.shards)} shards, digest "
        f"{made.identity['digest'][:12]}; train on it with --config.data.path={output}"
    )
