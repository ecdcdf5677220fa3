"""Attention in turn: this program's, and `jax.nn.dot_product_attention`, at dropout 0.

    python benchmarks/attention.py [--rounds=15] [--dtype=float32]

Forward and backward at the paper's ml-1m size (d = 64, h = 2, N = 200) for 94 rows, one process.
JAX's own has no dropout of the probabilities, which the paper has; on a GPU it is cuDNN's flash
attention where the type is bfloat16. Prints milliseconds, medians over the rounds, and the ratio.
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
from bert4rec_jax.attention import attention

ROWS, LENGTH, WIDTH, HEADS = 94, 200, 64, 2


def ours(qkv, segments):
    return attention(qkv, segments, heads=HEADS, dropout_key=None, dropout_rate=0.0)


def jaxs(qkv, segments):
    q, k, v = jnp.moveaxis(qkv.reshape(ROWS, LENGTH, 3, HEADS, WIDTH // HEADS), 2, 0)
    visible = (segments[:, None, :, None] == segments[:, None, None, :]) & (
        segments[:, None, None, :] > 0
    )
    return jax.nn.dot_product_attention(q, k, v, mask=visible).reshape(-1, WIDTH)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    keep_freed_memory()
    keys = jax.random.split(jax.random.key(0), 2)
    qkv = jax.random.normal(keys[0], (ROWS * LENGTH, 3 * WIDTH)).astype(options.dtype)
    cotangent = jax.random.normal(keys[1], (ROWS * LENGTH, WIDTH)).astype(options.dtype)
    segments = jnp.asarray(1 + (np.arange(LENGTH) >= 120), jnp.int32)[None].repeat(ROWS, 0)
    difference = jnp.abs(ours(qkv, segments) - jaxs(qkv, segments)).max()
    print(f"{jax.devices()[0].device_kind}, {options.dtype}: largest difference {difference:.1e}")

    def both_ways(function):
        @jax.jit
        def run(qkv, cotangent):
            y, pull = jax.vjp(lambda x: function(x, segments), qkv)
            return y, pull(cotangent)

        return run

    candidates = {"this program": both_ways(ours), "jax.nn": both_ways(jaxs)}
    seconds = {name: [] for name in candidates}
    for _ in range(options.rounds + 2):
        for name, run in candidates.items():
            started = time.perf_counter()
            jax.block_until_ready(run(qkv, cotangent))
            seconds[name].append(time.perf_counter() - started)
    medians = {name: np.median(values[2:]) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:12} {1e3 * value:6.1f} ms  {value / medians['this program']:5.2f} x")


if __name__ == "__main__":
    main()
