"""Seconds and memory from a log file to histories: a generated log in each text format.

    python benchmarks/reading.py [--rows=10000000]

Each format is read in a process of its own. Users have 50 rows on average, in random order.
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import polars as pl

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))


def generate(rows: int, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, rows // 50, rows),
            "item": (50_000 * rng.random(rows) ** 3).astype(np.int64),
            "rating": 5,
            "time": rng.integers(1_000_000_000, 1_500_000_000, rows),
        }
    )
    paths = {name: folder / f"log.{name}" for name in ("csv", "txt", "parquet")}
    frame.write_csv(paths["csv"])
    frame.select("user", "item").write_csv(paths["txt"], separator=" ", include_header=False)
    frame.write_parquet(paths["parquet"])
    return paths


def measure(path: str) -> None:
    from bert4rec_jax.data import identity, interactions, sequences

    started = time.perf_counter()
    frame = interactions.read(path)
    read = time.perf_counter()
    log = sequences.build(frame, name="generated", min_item_count=5, min_user_count=5)
    built = time.perf_counter()
    identity.identify(log, sequences.leave_one_out(log).test)
    known = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{pathlib.Path(path).suffix:9} read {read - started:5.1f} s  histories {built - read:5.1f}"
        f" s  digest {known - built:5.1f} s  peak {peak:.1f} GiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in generate(options.rows, pathlib.Path(folder)).values():
            subprocess.run([sys.executable, __file__, f"--measure={path}"], check=True)


if __name__ == "__main__":
    main()
