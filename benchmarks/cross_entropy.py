"""Cross-entropy over the catalogue and its gradients: plain JAX, and the program's, in blocks.

    python benchmarks/cross_entropy.py [--items=3416,54542] [--positions=1000] [--rounds=5]

d = 64, float32, one process, in turn. "plain" keeps all logits and leaves the gradient to JAX; it
is left out where they are more than 4 GiB. Prints milliseconds, medians over the rounds.
"""

import argparse
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from bert4rec_jax import losses
from bert4rec_jax.allocator import keep_freed_memory

WIDTH = 64


def plain(hidden, table, bias, labels, weights):
    logits = hidden @ table.T + bias[None, :]
    label_logits = jnp.take_along_axis(logits, labels[:, None] - 1, axis=1)[:, 0]
    return jnp.sum(weights * (jax.nn.logsumexp(logits, axis=1) - label_logits))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", default="3416,54542")
    parser.add_argument("--positions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    keep_freed_memory()
    for items in map(int, options.items.split(",")):
        compare(items, options.positions, options.rounds)


def compare(items: int, positions: int, rounds: int) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    hidden = jax.random.normal(keys[0], (positions, WIDTH))
    table = 0.1 * jax.random.normal(keys[1], (items, WIDTH))
    labels = jax.random.randint(keys[2], (positions,), 1, items + 1)
    bias, weights = jnp.zeros(items), jnp.ones(positions)
    functions = {"in blocks": losses.softmax_cross_entropy}
    if 4 * items * positions < 1 << 32:
        functions = {"plain": plain} | functions
    run = {n: jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2))) for n, f in functions.items()}
    seconds = {name: [] for name in run}
    for _ in range(rounds + 1):
        for name, function in run.items():
            started = time.perf_counter()
            jax.block_until_ready(function(hidden, table, bias, labels, weights))
            seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        took = np.median(values[1:])
        speed = 6 * items * WIDTH * positions / took / 1e9
        print(f"{items:9,} items  {name:10} {1e3 * took:8.1f} ms  {speed:5.0f} GFLOP/s")


if __name__ == "__main__":
    main()
