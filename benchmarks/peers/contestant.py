"""A contestant's side of the benchmarks' protocol (see ../harness.py). Standard library only.

A contestant is a script of its own, run in its own Python environment. It prepares (reads the data,
builds the model, compiles, warms up), prints `{"ready": {...}}` as one line of JSON, then runs one
round for every line on its stdin and prints what the round did as one line of JSON. The end of
stdin ends it. Whatever else it prints goes to stderr.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable


def main(prepare: Callable[[argparse.Namespace], tuple[dict, Callable[[], dict]]]) -> None:
    """Run the contestant that `prepare` makes.

    Args:
        prepare: options -> ("ready", run_round). "ready" holds at least "versions" (a dict of
            strings) and, for training, "fill" (real items over computed positions). `run_round`
            returns "seconds" and, for training, "rows" (windows of users' histories), "items" (real
            tokens), "steps" and "loss" (the mean of a masked item); for evaluation and
            recommendation "users".
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not disturb the protocol
    ready, run_round = prepare(_options())
    print(json.dumps({"ready": ready}), file=answers, flush=True)
    for _ in sys.stdin:
        done = run_round()
        done.setdefault("peak_mib", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(json.dumps(done), file=answers, flush=True)


def steps_per_round(step: Callable[[], object], seconds: float, warm_up: int = 3) -> int:
    """How many steps fill a round of about `seconds`, from the time of three warm ones.

    `step` has to wait until its work is done.
    """
    for _ in range(warm_up):
        step()
    started = time.perf_counter()
    for _ in range(3):
        step()
    return max(1, round(3 * seconds / (time.perf_counter() - started)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=["train", "evaluate", "recommend"], required=True)
    parser.add_argument("--data", required=True, help="the log: user, item, in time order")
    parser.add_argument("--dataset", required=True, help="name of the data set: ml-1m or beauty")
    parser.add_argument("--variant", default="", help="which of the contestant's ways to do it")
    parser.add_argument("--min-item-count", type=int, default=1)
    parser.add_argument("--min-user-count", type=int, default=5)
    parser.add_argument("--max-length", type=int, default=200, help="N")
    parser.add_argument("--hidden", type=int, default=64, help="d")
    parser.add_argument("--layers", type=int, default=2, help="L")
    parser.add_argument("--heads", type=int, default=2, help="h")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--attention-dropout", type=float, default=0.2)
    parser.add_argument("--proportion", type=float, default=0.2, help="of a window's items masked")
    parser.add_argument("--budget", type=int, default=40, help="most masked items of a window")
    parser.add_argument("--stride", type=int, default=100, help="between windows of one history")
    parser.add_argument("--batch-size", type=int, default=128, help="windows (or users) at once")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds-per-round", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--protocols", default="full", help="full or popularity_100 (evaluation)")
    parser.add_argument("--users", type=int, default=0, help="evaluate so many only; 0: all")
    parser.add_argument("--histories", default="", help="a log to recommend from (recommend)")
    parser.add_argument("--negatives", default="", help="Parquet file of 100 negatives a test user")
    return parser.parse_args()
