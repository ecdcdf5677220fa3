"""What a training run carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bert4rec_jax.shards import pad_rows


class TrainState(NamedTuple):
    """Attributes:
    step: int32 scalar, the number of completed updates.
    params: the model's parameters, a dict of float32 arrays.
    opt_state: Optax's state.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState


def init_params(key: jax.Array, *, model: Any, shards: int = 1) -> Any:
    """The parameters of a model as they are before training, item tables padded for `shards`."""
    ids = jnp.zeros((1, model.max_length), jnp.int32)

    # Parameters that only the output layer uses are created by calling it too.
    def everything(module, ids):
        return module.transform(module(ids, ids, ids)), module.item_table()

    # Padded afterwards: what is drawn for an item must not depend on the mesh.
    return pad_rows(model.init(key, ids, method=everything)["params"], shards)


def init_state(
    key: jax.Array, *, model: Any, optimizer: optax.GradientTransformation, shards: int = 1
) -> TrainState:
    """A fresh state; run it under `mesh.init_in_place`."""
    params = init_params(key, model=model, shards=shards)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
