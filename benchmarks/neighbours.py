"""The sum over a position's neighbours as a loop and written out, in turn.

    python benchmarks/neighbours.py [--rounds=15]

Forward and backward, with the position embedding and the LayerNorm behind it, at the size of
configs/ml1m.py (d = 64, N = 200, five neighbours on either side, 24 rows), one process. Prints
seconds to compile, milliseconds, medians over the rounds, and the ratio.
"""

import argparse
import pathlib
import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from bert4rec_jax.allocator import keep_freed_memory
from bert4rec_jax.encoder import add_neighbours

ROWS, LENGTH, WIDTH, NEAR = 24, 200, 64, 5


def written_out(x, segments, weights, causal):
    total, index = x, jnp.arange(LENGTH)[None, :]
    offsets = [*range(-NEAR, 0), *range(1, NEAR + 1)]
    for weight, offset in zip(weights, offsets, strict=True):
        place = index + offset
        there = (place >= 0) & (place < LENGTH)
        there &= jnp.roll(segments, -offset, axis=1) == segments
        if offset > 0:
            there &= ~causal[:, None]
        moved = jnp.roll(x, -offset, axis=1) * weight
        total += jnp.where(there[..., None], moved, 0.0)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    keep_freed_memory()
    keys = jax.random.split(jax.random.key(0), 4)
    x, positions, cotangent = (jax.random.normal(key, (ROWS, LENGTH, WIDTH)) for key in keys[:3])
    weights = jax.random.normal(keys[3], (2 * NEAR, WIDTH))
    segments = jnp.asarray(1 + (np.arange(LENGTH) >= 120), jnp.int32)[None].repeat(ROWS, 0)
    causal = jnp.arange(ROWS) % 2 == 0
    norm = nn.LayerNorm(use_fast_variance=False)
    scale = norm.init(keys[0], x)

    def both_ways(function):
        def embedded(x, weights, positions, scale):
            return norm.apply(scale, function(x, segments, weights, causal) + positions)

        def run(x, weights, positions, cotangent):
            y, pull = jax.vjp(embedded, x, weights, positions, scale)
            return y, pull(cotangent)

        started = time.perf_counter()
        compiled = jax.jit(run).lower(x, weights, positions, cotangent).compile()
        return compiled, time.perf_counter() - started

    names = {"a loop": add_neighbours, "written out": written_out}
    candidates = {name: both_ways(function) for name, function in names.items()}
    seconds = {name: [] for name in candidates}
    for _ in range(rounds + 2):
        for name, (run, _) in candidates.items():
            started = time.perf_counter()
            jax.block_until_ready(run(x, weights, positions, cotangent))
            seconds[name].append(time.perf_counter() - started)
    medians = {name: np.median(values[2:]) for name, values in seconds.items()}
    for name, value in medians.items():
        print(
            f"{name:12} compiled in {candidates[name][1]:5.2f} s  {1e3 * value:6.1f} ms  "
            f"{value / medians['a loop']:5.2f} x"
        )


if __name__ == "__main__":
    main()
