"""Kill a training 50 times at random moments, and compare what comes out with a run left alone.

    python scripts/fault_injection.py [--kills=50] [--seed=0] [--folder=runs/faults] [SETTING ...]

SIGKILL, drawn from the seed: at any time from the start of the process on; so many steps after it
went on; while a checkpoint is being written in the background; during a validation; during the
evaluation at the end; during `--mode=evaluate`. The same command goes on each time. At the end
parameters, optimiser state, losses of all steps, validations, figures and ranks must equal those of
a run that was never killed, bit for bit; exit code 1 where they do not.

SETTING: `--config.section.key=value`, over those of a small model on the generated log.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

STEPS, EVAL_EVERY = 600, 5
SETTINGS = (
    "--config=configs/synthetic.py",
    "--config.model.hidden=16",
    "--config.model.layers=1",
    "--config.train.batch_size=64",
    f"--config.train.steps={STEPS}",
    f"--config.train.eval_every={EVAL_EVERY}",
    "--config.train.log_every=1",
    "--config.train.checkpoint_minutes=0.005",
    "--config.train.patience=0",
    "--config.eval.protocols=('full',)",
)
AT_THE_END = 10  # of the kills: in the evaluations


def start(workdir: pathlib.Path, settings: list[str], *mode: str) -> subprocess.Popen:
    command = [sys.executable, "main.py", f"--workdir={workdir}", *mode]
    if not mode:
        command += [*SETTINGS, *settings]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen) -> None:
    _, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode} where 0 is due:\n{err}")


def lines(workdir: pathlib.Path) -> list[dict]:
    """The records of metrics.jsonl; the last line of a process that is at work may be cut."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def unfinished(workdir: pathlib.Path) -> set[str]:
    """The folders of checkpoints that are being written."""
    return {path.name for path in (workdir / "checkpoints").glob("*tmp*")}


def moments(workdir: pathlib.Path, rng: random.Random) -> dict[str, Callable[[], Iterator[bool]]]:
    """Name -> what yields False until the moment is there, then True."""

    def any_time():
        until = time.monotonic() + rng.uniform(0, 10)
        while time.monotonic() < until:
            yield False

    def steps():
        before = os.stat(workdir / "metrics.jsonl").st_ino if lines(workdir) else None
        while not lines(workdir) or os.stat(workdir / "metrics.jsonl").st_ino == before:
            yield False  # the file is made anew when a process goes on
        goal = len(lines(workdir)) + rng.randint(1, 30)
        while len(lines(workdir)) < goal:
            yield False
        yield from after(0.03)

    def saving():
        yield from steps()
        before = unfinished(workdir)
        while not unfinished(workdir) - before:
            yield False
        yield from after(0.03)

    def validating():
        yield from steps()
        while not lines(workdir) or lines(workdir)[-1]["step"] % EVAL_EVERY:
            yield False
        yield from after(0.1)

    def after(seconds):
        until = time.monotonic() + rng.uniform(0, seconds)
        while time.monotonic() < until:
            yield False

    def reporting():
        while not lines(workdir) or lines(workdir)[-1]["step"] < STEPS:
            yield False
        yield from any_time()

    return {
        "any time": any_time,
        "steps": steps,
        "saving": saving,
        "validating": validating,
        "reporting": reporting,
        "evaluating": any_time,
    }


def kill(
    workdir: pathlib.Path, settings: list[str], kind: str, rng: random.Random
) -> tuple[bool, float]:
    """(whether it was killed before its end, seconds it ran)."""
    began = time.monotonic()
    process = start(workdir, settings, *(["--mode=evaluate"] if kind == "evaluating" else []))
    for _ in moments(workdir, rng)[kind]():
        if process.poll() is not None:
            finish(process)
            return False, time.monotonic() - began
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL, time.monotonic() - began


def check_files(workdir: pathlib.Path) -> None:
    """What is there is whole."""
    import polars as pl

    for name in ("config.json", "results.json"):
        if (workdir / name).exists():
            json.loads((workdir / name).read_text())
    for name in ("items.parquet", "ranks.parquet"):
        if (workdir / name).exists():
            pl.read_parquet(workdir / name)
    lines(workdir)


def outcome(workdir: pathlib.Path) -> dict[str, object]:
    """What must not depend on being killed."""
    import jax
    import numpy as np
    import polars as pl

    from bert4rec_jax import modes
    from bert4rec_jax.training.checkpoint import Checkpoints
    from configs import default

    results = json.loads((workdir / "results.json").read_text())
    untimed = [
        {k: v for k, v in line.items() if k not in ("minutes", "examples_per_second")}
        for line in lines(workdir)
    ]
    experiment = modes.experiment_of(default.get_config(), {}, workdir)
    checkpoints = Checkpoints(
        workdir / "checkpoints", metric=experiment.config.train.select_by, read_only=True
    )
    state, _ = checkpoints.restore_latest(experiment.initial_state())
    best, params = checkpoints.restore_best(experiment.abstract_params())
    arrays = jax.tree.leaves(jax.device_get((state, params)))
    return {
        "parameters and optimiser state": [np.asarray(x).tobytes() for x in arrays],
        "best step": best,
        "losses of all steps": [line for line in untimed if line["split"] == "train"],
        "every step once": [x["step"] for x in untimed if x["split"] == "train"]
        == list(range(1, STEPS + 1)),
        "validations": [line for line in untimed if line["split"] == "valid"],
        "figures": {part: results[part] for part in ("valid", "test", "test_interval")},
        "ranks": pl.read_parquet(workdir / "ranks.parquet").rows(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "runs" / "faults")
    options, settings = parser.parse_known_args()
    whole, killed = options.folder.absolute() / "whole", options.folder.absolute() / "killed"
    if killed.exists():
        parser.error(f"{killed} exists: remove it, or choose another --folder")
    began = time.monotonic()
    finish(start(whole, settings))
    print(f"left alone: {STEPS} steps in {time.monotonic() - began:.1f} s", flush=True)

    rng, done = random.Random(options.seed), 0
    counted: dict[str, int] = {}
    while done < options.kills:
        kinds = ["any time", "steps", "saving", "validating"]
        if done >= options.kills - AT_THE_END:
            finished = (killed / "results.json").exists()
            kinds = ["reporting", "evaluating"] if finished else ["reporting"]
        kind = rng.choice(kinds)
        was_killed, seconds = kill(killed, settings, kind, rng)
        check_files(killed)
        if not was_killed:
            print(f"          {kind}: it was done before, after {seconds:.1f} s", flush=True)
            continue
        done += 1
        counted[kind] = counted.get(kind, 0) + 1
        at = lines(killed)[-1]["step"] if lines(killed) else 0
        half = len(unfinished(killed))
        print(
            f"kill {done:3}: {kind}, after {seconds:.1f} s, at step {at}"
            + (f", {half} unfinished checkpoint" if half else ""),
            flush=True,
        )
    finish(start(killed, settings))

    expected, found = outcome(whole), outcome(killed)
    same = {name: expected[name] == found[name] for name in expected}
    same["every step once"] = bool(found["every step once"])
    print(", ".join(f"{count} {kind}" for kind, count in counted.items()))
    for name, equal in same.items():
        print(f"{name}: {'the same' if equal else 'DIFFERENT'}")
    leftovers = [p for p in killed.rglob("*") if p.name.endswith(".part") or "tmp" in p.name]
    print(f"unfinished files left: {len(leftovers)}")
    return 0 if all(same.values()) and not leftovers else 1


if __name__ == "__main__":
    sys.exit(main())
