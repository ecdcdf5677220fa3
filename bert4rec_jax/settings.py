"""What a config must satisfy before anything is built, and when a saved run may be gone on with."""

import math
import pathlib
from typing import Any

from bert4rec_jax.encoder import PARTS
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.ranking import PROTOCOLS
from bert4rec_jax.gru4rec import CELLS
from bert4rec_jax.initializers import BY_NAME
from bert4rec_jax.losses import LOSSES
from bert4rec_jax.models import COUNTED, NAMES, fields_of
from bert4rec_jax.optimizer import SCHEDULES

# Whole numbers are int32 wherever a program is compiled for them, and no infinity is a setting.
_LIMIT = 2**31


def _positive(value) -> bool:
    return 0 < value < _LIMIT


def _not_negative(value) -> bool:
    return 0 <= value < _LIMIT


def _cutoffs(ks) -> bool:
    return len(ks) > 0 and all(isinstance(k, int) and _positive(k) for k in ks)


def _protocols(names) -> bool:
    return len(names) > 0 and set(map(str, names)) <= set(PROTOCOLS)


def _rate(value) -> bool:
    return 0 <= value < 1


def _share(value) -> bool:
    return 0 <= value <= 1


def _positive_share(value) -> bool:
    return 0 < value <= 1


# Setting -> (what it must satisfy, in words).
_RULES = {
    "model.name": (NAMES.__contains__, f"one of {', '.join(NAMES)}"),
    "model.cell": (CELLS.__contains__, " or ".join(CELLS)),
    "model.window": (_positive, "positive"),
    "model.horizontal": (_positive, "positive"),
    "model.vertical": (_positive, "positive"),
    "model.smoothing": (_positive, "positive"),
    "train.loss": (LOSSES.__contains__, f"one of {', '.join(LOSSES)}"),
    "train.negatives": (_positive, "positive"),
    "train.calibration": (_share, "in [0, 1]"),
    "data.split": (
        ("leave_one_out", "global_time").__contains__,
        "leave_one_out or global_time",
    ),
    "data.min_item_count": (_not_negative, "not negative"),
    "data.min_user_count": (_not_negative, "not negative"),
    "data.split_time": (math.isfinite, "a finite number"),
    "model.max_length": (lambda n: 2 <= n < _LIMIT, "at least 2"),
    "model.hidden": (_positive, "positive"),
    "model.layers": (_positive, "positive"),
    "model.heads": (_positive, "positive"),
    "model.feed_forward": (_positive, "positive"),
    "model.dropout": (_rate, "in [0, 1)"),
    "model.attention_dropout": (_rate, "in [0, 1)"),
    "model.kernel_init": (BY_NAME.__contains__, " or ".join(BY_NAME)),
    "model.neighbours": (_not_negative, "not negative"),
    "model.without": (("", *PARTS).__contains__, f"empty or one of {', '.join(PARTS)}"),
    "model.dtype": (("float32", "bfloat16").__contains__, "float32 or bfloat16"),
    "masking.proportion": (_positive_share, "in (0, 1]"),
    "masking.budget": (_positive, "positive"),
    "masking.last_only_rate": (_share, "in [0, 1]"),
    "masking.mask_rate": (_positive_share, "in (0, 1]"),
    "masking.static_copies": (_not_negative, "not negative"),
    "masking.left_to_right_rate": (_rate, "in [0, 1)"),
    "masking.stride": (_positive, "positive"),
    "optimizer.learning_rate": (_positive, "positive"),
    "optimizer.schedule": (SCHEDULES.__contains__, f"one of {', '.join(SCHEDULES)}"),
    "optimizer.warmup_steps": (_not_negative, "not negative"),
    "optimizer.weight_decay": (_not_negative, "not negative"),
    "optimizer.clip_norm": (_positive, "positive"),
    "optimizer.b1": (_rate, "in [0, 1)"),
    "optimizer.b2": (_rate, "in [0, 1)"),
    "optimizer.eps": (_positive, "positive"),
    "train.steps": (_positive, "positive"),
    "train.batch_size": (_positive, "positive"),
    "train.log_every": (_positive, "positive"),
    "train.eval_every": (_positive, "positive"),
    "train.checkpoint_minutes": (_positive, "positive"),
    "train.patience": (_not_negative, "not negative"),
    "eval.users": (_not_negative, "not negative (0: all)"),
    "train.max_skipped": (_not_negative, "not negative"),
    "eval.batch_size": (_positive, "positive"),
    "eval.ks": (_cutoffs, "positive whole numbers"),
    "eval.protocols": (_protocols, f"some of {', '.join(PROTOCOLS)}"),
    "mesh.data": (_not_negative, "not negative (0: all devices)"),
}

