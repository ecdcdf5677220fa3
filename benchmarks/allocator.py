"""What keeping freed memory buys a CPU training step: the same run with and without, in turn.

    python benchmarks/allocator.py [--rounds=5]

Each run is a process of its own, since the allocator's settings last as long as the process.
Prints milliseconds a step and peak memory, medians over the rounds, and the ratio.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

STEPS = 10


def measure(keep: bool) -> dict[str, float]:
    from bert4rec_jax import allocator

    if keep:
        allocator.keep_freed_memory()
    import jax

    from bert4rec_jax.experiment import Experiment
    from configs import ml1m

    config = ml1m.get_config()
    config.data.path = str(LOG)
    config.train.batch_size = 128
    experiment = Experiment(config)
    run_step, state = experiment.run_step(), experiment.initial_state()
    seconds = []
    for step in range(STEPS + 2):
        started = time.perf_counter()
        state, sums = run_step(state, *experiment.batch(step))
        jax.block_until_ready((state, sums))
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"milliseconds": 1e3 * float(np.median(seconds[2:])), "peak_mib": peak}


LOG = pathlib.Path(__file__).parents[2] / "shared" / "data" / "ml-1m.txt.gz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", choices=["plain", "kept"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure == "kept")))
        return
    found: dict[str, list[dict[str, float]]] = {"plain": [], "kept": []}
    for _ in range(options.rounds):
        for name, results in found.items():
            done = subprocess.run(
                [sys.executable, __file__, f"--measure={name}"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            results.append(json.loads(done.stdout.splitlines()[-1]))
    for name, results in found.items():
        medians = {key: np.median([r[key] for r in results]) for key in results[0]}
        print(f"{name:6} {medians['milliseconds']:7.0f} ms a step  {medians['peak_mib']:6.0f} MiB")
    ratios = [
        a["milliseconds"] / b["milliseconds"]
        for a, b in zip(found["plain"], found["kept"], strict=True)
    ]
    print(f"plain / kept: {np.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})")


if __name__ == "__main__":
    main()
