"""--mode=recommend: the best items for every user of a log, written to a file."""

import pathlib
import sys
from collections.abc import Callable

from bert4rec_jax import lists
from bert4rec_jax.data import interactions, sequences
from bert4rec_jax.evaluation.files import replacing
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.recommender import Recommender
from bert4rec_jax.training.records import Progress


def recommend(
    experiment: Callable[[], Experiment],
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

    Args:
        experiment: of the run; called only where `source` is "", for the users it was trained on.
        source: a log of other histories, in any format that training reads.
        output: .parquet, .csv or .jsonl.
        with_seen: recommend what a user had before, too.
        allow, deny: files of items, one a line or a table with an item column; "": none.
        titles: a table of items with a title column, for a column `title`; "": none.
    """
    lists.check_output(output)
    recommender = Recommender.load(workdir)
    vocab = recommender.vocab
    barred = recommender.barred(
        lists.read_items(allow, vocab) if allow else None,
        lists.read_items(deny, vocab) if deny else (),
    )
    title_of = lists.read_titles(titles) if titles else None
    if source:
        histories, unknown = sequences.encode(interactions.read(source), vocab, name=source)
        if unknown:
            _say(f"{source}: {unknown:,} rows left out, whose items the model does not know")
    else:
        histories = experiment().log
    progress = Progress(total=len(histories.users), done=0, unit="user")
    items, scores, popular = recommender.recommend_encoded(
        histories, k, with_seen=with_seen, barred=barred, progress=progress.report
    )
    progress.close()
    if popular.any():
        _say(f"{popular.sum():,} users have no known item: they get the popular ones")
    frame = lists.as_frame(histories.users, vocab, items, scores, popular, title_of)
    with replacing(output) as unfinished:
        lists.write(frame, unfinished, suffix=output.suffix)
    _say(f"{output}: {len(frame):,} recommendations for {len(histories.users):,} users")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
