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
        data: 0: as many as there are devices for, those of all processes together.

    Raises:
        UserError: there are too few devices, or with data 0 a number that does not divide; or
            several processes, and not all of their devices are in the mesh.
    """
    found, processes = jax.device_count(), jax.process_count()
    whose = "this machine" if processes == 1 else f"these {processes} processes"
    has = "has" if processes == 1 else "have"
    if not data and found % model:
        raise UserError(
            f"mesh.model {model} does not divide the {found} devices that {whose} {has}: set "
            "mesh.data too"
        )
    data = data or found // model
    wanted = f"mesh.data {data}" + (f" x mesh.model {model}" if model > 1 else "")
    if not 0 < data * model <= found:
        raise UserError(f"{wanted} but {whose} {has} {found} devices")
    if processes > 1 and data * model < found:
        raise UserError(f"{wanted} but {whose} have {found} devices, and all must take part")
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
    here = np.vectorize(lambda device: device.process_index == jax.process_index(), otypes="?")
    return parts[here(mesh.devices).reshape(len(parts), -1).any(axis=1)].ravel()


def put_split(tree: Any, mesh: Mesh) -> Any:
    """Host arrays -> device arrays whose leading axis is split over the data axis.

    With several processes each gives its `own_rows`.
    """
    sharding = NamedSharding(mesh, PartitionSpec(DATA))
    put = functools.partial(jax.make_array_from_process_local_data, sharding)
    return jax.tree.map(lambda x: put(np.asarray(x)), tree)


def put_copied(tree: Any, mesh: Mesh) -> Any:
    """Host arrays -> device arrays, a copy on every device."""
    put = functools.partial(jax.make_array_from_process_local_data, _shardings(None, mesh))
    return jax.tree.map(lambda x: put(np.asarray(x)), tree)


def map_rows(function: Callable, mesh: Mesh, *, params: Any) -> Callable:
    """`map_over_devices` of function(params, batch) for batches of host arrays, split by rows.

    The results can be fetched by every process; each of several puts its own rows of a batch, of
    which all have the whole.

    Args:
        params: of the first argument, as one of `in_axes`.
    """
    mapped = map_over_devices(function, mesh, in_axes=(params, DATA), out_axes=DATA)
    if jax.process_count() == 1:
        return mapped
    # An array that other processes hold a part of cannot be fetched: this gathers it.
    gathered = jax.jit(mapped, out_shardings=_shardings(None, mesh))

    def run(params, batch):
        own = jax.tree.map(lambda x: np.asarray(x)[own_rows(len(x), mesh)], batch)
        return gathered(params, put_split(own, mesh))

    return run


def highest(values: np.ndarray) -> jax.Array:
    """The maximum over processes of each of `values`, int32 [k]. All processes must call it."""
    everyone, of_all = _over_everyone()
    return of_all(put_split(np.tile(values, (jax.local_device_count(), 1)), everyone))


@functools.cache
def _over_everyone() -> tuple[Mesh, Callable]:
    everyone = make_mesh()

    def of_all(values):
        return jax.lax.pmax(values[0], DATA)

    return everyone, map_over_devices(of_all, everyone, in_axes=(DATA,), out_axes=None)
