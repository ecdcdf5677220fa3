"""What a run says on stderr while it goes on."""

import pathlib
import time
from typing import Any

import jax
import ml_collections

from bert4rec_jax import models
from bert4rec_jax.console import say
from bert4rec_jax.data import identity
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.masking import mask_counts


def say_what_is_read(experiment: Experiment) -> None:
    data = experiment.dataset
    say(
        f"{data['name']}: {data['users']:,} users, {data['items']:,} items, "
        f"{data['actions']:,} actions, mean length {data['length_mean']:.1f}, "
        f"density {data['density']:.2%}"
    )
    if experiment.data.prepared is None:
        by = "of their times" if experiment.log.times is not None else "of the log, without times"
        say(f"each user's rows are in the order {by}")
    say(f"{identity.verdict(data['name'], experiment.identity)}, digest {data['digest'][:12]}")


def say_what_is_trained(experiment: Experiment) -> None:
    batches = experiment.batches
    say(
        f"{experiment.config.model.name}: {len(batches.lengths):,} windows in "
        f"{batches.steps_per_epoch} steps an epoch, {batches.rows} rows a step, "
        f"{batches.fill:.1%} filled; {experiment.mesh.size} x {jax.devices()[0].device_kind}"
    )
    for line in what_falls_short(experiment.config):
        say(line)


def what_falls_short(config: ml_collections.ConfigDict) -> list[str]:
    """A line for each setting that another one keeps from having its full effect."""
    lines = []
    warmup, steps = config.optimizer.warmup_steps, config.train.steps
    if warmup >= steps:
        lines.append(
            f"note: with optimizer.warmup_steps {warmup} of train.steps {steps} the learning rate "
            "never reaches optimizer.learning_rate"
        )
    proportion, budget = config.masking.proportion, config.masking.budget
    length = config.model.max_length
    wanted = mask_counts(length, proportion=proportion, budget=length)[-1]
    model = models.NEURAL.get(config.model.name)
    if model and model.cloze and wanted > budget:
        lines.append(
            f"note: at most masking.budget {budget} items of a window are masked, fewer than "
            f"masking.proportion {proportion:g} of model.max_length {length}"
        )
    return lines


def resuming(workdir: pathlib.Path, step: int, now: dict[str, Any], before: dict[str, Any]) -> str:
    """The line that says so, and what the settings that have changed since then mean for the run.

    Of train.steps, the learning rate; of eval.users and eval.negatives, that a validation before
    and one behind are not of the same thing.

    Args:
        now, before: the config of this command, and that of the checkpoint.
    """
    line = f"resuming {workdir} at step {step}"
    steps, planned = now["train"]["steps"], before["train"]["steps"]
    if steps != planned and now["optimizer"]["schedule"] != "constant":
        line += (
            f", of {planned} when it was saved: the learning rate is from here that of a run of "
            f"{steps}"
        )
    for name in ("users", "negatives"):
        earlier = before["eval"].get(name, now["eval"][name])
        if now["eval"][name] != earlier:
            line += (
                f"; eval.{name} was {earlier!r}: the validations so far, which chose the best "
                "checkpoint, do not compare with those to come"
            )
    return line


def announce_first(run_step, started: float):
    """`run_step`, which prints once how long the command took to complete its first step."""
    first = True

    def wrapped(state, *batch):
        nonlocal first
        result = run_step(state, *batch)
        if first:
            jax.block_until_ready(result)
            say(f"first step done {time.monotonic() - started:.1f} s after the start")
            first = False
        return result

    return wrapped
