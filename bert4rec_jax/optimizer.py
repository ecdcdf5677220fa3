"""Adam with decoupled weight decay as the original code has it (optimization.py), in Optax."""

import jax
import jax.numpy as jnp
import optax

from bert4rec_jax.shards import global_norm

SCHEDULES = ("linear", "cosine", "constant")


def learning_rate_schedule(
    *, learning_rate: float, warmup_steps: int, steps: int, schedule: str = "linear"
) -> optax.Schedule:
    """Linear warm-up from 0, then decay to 0 at `steps`.

    "linear" counts its decay from step 0, as the original does (optimization.py, 33-55): at the end
    of the warm-up the rate jumps to the line. "cosine" decays from the end of the warm-up;
    "constant" does not decay.

    Raises:
        ValueError: no such schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r} is unknown; there are {', '.join(SCHEDULES)}")

    def rate(step):
        step = jnp.asarray(step, jnp.float32)
        if schedule == "linear":
            decayed = learning_rate * jnp.maximum(0.0, 1.0 - step / steps)
        elif schedule == "cosine":
            done = jnp.clip((step - warmup_steps) / max(1, steps - warmup_steps), 0.0, 1.0)
            decayed = learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        else:  # constant
            decayed = jnp.full_like(step, learning_rate)
        return jnp.where(step < warmup_steps, learning_rate * step / max(1, warmup_steps), decayed)

    return rate


def decay_mask(params):
    """True for what weight decay applies to: everything but biases and LayerNorm parameters.

    Embedding tables are decayed (optimization.py, 66 and 156-164).
    """

    def is_decayed(path, _):
        names = [str(entry.key) for entry in path]
        return "bias" not in names[-1] and not any("norm" in name for name in names)

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam's update without bias correction, as BERT's code has it (optimization.py, 128-134)."""

    def update(updates, state, params=None):
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu)
        count = optax.safe_increment(state.count)
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2, eps).init, update)


def clip_by_global_norm(most: float) -> optax.GradientTransformation:
    """Optax's, but for the norm: Optax's would be that of one device's shard of the tables."""

    def update(updates, state, params=None):
        del params
        norm = global_norm(updates)

        def clip(x):
            return jax.lax.select(norm < most, x, (x / norm.astype(x.dtype)) * most)

        return jax.tree.map(clip, updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def make_optimizer(
    schedule: optax.Schedule,
    *,
    weight_decay: float = 0.01,
    clip_norm: float = 5.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    bias_correction: bool = False,
) -> optax.GradientTransformation:
    """Clip the global norm, Adam, decoupled decay, and the schedule, in the original's order."""
    adam = optax.scale_by_adam if bias_correction else scale_by_uncorrected_adam
    return optax.chain(
        clip_by_global_norm(clip_norm),
        adam(b1=b1, b2=b2, eps=eps),
        optax.add_decayed_weights(weight_decay, mask=decay_mask),
        optax.scale_by_learning_rate(schedule),
    )
