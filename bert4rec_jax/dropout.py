"""Dropout from a counter-based hash.

On a CPU, JAX's default generator costs more for attention dropout than the attention itself
(benchmarks/dropout.py); a multiply-xorshift hash of the element's index is fused by XLA into the
operation that reads it and is recomputed, not stored, for the backward pass.
"""

import jax
import jax.numpy as jnp


def hash_bits(seeds: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """uint32 bits of `shape`, a pure function of `seeds` (uint32 [2]) and the element's index.

    The mixer is lowbias32 (Chris Wellons, "Prospecting for Hash Functions", 2018), with the second
    seed entering between its rounds so that two draws are not shifted copies of each other.
    """
    size = 1
    for extent in shape:
        size *= extent
    x = jax.lax.iota(jnp.uint32, size) + seeds[0]
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = x ^ seeds[1]
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return (x ^ (x >> 16)).reshape(shape)


def dropout(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """Zero each element with probability `rate` and scale the rest by 1 / (1 - rate)."""
    if rate == 0.0:
        return x
    keep = 1.0 - rate
    bits = hash_bits(jax.random.bits(key, (2,)), x.shape)
    most = min(round(keep * 2**32), 2**32 - 1)  # the error in the probability is below 2^-32
    return jnp.where(bits < jnp.uint32(most), x / keep, jnp.zeros_like(x))
