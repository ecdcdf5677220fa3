"""Side-by-side benchmarks: contestants in turn on one machine, each in its own environment.

A contestant is a script of `peers/` that speaks the protocol of `peers/contestant.py`. All of them
are started one after another, and then work in turn (A B C, A B C, ...), never two at a time, so
that a slow minute of the machine hits all of them alike. A round's ratio compares neighbours in
time; the medians and the ranges over the rounds are printed.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from bert4rec_jax import provenance

ROOT = pathlib.Path(__file__).resolve().parents[1]
PEERS = pathlib.Path(__file__).resolve().parent / "peers"

# The paper's, as configs/ml1m.py:paper and configs/beauty.py:paper have them.
DATASETS = {
    "ml-1m": {
        "min_item_count": 5,
        "min_user_count": 5,
        "max_length": 200,
        "dropout": 0.2,
        "attention_dropout": 0.2,
        "proportion": 0.2,
        "budget": 40,
        "stride": 100,
    },
    "beauty": {
        "min_item_count": 0,
        "min_user_count": 5,
        "max_length": 50,
        "dropout": 0.5,
        "attention_dropout": 0.2,
        "proportion": 0.6,
        "budget": 30,
        "stride": 5,
    },
}
_FILES = {"ml-1m": "ml-1m.txt.gz", "beauty": "beauty.txt.gz"}

# The scripts that have another name than their contestant.
_SCRIPTS = {"torch": "torch_rival", "rectools": "rectools_peer", "recbole": "recbole_peer"}
_ENVIRONMENTS = ("torch", "rectools", "recbole")


def add_arguments(parser: argparse.ArgumentParser, contestants: str) -> None:
    """The options that training.py and evaluation.py share."""
    parser.add_argument("--dataset", choices=list(DATASETS), default="ml-1m")
    parser.add_argument("--data", help="the log's file; default ../shared/data/DATASET.txt.gz")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds-per-round", type=float, default=4.0)
    parser.add_argument("--contestants", default=contestants, help="PEER[:VARIANT],...")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", help="a file for everything that was measured")
    for name in _ENVIRONMENTS:
        default = ROOT / "build" / "peers" / name / "bin" / "python"
        parser.add_argument(f"--{name}-python", default=str(default), help="see README.md")


@dataclasses.dataclass
class Contestant:
    """A contestant that is ready.

    Attributes:
        name: PEER[:VARIANT].  ready: what it said of itself.  rounds: what each round did.
    """

    name: str
    process: subprocess.Popen
    log: pathlib.Path
    ready: dict
    rounds: list[dict] = dataclasses.field(default_factory=list)

    def run_round(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it ended: _answer says why
            self.process.stdin.write("round\n")
            self.process.stdin.flush()
        self.rounds.append(_answer(self.process, self.log))

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


class NotMeasured(Exception):
    """A contestant that cannot run here, and why, in one line."""


def compare(options: argparse.Namespace, task: str, settings: dict) -> dict:
    """Starts all contestants, runs the rounds, and returns everything that was measured.

    Args:
        options: of `add_arguments`.
        task: train or evaluate.
        settings: option of `peers/contestant.py` -> value, for every contestant.

    Returns:
        {"machine", "task", "dataset", "settings", "contestants": {name: {"ready", "rounds"}},
        "not_measured": {name: why}}. The matrix product is the contestant "peak".
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])  # inherited
    settings = DATASETS[options.dataset] | settings
    settings |= {
        "task": task,
        "dataset": options.dataset,
        "data": data_file(options),
        "threads": options.threads,
        "seconds_per_round": options.seconds_per_round,
    }
    running, not_measured = [], {}
    with tempfile.TemporaryDirectory() as logs:
        try:
            for name in ["peak", *options.contestants.split(",")]:
                print(f"preparing {name}", file=sys.stderr)
                try:
                    running.append(_start(name, options, settings, pathlib.Path(logs)))
                except NotMeasured as why:
                    not_measured[name] = str(why)
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
                for contestant in list(running):
                    try:
                        contestant.run_round()
                    except NotMeasured as why:
                        running.remove(contestant)
                        not_measured[contestant.name] = str(why)
        finally:
            for contestant in running:
                contestant.stop()
    return {
        "machine": machine(),
        "task": task,
        "dataset": options.dataset,
        "settings": {key: value for key, value in settings.items() if key != "data"},
        "contestants": {c.name: {"ready": c.ready, "rounds": c.rounds} for c in running},
        "not_measured": not_measured,
    }


def data_file(options: argparse.Namespace) -> str:
    path = options.data or ROOT.parent / "shared" / "data" / _FILES[options.dataset]
    if not pathlib.Path(path).is_file():
        sys.exit(f"error: {path}: no such file; give the log of {options.dataset} with --data")
    return str(path)


