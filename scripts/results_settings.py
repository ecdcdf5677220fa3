"""The settings of a kept run, and those in which it differs from a config of today."""

import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import paper_studies  # this is beside this file

from bert4rec_jax import settings
from configs import default

# What is no part of a recipe.
ASIDE = (*settings.PLACES, "train.log_every", "train.checkpoint_minutes")


def changed(dataset: str, model: str, run: dict) -> dict[str, object]:
    """The settings in which `run` differs from today's config of `model`, with its values."""
    file = paper_studies.CONFIGS[dataset]
    today = _flat(importlib.import_module(f"configs.{file}").get_config(model).to_dict())
    # What it had no setting for, it did as the default does.
    before = _flat(default.get_config().to_dict()) | _flat(run["config"])
    if "seconds" not in run["train"]:  # counted
        today = {name: value for name, value in today.items() if name.startswith("data.")}
    return {name: before[name] for name in today if before[name] != today[name]}


def trained_on_valid(run: dict) -> bool:
    return run.get("config", {}).get("data", {}).get("train_on_valid", False)


def _flat(config: dict) -> dict[str, object]:
    found = {
        f"{section}.{name}": value
        for section in ("data", "model", "masking", "optimizer", "train")
        for name, value in config[section].items()
    }
    return {name: value for name, value in found.items() if name not in ASIDE}
