"""The feed-forward network on tokens as one matrix [B * N, d] and as [B, N, d], in turn.

    python benchmarks/feed_forward.py [--rounds=15]

Forward and backward at the paper's ml-1m size (d = 64, N = 200) for 94 rows, one process. Prints
milliseconds, medians over the rounds, and the ratio.
"""

import argparse
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from bert4rec_jax.allocator import keep_freed_memory
from bert4rec_jax.encoder import gelu

ROWS, LENGTH, WIDTH = 94, 200, 64


def network(x, w_in, w_out):
    return gelu(x @ w_in) @ w_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    keep_freed_memory()
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (ROWS * LENGTH, WIDTH))
    cotangent = jax.random.normal(keys[1], x.shape)
    w_in = 0.1 * jax.random.normal(keys[2], (WIDTH, 4 * WIDTH))
    w_out = 0.1 * jax.random.normal(keys[3], (4 * WIDTH, WIDTH))

    @jax.jit
    def forward_and_backward(x, cotangent):
        y, pull = jax.vjp(network, x, w_in, w_out)
        return y, pull(cotangent)

    cube = (ROWS, LENGTH, WIDTH)
    candidates = {
        "[B * N, d]": (x, cotangent),
        "[B, N, d]": (jnp.reshape(x, cube), jnp.reshape(cotangent, cube)),
    }
    seconds = {name: [] for name in candidates}
    for _ in range(rounds + 2):
        for name, arguments in candidates.items():
            started = time.perf_counter()
            jax.block_until_ready(forward_and_backward(*arguments))
            seconds[name].append(time.perf_counter() - started)
    medians = {name: np.median(values[2:]) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:10} {1e3 * value:6.1f} ms  {value / medians['[B * N, d]']:5.2f} x")


if __name__ == "__main__":
    main()
