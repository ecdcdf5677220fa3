"""--mode=recommend: the best items for every user of a log, written to a file."""

import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from bert4rec_jax import lists, modes
from bert4rec_jax.console import say
from bert4rec_jax.data import interactions, sequences
from bert4rec_jax.errors import UserError
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.files import writing
from bert4rec_jax.progress import Progress
from bert4rec_jax.recommender import Recommender
from bert4rec_jax.vocab import Vocabulary


def recommend(
    defaults: ml_collections.ConfigDict,
    overrides: dict[str, Any],
    workdir: pathlib.Path,
    *,
    source: str,
    output: pathlib.Path,
    k: int,
    with_seen: bool,
    allow: str,
    deny: str,
    titles: str,
) -> None:
    """Write the k best items for every user: rows user, rank (0 is best), item, score, popular.

    Memory holds the histories as integers, some 16 bytes a row (more while they are read and put
    in order), and the results of `recommender.USERS_AT_ONCE` users.

    Args:
        defaults, overrides: as for `modes.evaluate`. Of the overrides, mesh.model alone is not
            over a setting of the run: the item table is split as it says, or not at all.
        source: a log of other histories, in any format that training reads, with the column names
            of the run; "": the log that it was trained on.
        output: .parquet, .csv or .jsonl.
        with_seen: recommend what a user had before, too.
        allow, deny: files of items, one a line or a table with an item column; "": none.
        titles: a table of items with a title column, for a column `title`; "": none.
    """
    lists.check_output(output)
    modes.refuse_other_settings(defaults, overrides, workdir)
    recommender = Recommender.load(workdir, item_shards=overrides.get("mesh.model", 1))
    vocab = recommender.vocab
    barred = recommender.barred(
        lists.read_items(allow, vocab) if allow else None,
        lists.read_items(deny, vocab) if deny else (),
    )
    title_of = lists.read_titles(titles, vocab) if titles else None
    if source:
        data = modes.saved_config(defaults, workdir, overrides).data
        columns = {name: data[name] for name in ("user_column", "item_column", "time_column")}
        histories = read_histories(source, vocab, columns)
    else:
        experiment = modes.experiment_of(defaults, overrides, workdir)
        histories = _own_histories(experiment, vocab)
    write_recommendations(
        recommender, histories, output, k=k, with_seen=with_seen, barred=barred, title_of=title_of
    )


def _own_histories(experiment: Experiment, vocab: Vocabulary) -> sequences.Sequences:
    if experiment.data.prepared is not None:
        raise UserError(
            "the log of this run is prepared, and its users are not in memory: give those to "
            "recommend for with --input=LOG"
        )
    if experiment.log.vocab.digest != vocab.digest:  # its ids would be other items
        raise UserError(
            f"{experiment.config.data.path or experiment.config.data.name}: has changed since the "
            "training, and its catalogue with it: give it as --input"
        )
    return experiment.log


def read_histories(
    source: str, vocab: Vocabulary, columns: Mapping[str, str] | None = None
) -> sequences.Sequences:
    """The histories of a log, in the ids of `vocab`; says how many rows it does not know.

    Args:
        columns: user_column, item_column and time_column, as for `interactions.read`.
    """
    frame = interactions.read(source, vocab=vocab, **(columns or {}))
    histories, unknown = sequences.encode(frame, vocab, name=source)
    if unknown:
        say(f"{source}: {unknown:,} rows left out, whose items the model does not know")
    return histories


def write_recommendations(
    recommender: Recommender,
    histories: sequences.Sequences,
    output: pathlib.Path,
    *,
    k: int,
    with_seen: bool = False,
    barred: np.ndarray | None = None,
    title_of: Mapping[str, str] | None = None,
) -> None:
    """Write the k best items for every user, a part of the users at a time."""
    users, rows, without_items = len(histories.users), 0, 0
    progress = Progress(total=users, done=0, unit="user")
    with writing(output) as write:
        for part, items, scores, popular in recommender.parts(
            histories, k, with_seen=with_seen, barred=barred
        ):
            frame = lists.as_frame(
                histories.users[part], recommender.vocab, items, scores, popular, title_of
            )
            write(frame)
            rows, without_items = rows + len(frame), without_items + int(popular.sum())
            progress.report(part.stop)
    progress.close()
    if without_items:
        say(f"{without_items:,} users have no known item: they get the popular ones")
    say(f"{output}: {rows:,} recommendations for {users:,} users")
