"""A log larger than memory, from Parquet files to training steps: seconds and memory of each part.

    python benchmarks/large_logs.py [--users=20000000] [--length=50] [--items=50000]
        [--layout=histories] [--steps=200] [--config.SECTION.KEY=VALUE ...] [--folder=DIR]

Generates a folder of Parquet files, a row a user with the list of their items
(`--layout=histories`) or a row an interaction in random order (`--layout=interactions`); prepares
it by `--mode=prepare`; and trains on it by configs/custom.py with the settings given, by default
d = 64, L = 2, N = 200, batches of 256 histories and gBCE. Every part is a process of its own, whose
peak of resident memory stands beside it: pages of the mapped shards count too, though the system
takes them back at need.

The input is measured in three ways: batches alone, as fast as they can be read; steps with real
batches; and steps with one batch again and again, by turns with the former.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import harness

ROOT = pathlib.Path(__file__).resolve().parents[1]
USERS_A_FILE = 500_000
BLOCK = 25  # steps of one kind at a time
SETTINGS = ["--config.train.loss=gbce", "--config.train.batch_size=256"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=20_000_000)
    parser.add_argument("--length", type=int, default=50, help="items of a user, on average")
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--layout", choices=("histories", "interactions"), default="histories")
    parser.add_argument("--steps", type=int, default=200, help="timed with real batches")
    parser.add_argument("--folder", help="where to work; default: a temporary one, removed again")
    parser.add_argument("--json", help="a file for everything that was measured")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # the child
    options, settings = parser.parse_known_args()
    if options.part:
        {"generate": generate, "train": train}[options.part](options, settings)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        found = measure(options, settings, pathlib.Path(work))
    harness.finish(found, "\n".join(_lines(found)), options.json)


def measure(options: argparse.Namespace, settings: list[str], work: pathlib.Path) -> dict:
    log, prepared = work / "log", work / "prepared"
    same = [f"--{name}={getattr(options, name)}" for name in ("users", "length", "items")]
    same += [f"--layout={options.layout}", f"--steps={options.steps}", f"--folder={work}"]
    child = [sys.executable, str(pathlib.Path(__file__).resolve()), *same, *settings]
    prepare = [sys.executable, "main.py", "--config=configs/custom.py", "--mode=prepare"]
    prepare += [f"--config.data.path={log}", f"--output={prepared}"]
    parts = {"generate": _run([*child, "--part=generate"])}
    parts["prepare"] = _run(prepare)
    parts["train"] = _run([*child, "--part=train"])
    return {
        "machine": harness.machine(),
        "options": {name: x for name, x in vars(options).items() if name not in ("folder", "json")},
        "settings": [*SETTINGS, *settings],
        "log_bytes": _bytes(log),
        "prepared_bytes": _bytes(prepared),
        "parts": parts,
    }


def _run(command: list[str]) -> dict:
    """Seconds and peak memory of a process, and what it printed as JSON."""
    _say(" ".join(command[1:]))
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {command[1]} ended with exit code {process.returncode}")
    seconds = time.perf_counter() - started
    part = {"seconds": seconds, "peak_gib": usage.ru_maxrss / 2**20}
    _say(f"{seconds:.0f} s, peak {part['peak_gib']:.2f} GiB")
    return part | (json.loads(printed) if printed else {})


def _bytes(folder: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def generate(options: argparse.Namespace, _) -> None:
    """Item i is drawn in proportion to about i^(-2/3); lengths are even in half to 1.5 times."""
    import numpy as np
    import polars as pl
    from tqdm import tqdm

    folder = pathlib.Path(options.folder) / "log"
    folder.mkdir()
    starts = range(0, options.users, USERS_A_FILE)
    for number, start in enumerate(tqdm(starts, unit="file", mininterval=5)):
        rng = np.random.default_rng(number)
        users = np.arange(start, min(start + USERS_A_FILE, options.users))
        lengths = rng.integers(options.length // 2, options.length * 3 // 2 + 1, len(users))
        items = (options.items * rng.random(lengths.sum(), np.float32) ** 3).astype(np.int32)
        if options.layout == "histories":
            rows = pl.DataFrame({"user": np.repeat(users, lengths), "item": items})
            frame = rows.group_by("user", maintain_order=True).agg(items="item")
        else:
            # Everybody has rows in every file, as in a log that is cut by days.
            anyone = rng.integers(0, options.users, len(items))
            time_of = number + rng.random(len(items))
            frame = pl.DataFrame({"user": anyone, "item": items, "time": time_of})
        frame.write_parquet(folder / f"part-{number:05}.parquet", compression="lz4")


def train(options: argparse.Namespace, settings: list[str]) -> None:
    sys.path.insert(0, str(ROOT))
    from bert4rec_jax import allocator

    allocator.keep_freed_memory()
    import jax
    from absl import flags
    from ml_collections import config_flags

    from bert4rec_jax.experiment import Experiment

    path = pathlib.Path(options.folder) / "prepared"
    sys.argv = [sys.argv[0], *SETTINGS, *settings, f"--config.data.path={path}"]
    config_flags.DEFINE_config_file("config", str(ROOT / "configs" / "custom.py"))
    flags.FLAGS(sys.argv)
    config = flags.FLAGS.config
    config.train.steps = 10**9

    clock = [time.perf_counter()]

    def lap() -> float:
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    experiment = Experiment(config)
    found = {"open": lap()}
    batches = experiment.batches
    found |= {"windows": len(batches.lengths), "rows": batches.rows, "fill": batches.fill}
    found["pack"] = lap()
    repeated = experiment.batch(0)
    found["first_batch"] = lap()
    state, step = experiment.initial_state(), experiment.run_step()
    state, _ = jax.block_until_ready(step(state, *repeated))
    found["first_step"] = lap()

    alone = 4 * options.steps
    for at in range(1, alone + 1):
        experiment.batch(at)
    found["batches_per_second"] = alone / lap()
    _say(f"ready: {found}")
    real, same, waits = [], [], []
    at = alone
    while len(real) * BLOCK < options.steps:
        lap()
        for _ in range(BLOCK):
            at += 1
            before = time.perf_counter()
            batch = experiment.batch(at)
            waits.append(time.perf_counter() - before)
            state, _ = jax.block_until_ready(step(state, *batch))
        real.append(lap() / BLOCK)
        for _ in range(BLOCK):
            state, _ = jax.block_until_ready(step(state, *repeated))
        same.append(lap() / BLOCK)
        _say(
            f"{len(real) * BLOCK} of {options.steps} steps: {1e3 * real[-1]:.0f} ms, with one "
            f"batch {1e3 * same[-1]:.0f} ms"
        )
    lap()
    experiment.batches(batches.steps_per_epoch)  # what the first batch of an epoch costs
    found |= {"next_epoch": lap(), "real": real, "repeated": same, "waits": waits}
    print(json.dumps(found))


def _lines(found: dict) -> list[str]:
    options, parts = found["options"], found["parts"]
    one, gib = parts["train"], 2**30
    ratios = [a / b for a, b in zip(one["real"], one["repeated"], strict=True)]
    real, same, ratio, wait = (
        statistics.median(x) for x in (one["real"], one["repeated"], ratios, one["waits"])
    )
    return [
        ", ".join(f"{key} {value}" for key, value in found["machine"].items()),
        f"{options['users']:,} users of {options['length']} items, as {options['layout']}, of "
        f"{options['items']:,} items; {' '.join(found['settings'])}",
        f"log {found['log_bytes'] / gib:.1f} GiB, prepared {found['prepared_bytes'] / gib:.1f} GiB",
        *(
            f"{name:9} {part['seconds']:7.1f} s   peak {part['peak_gib']:5.2f} GiB"
            for name, part in parts.items()
        ),
        f"start     open and check {one['open']:.1f} s, pack {one['windows']:,} windows "
        f"{one['pack']:.1f} s, first batch {one['first_batch']:.1f} s; next epoch "
        f"{one['next_epoch']:.1f} s",
        f"batches   {one['batches_per_second']:.0f}/s alone, of {one['rows']} rows, "
        f"{one['fill']:.0%} filled",
        f"steps     real {1e3 * real:.1f} ms, one batch repeated {1e3 * same:.1f} ms, real / "
        f"repeated {ratio:.3f} ({min(ratios):.3f} .. {max(ratios):.3f}); waiting for input "
        f"{1e3 * wait:.2f} ms a step",
    ]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
