"""Where the time of a training step goes: operations, bytes, their floor, and what was measured.

    python benchmarks/step_profile.py [--dataset=ml-1m|beauty] [--steps=10] [--batch-size=128]

Time is the profiler's, of each compiled operation, summed by the part of the model that it comes
from (its scope); operations that run at once on two threads are both counted, so the sum may be
more than the step. Operations and bytes are counted by hand (`parts_of`), of what a step cannot do
without: its padding included, recomputation left out. The floor is the larger of operations over
the machine's matrix-product peak and bytes over its copying speed, both measured here first.
"""

import argparse
import collections
import pathlib
import re
import sys
import tempfile
import time

import harness
import numpy as np

sys.path.insert(0, str(harness.ROOT))

from bert4rec_jax import allocator
from bert4rec_jax.training.step import FEW

# Scope, a pattern in an operation's name -> part; the first that matches.
SCOPES = (
    ("optimizer", "optimiser"),
    ("loss", "softmax over items"),
    ("transform|output_", "output transform"),
    ("rows", "rows and masks"),
    (r"block_\d+/(qkv|attention_out)", "attention: projections"),
    (r"block_\d+/attention/", "attention: products, softmax, dropout"),
    (r"block_\d+/feed_forward_(in|out)", "feed-forward"),
    (r"block_\d+/.*norm|embedding_norm", "LayerNorm"),
    (r"block_\d+", "residuals, GELU, dropout"),
    ("Encoder", "embedding"),
)
OTHER = "the rest"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", choices=list(harness.DATASETS), default="ml-1m")
    parser.add_argument("--data", help="the log's file; default ../shared/data/DATASET.txt.gz")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128, help="windows an update")
    options = parser.parse_args()
    allocator.keep_freed_memory()
    experiment = _experiment(options)
    print(", ".join(f"{key} {value}" for key, value in harness.machine().items()))
    peak, bandwidth = measure_peak(), measure_bandwidth()
    print(f"matrix product {peak / 1e9:.0f} GFLOP/s, copying {bandwidth / 1e9:.1f} GB/s")
    seconds, measured, host = measure(experiment, options.steps)
    rows = []
    counted = parts_of(experiment)
    for part in [*dict.fromkeys(part for _, part in SCOPES), OTHER]:
        flops, moved = counted.get(part, (0.0, 0.0))
        floor = max(flops / peak, moved / bandwidth)
        rows.append((part, flops, moved, floor, measured[part]))
    rows.append(("host, between steps", 0.0, 0.0, 0.0, host))
    print(format_table(rows, seconds))


def _experiment(options):
    import importlib

    from bert4rec_jax.experiment import Experiment

    config = importlib.import_module(f"configs.{options.dataset.replace('-', '')}").get_config(
        "cloze"
    )
    config.data.path = harness.data_file(options)
    config.train.batch_size = options.batch_size
    config.masking.last_only_rate = 0.0
    config.mesh.data = 1
    return Experiment(config)


def measure_peak(size: int = 2048) -> float:
    """Floating-point operations a second of a float32 matrix product in numpy."""
    x = np.ones((size, size), np.float32)
    return 2 * size**3 / _best_time(lambda: x @ x)


def measure_bandwidth(mib: int = 256) -> float:
    """Bytes read and written a second by a copy that no cache holds."""
    x = np.ones(mib << 18, np.float32)
    y = np.empty_like(x)
    return 2 * x.nbytes / _best_time(lambda: np.copyto(y, x))


