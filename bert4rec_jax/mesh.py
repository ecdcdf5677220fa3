"""The only module that knows there is more than one device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bert4rec_jax.errors import UserError

DATA = "data"


def make_mesh(data: int = 0) -> Mesh:
    """A mesh of `data` devices along the axis "data"; 0 takes all devices of this machine."""
    found = jax.device_count()
    data = data or found
    if not 0 < data <= found:
        raise UserError(f"mesh.data {data} but this machine has {found} devices")
    # make_mesh defaults to Explicit axes, under which a gather from a table needs a sharding.
    return jax.make_mesh(
        (data,), (DATA,), axis_types=(AxisType.Auto,), devices=jax.devices()[:data]
    )


def check_divisible(name: str, value: int, mesh: Mesh) -> None:
    """UserError unless `value` splits evenly over the data axis."""
    if value % mesh.shape[DATA]:
        raise UserError(
            f"{name} {value} is not divisible by {mesh.shape[DATA]} devices (mesh.data)"
        )


def sum_over_devices(x: Any) -> Any:
    """Sum over the data axis; for use inside a function given to `map_over_devices`."""
    return jax.lax.psum(x, DATA)


def copy_per_device(tree: Any) -> Any:
    """Mark copied arrays as each device's own, for use inside `map_over_devices`.

    The gradient of what is marked so is summed over devices where it was marked: once per array.
    """
    return jax.tree.map(lambda x: jax.lax.pcast(x, DATA, to="varying"), tree)


def device_index() -> jax.Array:
    """This device's place on the data axis; for use inside `map_over_devices`."""
    return jax.lax.axis_index(DATA)


def map_over_devices(
    function: Callable, mesh: Mesh, *, in_axes: tuple, out_axes: Any, donate: tuple[int, ...] = ()
) -> Callable:
    """jit(shard_map(function)): what `jax.pmap` is inside since JAX 0.8, spelled out.

    Args:
        function: the pure per-device function.
        in_axes: for each argument "data" (its leading axis is split) or None (a copy everywhere).
        out_axes: likewise for the outputs, a pytree prefix.
        donate: arguments whose buffers the outputs may reuse.

    The replication check stays on: it proves that what is declared a copy is one. With it, the
    gradient of a copied argument arrives already summed over devices; a psum of one's own would
    make it too large by their number.
    """

    def spec(axis):
        return PartitionSpec() if axis is None else PartitionSpec(axis)

    def specs(axes):
        return jax.tree.map(spec, axes, is_leaf=lambda axis: axis is None)

    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=specs(in_axes), out_specs=specs(out_axes), check_vma=True
    )
    return jax.jit(mapped, donate_argnums=donate)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds a copy of."""
    return NamedSharding(mesh, PartitionSpec())


def init_replicated(init: Callable, mesh: Mesh, *args) -> Any:
    """`init(*args)`, built in place on every device.

    Under jit with out_shardings, not device_put: donating the result of device_put can delete the
    array it was made from.
    """
    return jax.jit(init, out_shardings=replicated(mesh))(*args)


def with_replicated_sharding(tree: Any, mesh: Mesh) -> Any:
    """ShapeDtypeStructs of `tree` that ask for a copy on every device of `mesh`."""
    sharding = replicated(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def own_rows(rows: int, mesh: Mesh) -> np.ndarray:
    """The rows, of so many of a batch, that this process puts on its devices: int [own]."""
    parts = np.arange(rows).reshape(mesh.shape[DATA], -1)
    devices = mesh.devices.reshape(len(parts), -1)[:, 0]
    return parts[[device.process_index == jax.process_index() for device in devices]].ravel()


def put_split(tree: Any, mesh: Mesh) -> Any:
    """Host arrays -> device arrays whose leading axis is split over the data axis."""
    sharding = NamedSharding(mesh, PartitionSpec(DATA))
    put = functools.partial(jax.make_array_from_process_local_data, sharding)
    return jax.tree.map(lambda x: put(np.asarray(x)), tree)


def put_copied(tree: Any, mesh: Mesh) -> Any:
    """Host arrays -> device arrays, a copy on every device."""
    put = functools.partial(jax.make_array_from_process_local_data, replicated(mesh))
    return jax.tree.map(lambda x: put(np.asarray(x)), tree)
