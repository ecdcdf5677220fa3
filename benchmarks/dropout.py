"""Dropout of one layer's attention probabilities: the hash against JAX's generators, in turn.

    python benchmarks/dropout.py [--rounds=15]

Forward and backward of dropout on [128, 2, 200, 200], the paper's ml-1m size at batch 128, one
process. Prints milliseconds, medians over the rounds, and ratios to the hash.
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
from bert4rec_jax.dropout import dropout

RATE = 0.2


def library_dropout(key, x, rate):
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)


def forward_and_backward(function):
    return jax.jit(lambda key, x: jax.grad(lambda x: (function(key, x, RATE) ** 2).sum())(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    keep_freed_memory()
    x = jax.random.normal(jax.random.key(0), (128, 2, 200, 200))
    candidates = {
        "hash": (forward_and_backward(dropout), jax.random.key(1)),
        "threefry2x32": (forward_and_backward(library_dropout), jax.random.key(1)),
        "rbg": (forward_and_backward(library_dropout), jax.random.key(1, impl="rbg")),
    }
    seconds = {name: [] for name in candidates}
    for _ in range(rounds + 2):
        for name, (function, key) in candidates.items():
            started = time.perf_counter()
            jax.block_until_ready(function(key, x))
            seconds[name].append(time.perf_counter() - started)
    medians = {name: np.median(values[2:]) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:13} {1e3 * value:7.1f} ms  {value / medians['hash']:5.2f} x")


if __name__ == "__main__":
    main()