# Where a machine has the data, and how it reads them.
PLACES = ("data.path", "data.cache", "data.verify")
# What may differ between the command that began a run and the one that goes on with it.
_FREE = (*PLACES, "eval", "mesh", "train.steps", "train.patience")
_FREE += ("train.log_every", "train.eval_every", "train.checkpoint_minutes", "train.max_skipped")


def check(config) -> None:
    """UserError for the first setting whose value makes no sense; names it and what it must be."""
    for name, (holds, words) in _RULES.items():
        section, key = name.split(".")
        value = config[section][key]
        if not holds(value):
            raise UserError(f"{name} {value!r} must be {words}{_limit(value)}")
    if not _not_negative(config.seed):
        raise UserError(f"seed {config.seed} must be not negative{_limit(config.seed)}")
    model, data = config.model, config.data
    if "heads" in fields_of(model.name) and model.hidden % model.heads:
        raise UserError(
            f"model.hidden {model.hidden} is not divisible by model.heads {model.heads}"
        )
    check_item_shards(config.mesh.model, model.name)
    if data.split_time and data.split != "global_time":
        raise UserError(
            f"data.split_time {data.split_time:g} says nothing with data.split {data.split!r}: "
            "set data.split to global_time, or leave data.split_time out"
        )
    if data.path and not pathlib.Path(data.path).exists():
        raise UserError(f"data.path {data.path}: no such file")


def check_training(config) -> None:
    """`check`, and that validation has the metric which chooses a training's best checkpoint."""
    check(config)
    protocol, _, metric = config.train.select_by.partition("/")
    metrics = [f"HR@{k}" for k in config.eval.ks] + [f"NDCG@{k}" for k in config.eval.ks if k > 1]
    has_it = protocol in config.eval.protocols and metric in [*metrics, "MRR"]
    if config.model.name not in COUNTED and not has_it:
        raise UserError(
            f"train.select_by {config.train.select_by!r} is not PROTOCOL/METRIC with a protocol of "
            f"eval.protocols ({', '.join(config.eval.protocols)}) and a metric of eval.ks "
            f"({', '.join([*metrics, 'MRR'])})"
        )


def check_item_shards(count: int, model: str) -> None:
    """UserError unless the item table of this model can be split over so many devices."""
    if not _positive(count):
        raise UserError(
            f"mesh.model {count} must be positive (1: the item table is not split){_limit(count)}"
        )
    if count > 1 and model in COUNTED:
        raise UserError(
            f"mesh.model {count} splits an item table, and {model} has none: set it to 1"
        )


def _limit(value) -> str:
    return ", and below 2**31" if isinstance(value, int | float) and value >= _LIMIT else ""


def judged_by_the_last(config) -> bool:
    """Whether a run's last checkpoint is its model, and not its best: validation cannot choose
    where its items are trained on.

    Args:
        config: a ConfigDict, or what config.json has.
    """
    return config["data"].get("train_on_valid", False)


def check_same_run(now: dict[str, Any], saved: dict[str, Any], workdir: pathlib.Path) -> None:
    """UserError unless a checkpoint's meta is that of this config and this data.

    Args:
        now, saved: as `experiment.Experiment.meta` makes them.
    """
    check_same_config(now["config"], saved["config"], workdir)
    for what in ("vocabulary", "data"):
        check_same_data(now[what], saved[what], workdir, what=what)


def check_same_data(now: str, saved: str, workdir: pathlib.Path, *, what: str = "data") -> None:
    """UserError unless the digests of what a run in `workdir` is of, and of now, are one."""
    if now != saved:
        raise UserError(
            f"{workdir} holds a run on other data ({what} digest {saved[:12]}, now {now[:12]}): "
            "choose another --workdir, or the same data.path"
        )


def check_same_config(now: dict[str, Any], saved: dict[str, Any], workdir: pathlib.Path) -> None:
    """UserError for the first setting, among those that make a run what it is, that differs."""
    settings_now, settings_saved = _flat(now), _flat(saved)
    # What an older version did not have as a setting, it did as the default does now.
    for name, before in sorted(settings_saved.items()):
        after = settings_now.get(name)
        free = any(name == free or name.startswith(free + ".") for free in _FREE)
        if before != after and not free:
            raise UserError(
                f"{workdir} holds a run with {name} {before!r}, and now it is {after!r}: choose "
                "another --workdir, or the same setting"
            )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