def _start(name: str, options: argparse.Namespace, settings: dict, logs: pathlib.Path):
    peer, _, variant = name.partition(":")
    script = PEERS / f"{_SCRIPTS.get(peer, peer)}.py"
    if not script.is_file():
        raise NotMeasured(f"there is no contestant {peer}")
    python = _python(peer, options)
    arguments = settings | ({"variant": variant} if variant else {})
    command = [python, str(script)]
    command += [f"--{key.replace('_', '-')}={value}" for key, value in arguments.items()]
    log = logs / f"{len(list(logs.iterdir()))}.txt"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # A GPU is shared by all contestants, so that none may take all of its memory.
            env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )
    return Contestant(name, process, log, _answer(process, log)["ready"])


def _python(peer: str, options: argparse.Namespace) -> str:
    """The interpreter of a contestant's environment; the matrix product takes torch's, if any."""
    if peer == "peak" and pathlib.Path(options.torch_python).exists():
        return options.torch_python
    if peer not in _ENVIRONMENTS:
        return sys.executable
    python = getattr(options, f"{peer}_python")
    if not pathlib.Path(python).exists():
        raise NotMeasured(f"python environment {python} not found; see benchmarks/README.md")
    return python


def _answer(process: subprocess.Popen, log: pathlib.Path) -> dict:
    line = process.stdout.readline()
    if not line:
        lines = log.read_text().strip().splitlines() or ["nothing"]
        raise NotMeasured(f"ended with exit code {process.wait()}; it said last: {lines[-1]}")
    return json.loads(line)


def machine() -> dict[str, str]:
    """What the figures depend on, beside the versions of libraries."""
    return {
        **{key: str(value) for key, value in provenance.machine().items()},
        "system": platform.platform(),
        "date": datetime.date.today().isoformat(),
    }


def training_flops(lengths, masked, *, hidden: int, layers: int, items: int) -> float:
    """Floating-point operations that one window's update takes, on average over the windows.

    A multiplication and an addition are two. Forward, for a window of l items, m of them masked:

        24 d^2 l a layer      queries, keys, values, their output, and the feed-forward network
        4 d l^2 a layer       attention's two products
        2 d^2 m + 2 d n m     the output's transform, and the softmax over n items

    The backward pass takes twice the forward pass. Only real tokens count, so that padding,
    recomputation and logits that nobody asked for are waste; so is everything that is not a matrix
    product. The optimiser is left out.

    Args:
        lengths: l of every window.  masked: m of every window.
        hidden: d.  layers: L.  items: n.
    """
    total = 0.0
    for length, count in zip(lengths, masked, strict=True):
        total += layers * (24 * hidden**2 * length + 4 * hidden * length**2)
        total += count * (2 * hidden**2 + 2 * hidden * items)
    return 3 * total / len(lengths)


def table(found: dict, unit: str, flops: float | None = None) -> str:
    """What was measured, as lines of text.

    Args:
        found: of `compare`.
        unit: rows or users: what is counted in a round.
        flops: of one row; a round may say its own as "flops" (in all).
    """
    lines = [", ".join(f"{key} {value}" for key, value in found["machine"].items())]
    contestants = dict(found["contestants"])
    peak = contestants.pop("peak", None)
    if peak:
        best = statistics.median(r["flops"] / r["seconds"] for r in peak["rounds"])
        lines.append(f"matrix product: {best / 1e9:.0f} GFLOP/s, {_versions(peak)}")
    else:
        best, flops = 0.0, None
    ours = [one["rounds"] for name, one in contestants.items() if name.split(":")[0] == "ours"]
    base = [r[unit] / r["seconds"] for r in ours[0]] if ours else []
    for name, one in contestants.items():
        rates = [r[unit] / r["seconds"] for r in one["rounds"]]
        cells = [f"{name:28}", f"{_spread(rates, '.0f'):>22} {unit}/s"]
        if all("items" in r for r in one["rounds"]):
            items = statistics.median(r["items"] / r["seconds"] for r in one["rounds"])
            cells.append(f"{items:8.0f} items/s")
        if base:
            ratios = [a / b for a, b in zip(base, rates, strict=True)]
            cells.append(f"ours / it {_spread(ratios, '.2f')}")
        if flops:
            done = [r.get("flops", flops * r[unit]) / r["seconds"] for r in one["rounds"]]
            cells.append(f"{statistics.median(done) / best:6.1%} of peak")
        if "fill" in one["ready"]:
            cells.append(f"fill {one['ready']['fill']:4.0%}")
        cells.append(f"{max(r['peak_mib'] for r in one['rounds']):6.0f} MiB")
        cells.append(_versions(one))
        lines.append("  ".join(cells))
    lines += [f"{name:28}  not measured: {why}" for name, why in found["not_measured"].items()]
    return "\n".join(lines)


def _spread(values: list[float], form: str) -> str:
    median, least, most = (format(f(values), form) for f in (statistics.median, min, max))
    return f"{median} ({least} .. {most})"


def _versions(contestant: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in contestant["ready"]["versions"].items())


def finish(found: dict, text: str, path: str | None) -> None:
    print(text)
    if path:
        pathlib.Path(path).write_text(json.dumps(found | {"table": text}, indent=1) + "\n")