def _best_time(function, repeats: int = 10) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def parts_of(experiment) -> dict[str, tuple[float, float]]:
    """Part -> (floating-point operations, bytes) of one step, forward and backward.

    T = rows * N tokens, M predictions, d, L, n items; the last block computes what it is asked for
    only, Q tokens, but keys and values of all. A matrix product's backward pass is two of
    its size. Bytes: every activation (4 bytes) that a later part reads is written once and read
    once, forward and backward; the attention's [h, N, N] probabilities and the logits are not
    counted, for a fused kernel need not store them.
    """
    config, batches = experiment.config.model, experiment.batches
    d, layers, n = config.hidden, config.layers, len(experiment.log.vocab)
    tokens = batches.rows * config.max_length
    _, (budget,) = experiment._task()
    predictions = budget.rows * budget.positions
    few = budget.positions <= FEW * config.max_length
    computed = (layers - 1) * tokens + (predictions if few else tokens)  # in all blocks
    params = sum(x.size for x in _leaves(experiment.abstract_params()))

    def moved(count):
        return 3 * 4.0 * d * count

    return {
        "attention: projections": (
            3 * 2 * d**2 * (3 * layers * tokens + computed),
            moved(4 * layers * tokens + 2 * computed),
        ),
        "attention: products, softmax, dropout": (
            3 * 4 * d * config.max_length * computed,
            moved(2 * layers * tokens + 2 * computed),
        ),
        "feed-forward": (3 * 16 * d**2 * computed, moved(10 * computed)),
        "LayerNorm": (0.0, 5 / 3 * moved(2 * computed + tokens)),
        "residuals, GELU, dropout": (0.0, moved(4 * computed)),
        "embedding": (0.0, 4 / 3 * moved(tokens)),
        "output transform": (3 * 2 * d**2 * predictions, moved(4 * predictions)),
        "softmax over items": (3 * 2 * d * n * predictions, 4 * 4.0 * d * n),
        "optimiser": (0.0, 7 * 4.0 * params),
    }


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def measure(experiment, steps: int):
    """(seconds a step, {part: seconds a step}, seconds a step of the host alone)."""
    import jax

    state = experiment.initial_state()
    # Compiled here, for the names of its operations.
    step = jax.jit(experiment.run_step(), donate_argnums=0)
    compiled = step.lower(state, *experiment.batch(0)).compile()
    named = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = .*op_name=\"([^\"]*)\"", re.MULTILINE)
    scopes = dict(named.findall(compiled.as_text()))

    def run(first, count):
        nonlocal state
        host = 0.0
        started = time.perf_counter()
        for at in range(first, first + count):
            before = time.perf_counter()
            batch = experiment.batch(at)
            host += time.perf_counter() - before
            state, _ = jax.block_until_ready(compiled(state, *batch))
        return (time.perf_counter() - started) / count, host / count

    run(0, 2)
    seconds, host = run(2, steps)
    measured = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run(2 + steps, steps)
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    operation = dict(event.stats).get("hlo_op")
                    # A loop's own event spans those of the operations in it.
                    if operation and not operation.startswith(("while", "call", "conditional")):
                        part = part_of(scopes.get(operation, ""))
                        measured[part] += event.duration_ns / 1e9 / steps
    return seconds, measured, host


def part_of(scope: str) -> str:
    return next((part for pattern, part in SCOPES if re.search(pattern, scope)), OTHER)


def format_table(rows, seconds: float) -> str:
    lines = [
        "| part | GFLOP | MB | floor, ms | measured, ms | GFLOP/s |",
        "|---|---|---|---|---|---|",
    ]
    for part, flops, moved, floor, took in rows:
        speed = f"{flops / took / 1e9:.0f}" if flops and took else ""
        lines.append(
            f"| {part} | {flops / 1e9:.2f} | {moved / 1e6:.0f} | {1e3 * floor:.1f} "
            f"| {1e3 * took:.1f} | {speed} |"
        )
    total = [sum(row[i] for row in rows) for i in range(1, 5)]
    lines.append(
        f"| sum | {total[0] / 1e9:.2f} | {total[1] / 1e6:.0f} | {1e3 * total[2]:.1f} "
        f"| {1e3 * total[3]:.1f} | |"
    )
    lines.append(f"\nA step takes {1e3 * seconds:.0f} ms without the profiler.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
