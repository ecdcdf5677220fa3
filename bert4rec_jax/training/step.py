"""One training step: a pure function of (state, log, batch), the same on every device."""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bert4rec_jax.data.batching import make_rows
from bert4rec_jax.losses import pick_weighted
from bert4rec_jax.mesh import copy_per_device, device_index, sum_over_devices
from bert4rec_jax.shards import global_norm
from bert4rec_jax.training.state import TrainState

# The last block, half of the work at L = 2, is spared at the positions that nothing is asked of
# where those asked are at most this share of a row: picking them first costs what it saves where
# they are most (benchmarks/profile.md).
FEW = 0.5


class Budget(NamedTuple):
    """So many rows of a device, and the most positions that each of them asks for."""

    rows: int
    positions: int


def objective_sums(params, rows, task, *, model, loss, budgets, key):
    """(loss_sum, weight_sum) of this device's rows: float32 scalars.

    Args:
        rows: `masking.Row`, fields [B, N].  task: `masking.Task`, fields [B, N].
        loss: (key, hidden, table, bias, labels, weights) -> sum, one of `losses.LOSSES`.
        budgets: `Budget`s of all B rows, falling in `positions`.
        key: of dropout and of what the loss draws.
    """
    bound = functools.partial(model.apply, {"params": params})
    loss_key, *dropout_keys = (jax.random.fold_in(key, i) for i in range(len(budgets) + 1))
    inputs = (task, rows.segments, rows.positions)
    if len(budgets) > 1:
        order = jnp.argsort(-jnp.sum(task.weights > 0, axis=1))  # those that ask the most first
        inputs = jax.tree.map(lambda x: x[order], inputs)
    ends = itertools.accumulate(budget.rows for budget in budgets)
    asked = []
    for budget, end, dropout_key in zip(budgets, ends, dropout_keys, strict=True):
        part = jax.tree.map(operator.itemgetter(slice(end - budget.rows, end)), inputs)
        asked.append(_asked(bound, *part, most=budget.positions, key=dropout_key))
    hidden, labels, weights = (jnp.concatenate(x) for x in zip(*asked, strict=True))
    table, bias = bound(method="item_table")
    hidden = bound(hidden, method="transform")
    with jax.named_scope("loss"):
        loss_sum = loss(loss_key, hidden, table, bias, labels, weights)
    return loss_sum, jnp.sum(weights)


def _asked(bound, task, segments, positions, *, most, key):
    """(hidden [B * most, d], labels [B * most], weights [B * most]) of what these rows ask for."""
    picked, weights = jax.vmap(functools.partial(pick_weighted, budget=most))(task.weights)
    few = most <= FEW * segments.shape[1]
    hidden = bound(
        task.inputs,
        segments,
        positions,
        train=True,
        **({"asked": picked} if few else {}),
        **({} if task.causal is None else {"causal": task.causal}),
        rngs={"dropout": key},
    )
    if not few:
        hidden = jnp.take_along_axis(hidden, picked[:, :, None], axis=1)
    # Gathered before the output layer: no logits at the other positions, ever.
    labels = jnp.take_along_axis(task.labels, picked, axis=1)
    return hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1), weights.reshape(-1)


def make_train_step(
    *,
    model: Any,
    optimizer: optax.GradientTransformation,
    make_task: Callable,
    loss: Callable,
    budgets: Sequence[Budget],
    key: jax.Array,
) -> Callable:
    """The per-device step, for `mesh.map_over_devices`.

    Args:
        make_task: (key, Row of one row, its place in the batch) -> Task.
        loss: one of `losses.LOSSES`.
        budgets: of this device's rows, as in `objective_sums`.
        key: the run's root key. Every random number of a step follows from it and the step: masks
            from the windows' places in the log, dropout from the device's place on the data axis
            (devices along the other axis hold the same rows, and drop the same).

    Returns:
        step(state, log, starts, lengths) -> (state, metrics): `log`, `starts` and `lengths` as
        `make_rows` takes them (of this device's rows); `metrics` holds the sums over all
        devices "loss", "weight" (predicted items) and "examples" (windows), "grad_norm" before
        clipping, and "skipped", int32: 1 where the loss or the gradient is not finite, so that
        parameters and optimiser state are left as they were.
    """

    def step(state: TrainState, log, starts, lengths):
        step_key = jax.random.fold_in(key, state.step)
        mask_key, dropout_key = jax.random.split(step_key)
        with jax.named_scope("rows"):
            rows = make_rows(log, starts, lengths, max_length=model.max_length)
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
                    budgets=budgets,
                    key=jax.random.fold_in(dropout_key, device_index()),
                )
            )
            return loss_sum / jnp.maximum(weight_sum, 1.0), (loss_sum, weight_sum)

        gradients, (loss_sum, weight_sum) = jax.grad(objective, has_aux=True)(state.params)
        with jax.named_scope("optimizer"):
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        grad_norm = global_norm(gradients)
        # One step's overflow must not end a run of days: such an update is left out.
        finite = jnp.isfinite(loss_sum) & jnp.isfinite(grad_norm)
        params, opt_state = jax.tree.map(
            functools.partial(jnp.where, finite),
            (params, opt_state),
            (state.params, state.opt_state),
        )
        metrics = {
            "loss": loss_sum,
            "weight": weight_sum,
            "examples": sum_over_devices(jnp.sum(lengths > 0)),
            "grad_norm": grad_norm,
            "skipped": 1 - finite.astype(jnp.int32),
        }
        return TrainState(state.step + 1, params, opt_state), metrics

    return step
