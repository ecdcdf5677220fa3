"""--mode=recommend: the best items for every user of a log, written to a file."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from bert4rec_jax import lists
from bert4rec_jax.console import say
from bert4rec_jax.data import interactions, sequences
from bert4rec_jax.errors import UserError
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.files import writing
from bert4rec_jax.recommender import Recommender
from bert4rec_jax.training.records import Progress
from bert4rec_jax.vocab import Vocabulary


def recommend(
    experiment: Callable[[], Experiment],
    workdir: pathlib.Path,
    *,
    source: str,
    columns: Mapping[str, str],
    output: pathlib.Path,
    k: int,
    with_seen: bool,
    allow: str,
    deny: str,
    titles: str,
    item_shards: int = 1,
) -> None:
    """Write the k best items for every user: rows user, rank (0 is best), item, score, popular.

    Memory holds the histories as integers, some 16 bytes a row (more while they are read and put
    in order), and the results of `recommender.USERS_AT_ONCE` users.

    Args:
        experiment: of the run; called only where `source` is "", for the users it was trained on.
        source: a log of other histories, in any format that training reads.
        columns: its columns, as for `interactions.read`.
        output: .parquet, .csv or .jsonl.
        with_seen: recommend what a user had before, too.
        allow, deny: files of items, one a line or a table with an item column; "": none.
        titles: a table of items with a title column, for a column `title`; "": none.
        item_shards: devices that share the item table.
    """
    lists.check_output(output)
    recommender = Recommender.load(workdir, item_shards=item_shards)
    vocab = recommender.vocab
    barred = recommender.barred(
        lists.read_items(allow, vocab) if allow else None,
        lists.read_items(deny, vocab) if deny else (),
    )
    title_of = lists.read_titles(titles) if titles else None
    if source:
        histories = read_histories(source, vocab, columns)
    else:
        histories = _own_histories(experiment(), vocab)
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
