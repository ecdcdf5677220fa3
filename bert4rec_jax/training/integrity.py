"""Whether a checkpoint is what was saved: fingerprints of its arrays, a checksum of its meta.

Orbax's format (zarr chunks in OCDBT) has none for the numbers: it sees a missing or cut file, and
its own indices have a CRC-32C, but a flipped bit in a tensor comes back as another number.
"""

import json
import pathlib
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.errors import UserError, first_line
from bert4rec_jax.files import replacing
from bert4rec_jax.shards import has_item_rows


class DamagedCheckpoint(UserError):
    """A checkpoint that does not come back as it was saved."""


def fingerprints(tree: Any) -> dict[str, str]:
    """Path of each leaf -> its type and fingerprint, as in "float32[300,64] 9c01f2aa".

    The fingerprint is the sum, modulo 2^32, of a hash of each element's bits and place. The hash
    is one-to-one for each place, so any change of one element shows; changes of several cancel
    with probability 2^-32. It is computed where the arrays lie, in one pass, and a sum of integers
    does not depend on how they are split over devices; nor on the zeros that pad an item table for
    them, for 0 has the hash 0 in every place.

    Args:
        tree: a pytree of jax arrays of 8-, 16- or 32-bit numbers.
    """
    sums = jax.device_get(_hash_sums(jax.tree.leaves(tree)))
    return {
        path: f"{kind} {int(total):08x}"
        for (path, kind), total in zip(kinds(tree).items(), sums, strict=True)
    }


def kinds(tree: Any) -> dict[str, str]:
    """Path of each array or ShapeDtypeStruct -> its type, as in "float32[300,64]".

    An item table's rows are left out, as in "float32[items,64]": they depend on the mesh, and the
    vocabulary's digest says how many there are.
    """

    def kind(path, leaf):
        shape = ["items", *leaf.shape[1:]] if has_item_rows(path) else leaf.shape
        return f"{leaf.dtype}[{','.join(map(str, shape))}]"

    return {
        jax.tree_util.keystr(path, simple=True, separator="."): kind(path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@jax.jit
def _hash_sums(leaves: list[jax.Array]) -> list[jax.Array]:
    return [_hash_sum(leaf) for leaf in leaves]


def _hash_sum(x: jax.Array) -> jax.Array:
    bits = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}").astype(jnp.uint32)
    place = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):
        along = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        place = place * np.uint32(size) + along
    place = place * np.uint32(2654435761)
    return jnp.sum(_hash(bits + place) - _hash(place), dtype=jnp.uint32)


def _hash(x: jax.Array) -> jax.Array:
    """One-to-one on uint32: C. Wellons' lowbias32 (nullprogram.com/blog/2018/07/31)."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def damaged(checkpoint: pathlib.Path, reason: Any) -> DamagedCheckpoint:
    """The error to raise, with the first line of `reason`."""
    return DamagedCheckpoint(f"{checkpoint} is damaged ({first_line(reason)[:200]})")


def sealed(meta: dict[str, Any]) -> dict[str, Any]:
    """`meta` with a checksum, for `read_meta`."""
    return meta | {"crc32": _crc32(meta)}


def _crc32(meta: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


def read_meta(checkpoint: pathlib.Path) -> dict[str, Any]:
    """What `sealed` made, from a checkpoint's folder; DamagedCheckpoint where it is not that."""
    try:
        meta = json.loads((checkpoint / "meta" / "metadata").read_text(encoding="utf-8"))
        crc32 = meta.pop("crc32", None)  # older checkpoints have none
    except (OSError, ValueError, AttributeError) as error:
        raise damaged(checkpoint, error) from error
    if crc32 is not None and crc32 != _crc32(meta):
        raise damaged(checkpoint, "its meta is not what was saved")
    return meta


def mend_metrics(directory: pathlib.Path) -> None:
    """Write again what Orbax chooses the best by, where a damaged file is not what meta says."""
    for path in directory.glob("*/metrics/metrics"):
        try:
            metrics = read_meta(path.parents[1]).get("metrics")
        except DamagedCheckpoint:
            metrics = {}
        try:
            same = metrics in (None, json.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            same = False
        if not same:
            with replacing(path) as unfinished:
                unfinished.write_text(json.dumps(metrics or {}))
