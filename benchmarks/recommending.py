"""Recommendations for a file of strangers' histories: this project and RecTools, in turn.

    python benchmarks/recommending.py [--users=20000] [--rounds=3] [--contestants=ours,rectools]

Users a second and the peak memory, from a text file of generated histories (10 to 30 items of the
data set, drawn by popularity) to a file of the 10 best unseen items of each. The models have the
data set's size and are hardly trained, which costs the same. README.md says how RecTools'
environment is set up.
"""

import argparse
import pathlib
import sys
import tempfile

import harness
import numpy as np
import polars as pl

sys.path.insert(0, str(harness.ROOT))

from bert4rec_jax.data import interactions

LENGTHS = (10, 30)  # items of a history, at least and at most
USERS_AT_ONCE = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    harness.add_arguments(parser, "ours,rectools")
    parser.set_defaults(rounds=3)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--batch-size", type=int, default=128, help="users at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "histories.txt"
        write_histories(path, harness.data_file(options), users=options.users)
        settings = {"histories": str(path), "batch_size": options.batch_size}
        found = harness.compare(options, "recommend", settings)
    found["settings"] |= {"histories": f"{options.users} users"}
    harness.finish(found, harness.table(found, "users"), options.json)


def write_histories(path: pathlib.Path, data: str, *, users: int) -> None:
    """`user item` lines, in the order of time."""
    items = interactions.read(data)["item"]
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, users, USERS_AT_ONCE):
            stop = min(start + USERS_AT_ONCE, users)
            lengths = rng.integers(LENGTHS[0], LENGTHS[1] + 1, stop - start)
            user = pl.Series(np.repeat(np.arange(start, stop), lengths)).cast(pl.String)
            rows = rng.integers(0, len(items), lengths.sum())  # a row at random: by popularity
            frame = pl.DataFrame({"user": "u" + user, "item": items.gather(rows)})
            frame.write_csv(file, include_header=False, separator=" ")


if __name__ == "__main__":
    main()
