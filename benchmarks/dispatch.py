"""One training step a dispatch, as the program has it, and several by `jax.lax.scan`, in turn.

    python benchmarks/dispatch.py [--steps=8] [--rounds=5] [--batch-size=128] [--hidden=64]

On ml-1m, with the program's own step and batches. Prints milliseconds a step, medians over the
rounds, and the ratio: what the host costs between steps that it does not hide.
"""

import argparse
import sys
import time

import harness

sys.path.insert(0, str(harness.ROOT))

from bert4rec_jax import allocator


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="ml-1m", help=argparse.SUPPRESS)
    parser.add_argument("--data", help="the log's file; default ../shared/data/ml-1m.txt.gz")
    parser.add_argument("--steps", type=int, default=8, help="steps a dispatch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=64)
    options = parser.parse_args()
    allocator.keep_freed_memory()
    import jax
    import numpy as np

    from bert4rec_jax.experiment import Experiment
    from configs import ml1m

    config = ml1m.get_config("cloze")
    config.data.path = harness.data_file(options)
    config.train.batch_size, config.model.hidden = options.batch_size, options.hidden
    experiment = Experiment(config)
    run_step, at = experiment.run_step(), 0
    one_by_one, scanned = experiment.initial_state(), experiment.initial_state()

    def batches():
        pairs = [experiment.batches(at + i) for i in range(options.steps)]
        return tuple(np.stack(field) for field in zip(*pairs, strict=True))

    @jax.jit
    def run_many(state, starts, lengths):
        def body(state, batch):
            return run_step(state, *batch)

        return jax.lax.scan(body, state, (starts, lengths))

    seconds = {"one a dispatch": [], f"{options.steps} a dispatch": []}
    for _ in range(options.rounds + 1):
        started = time.perf_counter()
        for i in range(options.steps):
            one_by_one, _ = run_step(one_by_one, *experiment.batch(at + i))
            jax.block_until_ready(one_by_one)
        seconds["one a dispatch"].append(time.perf_counter() - started)
        started = time.perf_counter()
        scanned, _ = jax.block_until_ready(run_many(scanned, *batches()))
        seconds[f"{options.steps} a dispatch"].append(time.perf_counter() - started)
        at += options.steps
    medians = {name: np.median(values[1:]) / options.steps for name, values in seconds.items()}
    base = medians["one a dispatch"]
    print(jax.devices()[0].device_kind)
    for name, value in medians.items():
        print(f"{name:16} {1e3 * value:7.2f} ms a step  {value / base:5.2f} x")


if __name__ == "__main__":
    main()
