"""How the cost of a training step grows: with N, the catalogue, d, the batch, and the devices.

    python benchmarks/scaling.py [--axes=length,items,hidden,batch,devices] [--loss=LOSS]
        [--steps=5] [--json=FILE]

One setting at a time is varied, from the base N = 200, 3,416 items, d = 64 (heads of 32), batches
of 32 full windows of random items, one device, and the softmax over all items or another LOSS of
config.train.loss. Every point runs in a process of its own, whose memory is the figure beside its
time. Devices are virtual: they share this machine's cores.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import harness

AXES = {
    "length": (50, 100, 200, 400, 800),
    "items": (3_000, 10_000, 100_000, 1_000_000),
    "hidden": (64, 128, 256, 512),
    "batch": (8, 32, 128, 256),
    "devices": (1, 2, 4),
}
BASE = {"length": 200, "items": 3_416, "hidden": 64, "batch": 32, "devices": 1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", default=",".join(AXES), help=f"of {', '.join(AXES)}")
    parser.add_argument("--loss", default="softmax", help="train.loss: softmax, gbce, ...")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a point")
    parser.add_argument("--json", help="a file for everything that was measured")
    parser.add_argument("--point", help=argparse.SUPPRESS)  # the child: settings as JSON
    options = parser.parse_args()
    if options.point:
        print(json.dumps(measure(json.loads(options.point), options.loss, options.steps)))
        return
    axes = options.axes.split(",")
    if unknown := set(axes) - set(AXES):
        parser.error(f"unknown axis {min(unknown)}; there are {', '.join(AXES)}")
    found = {"machine": harness.machine(), "loss": options.loss, "base": BASE, "axes": {}}
    lines = [", ".join(f"{key} {value}" for key, value in found["machine"].items())]
    lines += [f"train.loss {options.loss}", "", "| | | ms a step | windows/s | items/s | MiB |"]
    lines.append("|---|---|---|---|---|---|")
    for axis in axes:
        found["axes"][axis] = {}
        for value in AXES[axis]:
            point = BASE | {axis: value}
            print(f"{axis} {value}", file=sys.stderr)
            one = _run(point, options)
            found["axes"][axis][value] = one
            if "error" in one:
                lines.append(f"| {axis} | {value:,} | {one['error']} | | | |")
                continue
            windows = point["batch"] / one["seconds"]
            lines.append(
                f"| {axis} | {value:,} | {1e3 * one['seconds']:.0f} | {windows:.1f} "
                f"| {windows * point['length']:.0f} | {one['peak_mib']:.0f} |"
            )
    harness.finish(found, "\n".join(lines), options.json)


def _run(point: dict, options: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, f"--point={json.dumps(point)}"]
    command += [f"--loss={options.loss}", f"--steps={options.steps}"]
    flags = f"--xla_force_host_platform_device_count={point['devices']}"
    done = subprocess.run(
        command,
        env=os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        return {"error": f"exit code {done.returncode}: {said[-1][:100]}"}
    return json.loads(done.stdout)


def measure(point: dict, loss: str, steps: int) -> dict:
    """Median seconds of a step of the program's own training step, and the process's memory."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    from bert4rec_jax import allocator

    allocator.keep_freed_memory()
    import functools
    import resource
    import statistics
    import time

    import jax
    import jax.numpy as jnp
    import numpy as np

    from bert4rec_jax import mesh
    from bert4rec_jax.data.batching import Batches
    from bert4rec_jax.encoder import Encoder
    from bert4rec_jax.losses import LOSSES
    from bert4rec_jax.masking import cloze, mask_counts
    from bert4rec_jax.optimizer import learning_rate_schedule, make_optimizer
    from bert4rec_jax.training.state import init_state
    from bert4rec_jax.training.step import Budget, make_train_step

    length, items, batch = point["length"], point["items"], point["batch"]
    log = np.random.default_rng(0).integers(1, items + 1, batch * length, np.int32)
    starts = np.arange(0, batch * length, length, dtype=np.int32)
    batches = Batches(starts, np.full(batch, length, np.int32), length, batch, 1, seed=0)
    counts = mask_counts(length, proportion=0.2, budget=length)
    hidden = point["hidden"]
    model = Encoder(
        items=items, max_length=length, hidden=hidden, heads=hidden // 32, kernel_init="xavier"
    )
    optimizer = make_optimizer(
        learning_rate_schedule(learning_rate=1e-3, warmup_steps=100, steps=1000)
    )
    sampled = {"negatives": 256} if loss in ("gbce", "sampled_softmax") else {}
    sampled |= {"calibration": 0.75} if loss == "gbce" else {}
    where = mesh.make_mesh(point["devices"])
    task = functools.partial(
        cloze, counts=jnp.asarray(counts), mask_id=items + 1, last_only_rate=0.0
    )
    step = mesh.map_over_devices(
        make_train_step(
            model=model,
            optimizer=optimizer,
            make_task=lambda key, row, place: task(key, row),
            loss=functools.partial(LOSSES[loss], **sampled),
            budgets=[Budget(batch // point["devices"], batches.most_predictions(counts))],
            key=jax.random.key(1),
        ),
        where,
        in_axes=(None, None, mesh.DATA, mesh.DATA),
        out_axes=None,
        donate=(0,),
    )
    init = functools.partial(init_state, model=model, optimizer=optimizer)
    state = mesh.init_replicated(init, where, jax.random.key(0))
    log, windows = mesh.put_copied(log, where), mesh.put_split(batches(0), where)
    seconds = []
    for _ in range(2 + steps):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, log, *windows))
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds[2:]), "peak_mib": peak}


if __name__ == "__main__":
    main()
