"""How the cost of a training step grows: with N, the catalogue, d, the batch, and the devices.

    python benchmarks/scaling.py [--axes=length,items,hidden,batch,devices] [--loss=LOSS]
        [--steps=5] [--json=FILE]
    python benchmarks/scaling.py --shards=10000,100000,1000000,10000000 [--hidden=64] [--steps=2]

One setting at a time is varied, from the base N = 200, 3,416 items, d = 64 (heads of 32), batches
of 32 full windows of random items, one device, and the softmax over all items or another LOSS of
config.train.loss. Every point runs in a process of its own, whose memory is the figure beside its
time. Devices are virtual: they share this machine's cores.

With --shards, the item table of so many items split over 1, 2 and 4 devices (mesh.model), in
batches of 4 windows. Virtual devices share one memory, so what a device would need is what the
compiler says of its program: arguments (the parameters and their two moments, mostly) and
temporaries; and what it would send is what the collectives in the program's text add up to,
beside what docs/scaling.md's formula says. What needs more than --memory in all is only compiled.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import harness
from collectives import collective_bytes

AXES = {
    "length": (50, 100, 200, 400, 800),
    "items": (3_000, 10_000, 100_000, 1_000_000),
    "hidden": (64, 128, 256, 512),
    "batch": (8, 32, 128, 256),
    "devices": (1, 2, 4),
}
BASE = {"length": 200, "items": 3_416, "hidden": 64, "batch": 32, "devices": 1, "model": 1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", default=",".join(AXES), help=f"of {', '.join(AXES)}")
    parser.add_argument("--loss", default="softmax", help="train.loss: softmax, gbce, ...")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a point")
    parser.add_argument("--json", help="a file for everything that was measured")
    parser.add_argument("--shards", help="sizes of the catalogue whose table is split, not --axes")
    parser.add_argument(
        "--memory",
        type=int,
        default=8,
        help="GiB that --shards may take to run",
    )
    parser.add_argument("--hidden", type=int, default=64, help="d, with --shards")
    parser.add_argument("--point", help=argparse.SUPPRESS)  # the child: settings as JSON
    options = parser.parse_args()
    if options.point:
        print(json.dumps(measure(json.loads(options.point), options.loss, options.steps)))
        return
    if options.shards:
        split_table(options)
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


def split_table(options: argparse.Namespace) -> None:
    found = {"machine": harness.machine(), "loss": options.loss, "points": []}
    lines = [", ".join(f"{key} {value}" for key, value in found["machine"].items()), ""]
    lines.append(
        "| items | mesh.model | ms a step | arguments | temporaries | bytes sent, of the formula |"
    )
    lines.append("|---|---|---|---|---|---|")
    for items in map(int, options.shards.split(",")):
        for model in (1, 2, 4):
            point = BASE | {"items": items, "model": model, "batch": 4}
            point["hidden"] = options.hidden
            point["most_bytes"] = options.memory << 30
            print(f"{items} items over {model}", file=sys.stderr)
            one = _run(point, options)
            found["points"].append(point | one)
            if "error" in one:
                lines.append(f"| {items:,} | {model} | {one['error']} | | | |")
                continue
            sent = sum(one["collectives"].values())
            took = f"{1e3 * one['seconds']:.0f}" if "seconds" in one else "not run"
            arguments, temporaries = one["argument_bytes"] / 2**20, one["temporary_bytes"] / 2**20
            lines.append(
                f"| {items:,} | {model} | {took} | {arguments:,.0f} MiB "
                f"| {temporaries:,.0f} MiB | {sent:,}, {one['formula_bytes']:,} |"
            )
    harness.finish(found, "\n".join(lines), options.json)


def _run(point: dict, options: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, f"--point={json.dumps(point)}"]
    command += [f"--loss={options.loss}", f"--steps={options.steps}"]
    flags = f"--xla_force_host_platform_device_count={point['devices'] * point['model']}"
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
    import math
    import resource
    import statistics
    import time

    import jax
    import jax.numpy as jnp
    import numpy as np

    from bert4rec_jax import mesh, shards
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
    sampled |= {"items": items} if loss != "softmax" else {}
    split = point["model"]
    where = mesh.make_mesh(point["devices"], split)
    init = functools.partial(init_state, model=model, optimizer=optimizer, shards=split)
    axes = shards.item_axes(jax.eval_shape(init, jax.random.key(0)), split)
    budget = Budget(batch // point["devices"], batches.most_predictions(counts))
    task = functools.partial(
        cloze, counts=jnp.asarray(counts), mask_id=items + 1, last_only_rate=0.0
    )
    step = mesh.map_over_devices(
        make_train_step(
            model=model,
            optimizer=optimizer,
            make_task=lambda key, row, place: task(key, row),
            loss=functools.partial(LOSSES[loss], **sampled),
            budgets=[budget],
            key=jax.random.key(1),
        ),
        where,
        in_axes=(axes, None, mesh.DATA, mesh.DATA),
        out_axes=(axes, None),
        donate=(0,),
    )
    log, windows = mesh.put_copied(log, where), mesh.put_split(batches(0), where)
    shapes = mesh.with_sharding(jax.eval_shape(init, jax.random.key(0)), where, axes=axes)
    program = step.lower(shapes, log, *windows).compile()
    memory = program.memory_analysis()
    # What is looked up, the gradient at what is scored, and a block's three numbers a position.
    asked = budget.rows * budget.positions
    formula = 4 * hidden * (batch * length + asked) + 12 * asked if split > 1 else 0
    found = {
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "collectives": collective_bytes(program.as_text()),
        "formula_bytes": formula,
    }
    needed = where.size * (found["argument_bytes"] + found["temporary_bytes"])
    if needed > point.get("most_bytes", math.inf):
        return found
    state, seconds = mesh.init_in_place(init, where, jax.random.key(0), axes=axes), []
    for _ in range(2 + steps):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(program(state, log, *windows))
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found | {"seconds": statistics.median(seconds[2:]), "peak_mib": peak}


if __name__ == "__main__":
    main()
