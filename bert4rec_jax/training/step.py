"""One training step: a pure function of (state, log, batch), the same on every device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bert4rec_jax.data.batching import make_row
from bert4rec_jax.losses import pick_weighted
from bert4rec_jax.mesh import copy_per_device, device_index, sum_over_devices
from bert4rec_jax.training.state import TrainState


def objective_sums(params, rows, task, *, model, loss, budget, key):
    """(loss_sum, weight_sum) of this device's rows: float32 scalars.

    Args:
        rows: `masking.Row`, fields [B, N].  task: `masking.Task`, fields [B, N].
        loss: (key, hidden, table, bias, labels, weights) -> sum, one of `losses.LOSSES`.
        budget: a bound on the number of positions with weight.
        key: of dropout and of what the loss draws; None: no dropout.
    """
    indices, weights = pick_weighted(task.weights.reshape(-1), budget=budget)
    bound = functools.partial(model.apply, {"params": params})
    hidden = bound(
        task.inputs,
        rows.segments,
        rows.positions,
        train=key is not None,
        **({} if task.causal is None else {"causal": task.causal}),
        rngs=None if key is None else {"dropout": key},
    )
    # Gathered before the output layer: no logits at the other positions, ever.
    picked = hidden.reshape(-1, hidden.shape[-1])[indices]  # [budget, d]
    table, bias = bound(method="item_table")
    picked = bound(picked, method="transform")
    with jax.named_scope("loss"):
        loss_sum = loss(
            jax.random.key(0) if key is None else jax.random.fold_in(key, 1),
            picked,
            table.astype(picked.dtype),
            bias,
            task.labels.reshape(-1)[indices],
            weights,
        )
    return loss_sum, jnp.sum(weights)


def make_train_step(
    *,
    model: Any,
    optimizer: optax.GradientTransformation,
    make_task: Callable,
    loss: Callable,
    budget: int,
    key: jax.Array,
) -> Callable:
    """The per-device step, for `mesh.map_over_devices`.

    Args:
        make_task: (key, Row of one row, its place in the batch) -> Task.
        loss: one of `losses.LOSSES`.
        budget: a bound on the positions that this device's rows predict.
        key: the run's root key. Every random number of a step follows from it and the step: masks
            from the windows' places in the log, dropout from the device's place in the mesh.

    Returns:
        step(state, log, starts, lengths) -> (state, metrics): `metrics` holds the sums over all
        devices "loss", "weight" (masked items) and "examples" (windows), and "grad_norm" before
        clipping.
    """

    def step(state: TrainState, log, starts, lengths):
        step_key = jax.random.fold_in(key, state.step)
        mask_key, dropout_key = jax.random.split(step_key)
        with jax.named_scope("rows"):
            rows = jax.vmap(functools.partial(make_row, log, max_length=model.max_length))(
                starts, lengths
            )
            # Places in the batch of all devices: what a row asks must not depend on their number.
            places = device_index() * len(starts) + jnp.arange(len(starts))
            task = jax.vmap(make_task, in_axes=(None, 0, 0))(mask_key, rows, places)

        def objective(params):
            loss_sum, weight_sum = sum_over_devices(
                objective_sums(
                    copy_per_device(params),
                    rows,
                    task,
                    model=model,
                    loss=loss,
                    budget=budget,
                    key=jax.random.fold_in(dropout_key, device_index()),
                )
            )
            return loss_sum / jnp.maximum(weight_sum, 1.0), (loss_sum, weight_sum)

        gradients, (loss_sum, weight_sum) = jax.grad(objective, has_aux=True)(state.params)
        with jax.named_scope("optimizer"):
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        metrics = {
            "loss": loss_sum,
            "weight": weight_sum,
            "examples": sum_over_devices(jnp.sum(lengths > 0)),
            "grad_norm": optax.tree.norm(gradients),
        }
        return TrainState(state.step + 1, params, opt_state), metrics

    return step
