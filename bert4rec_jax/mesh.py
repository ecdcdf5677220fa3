"""The only module that knows there is more than one device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bert4rec_jax.errors import UserError

DATA = "data"
MODEL = "model"


def make_mesh(data: int = 0, model: int = 1) -> Mesh:
    """A mesh of data x model devices.

    A batch's rows are split over the axis "data", the item table's rows over the axis "model" (see
    `shards.py`); everything else is the same along it.

    Args:
        data: 0: as many as this machine has devices for.

    Raises:
        UserError: this machine has too few devices, or with data 0 a number that does not divide.
    """
    found = jax.device_count()
    if not data and found % model:
        raise UserError(
            f"mesh.model {model} does not divide this machine's {found} devices: set mesh.data too"
        )
    data = data or found // model
    if not 0 < data * model <= found:
        wanted = f"mesh.data {data}" + (f" x mesh.model {model}" if model > 1 else "")
        raise UserError(f"{wanted} but this machine has {found} devices")
    # make_mesh defaults to Explicit axes, under which a gather from a table needs a sharding.
    return jax.make_mesh(
        (data, model),
        (DATA, MODEL),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[: data * model],
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


# The same for the axis "model". Where the table is not split, each returns what it was given and
# adds nothing to the program.


def shard_count() -> int:
    """How many devices share the item table; 1 outside a function given to `map_over_devices`."""
    return jax.sharding.get_abstract_mesh().shape.get(MODEL, 1)


def shard_index() -> jax.Array | int:
    """Which part of the item table this device holds."""
    return jax.lax.axis_index(MODEL) if shard_count() > 1 else 0


def sum_over_shards(x: Any) -> Any:
    """Sum over the devices that share the item table."""
    return jax.lax.psum(x, MODEL) if shard_count() > 1 else x


def max_over_shards(x: Any) -> Any:
    """Maximum over the devices that share the item table; it has no gradient."""
    return jax.lax.pmax(x, MODEL) if shard_count() > 1 else x


def gather_shards(x: jax.Array, *, axis: int) -> jax.Array:
    """What all devices that share the item table hold, one after another along `axis`."""
    if shard_count() == 1:
        return x
    return jax.lax.all_gather(x, MODEL, axis=axis, tiled=True, to="invarying")


def copy_per_shard(x: jax.Array) -> jax.Array:
    """Mark what is equal along "model" as each device's own, as `copy_per_device` along "data"."""
    return jax.lax.pcast(x, MODEL, to="varying") if shard_count() > 1 else x


def map_over_devices(
    function: Callable, mesh: Mesh, *, in_axes: tuple, out_axes: Any, donate: tuple[int, ...] = ()
) -> Callable:
    """jit(shard_map(function)): what `jax.pmap` is inside since JAX 0.8, spelled out.

    Args:
        function: the pure per-device function.
        in_axes: for each argument "data" or "model" (its leading axis is split over that axis) or
            None (a copy everywhere); or a pytree of those.
        out_axes: likewise for the outputs, a pytree prefix.
        donate: arguments whose buffers the outputs may reuse.

    The replication check stays on: it proves that what is declared a copy is one. With it, the
    gradient of a copied argument arrives already summed over devices; a psum of one's own would
    make it too large by their number.
    """

    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=_specs(in_axes), out_specs=_specs(out_axes), check_vma=True
    )
    return jax.jit(mapped, donate_argnums=donate)


def _specs(axes: Any) -> Any:
    """A pytree of "data", "model" or None -> the same of PartitionSpecs."""

    def spec(axis):
        return PartitionSpec() if axis is None else PartitionSpec(axis)

    return jax.tree.map(spec, axes, is_leaf=lambda axis: axis is None)


def _shardings(axes: Any, mesh: Mesh) -> Any:
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), _specs(axes))


def init_in_place(init: Callable, mesh: Mesh, *args, axes: Any = None) -> Any:
    """`init(*args)`, built where it is to lie: `axes` as `out_axes` of `map_over_devices`.

    Under jit with out_shardings, not device_put: donating the result of device_put can delete the
    array it was made from.
    """
    return jax.jit(init, out_shardings=_shardings(axes, mesh))(*args)


def with_sharding(tree: Any, mesh: Mesh, *, axes: Any = None) -> Any:
    """ShapeDtypeStructs of `tree` that ask for `axes` of `mesh`, by default a copy everywhere."""
    if axes is None:
        axes = jax.tree.map(lambda x: None, tree)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        tree,
        _shardings(axes, mesh),
    )


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
    put = functools.partial(jax.make_array_from_process_local_data, _shardings(None, mesh))
    return jax.tree.map(lambda x: put(np.asarray(x)), tree)
