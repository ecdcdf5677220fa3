"""Does a model that --mode=finetune grew keep up with its log, and keep what it knew?

    python benchmarks/growing.py [--data=../shared/data/ml-100k.inter.gz] [--folder=build/growing]
        [--steps=1500] [--finetune-steps=600] [--retrain]

A log with times is cut at two moments. The stale model is trained on what is before the first; the
grown one goes on from it with the log up to the second; --retrain adds one trained on that from the
start, with all the steps. They are judged on what the users who were there before do after the
second moment: each one's next item, and every later item, each ranked after all that came before
it, among all items that the user has not had. An item that a model does not know is a miss. The
runs stay in --folder; the same command goes on with them.
"""

import argparse
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import polars as pl

from bert4rec_jax import Recommender, provenance
from bert4rec_jax.data import interactions

ROOT = pathlib.Path(__file__).resolve().parents[1]
SETTINGS = {
    "model.max_length": 100,
    "model.neighbours": 5,
    "masking.stride": 50,
    "masking.left_to_right_rate": 0.5,
    "masking.last_only_rate": 0.2,
    "optimizer.bias_correction": True,
    "train.batch_size": 32,
    "train.eval_every": 100,
    "eval.protocols": '("full",)',
}
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ROOT.parent / "shared" / "data" / "ml-100k.inter.gz"
    parser.add_argument("--data", default=str(default), help="a log with times")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "growing")
    parser.add_argument("--cuts", type=float, nargs=2, default=(0.7, 0.9), help="shares of rows")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--finetune-steps", type=int, default=600)
    parser.add_argument("--retrain", action="store_true")
    options = parser.parse_args()
    log = interactions.read(options.data).sort("time", maintain_order=True)
    first, second = (log["time"].quantile(share, "nearest") for share in options.cuts)
    options.folder.mkdir(parents=True, exist_ok=True)
    before, up_to = options.folder / "before.parquet", options.folder / "up_to.parquet"
    log.filter(pl.col("time") < first).write_parquet(before)
    log.filter(pl.col("time") < second).write_parquet(up_to)
    runs = {name: options.folder / name for name in ("stale", "grown", "retrained")}
    settings = [f"--config.{name}={value}" for name, value in SETTINGS.items()]
    train = ["--config=configs/custom.py", *settings, f"--config.train.steps={options.steps}"]
    command(*train, f"--config.data.path={before}", f"--workdir={runs['stale']}")
    command(
        "--mode=finetune", f"--from={runs['stale']}", f"--workdir={runs['grown']}",
        f"--config.data.path={up_to}", f"--config.train.steps={options.finetune_steps}",
    )  # fmt: skip
    if options.retrain:
        command(*train, f"--config.data.path={up_to}", f"--workdir={runs['retrained']}")
    else:
        del runs["retrained"]
    print(table(runs, log, second))


def command(*arguments: str) -> None:
    subprocess.run([sys.executable, "main.py", *arguments], cwd=ROOT, check=True, stdout=sys.stderr)


def table(runs: dict[str, pathlib.Path], log: pl.DataFrame, moment: float) -> str:
    histories, targets, is_next = cases(log, moment)
    known = set(pl.read_parquet(runs["stale"] / "items.parquet")["item"])
    old = np.array([target in known for target in targets])
    groups = {
        "next items": is_next,
        "later items": np.ones(len(targets), bool),
        "of these old": old,
        "of these new": ~old,
    }
    lines = [
        ", ".join(f"{name} {value}" for name, value in provenance.machine().items()),
        f"HR@{K} NDCG@{K} of, in the log after time {moment}:",
        f"{'':26}" + "".join(f"{f'{rows.sum():,} {name}':>20}" for name, rows in groups.items()),
    ]
    for name, workdir in runs.items():
        ranks = ranks_of(Recommender.load(workdir), histories, targets)
        gains = np.where(ranks < K, 1 / np.log2(ranks + 2), 0.0)
        cells = "".join(
            f"{(ranks < K)[rows].mean():>13.4f} {gains[rows].mean():.4f}"
            for rows in groups.values()
        )
        train = json.loads((workdir / "results.json").read_text())["train"]
        lines.append(f"{name:10} {train['steps']:5} steps {train['seconds']:3.0f} s{cells}")
    return "\n".join(lines)


def cases(log: pl.DataFrame, moment: float) -> tuple[list[list[str]], list[str], np.ndarray]:
    """Every row from `moment` on of the users with a row before it: (what the user had before it,
    the item, whether it is the user's first)."""
    histories, targets, is_next = [], [], []
    for (_,), rows in log.group_by("user", maintain_order=True):
        start = int((rows["time"] < moment).sum())
        items = rows["item"].to_list()
        for place in range(start, len(items)) if start else ():
            histories.append(items[:place])
            targets.append(items[place])
            is_next.append(place == start)
    return histories, targets, np.array(is_next)


def ranks_of(recommender: Recommender, histories: list, targets: list) -> np.ndarray:
    """Rank of each target, 0 = best; infinite beyond K."""
    found = recommender.recommend(histories, k=K)
    ranks = np.full(len(targets), np.inf)
    for case, (row, target) in enumerate(zip(found, targets, strict=True)):
        items = [scored.item for scored in row]
        if target in items:
            ranks[case] = items.index(target)
    return ranks


if __name__ == "__main__":
    main()
