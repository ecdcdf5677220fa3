"""--mode=finetune: a trained model goes on with a later log, whose new items it learns.

The run that it goes on from is only read; the new one has a work directory of its own, begins
there with a checkpoint of step 0, and is from then on a run like any other.
"""

import dataclasses
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np

from bert4rec_jax import lists, models, modes, outputs, settings
from bert4rec_jax.console import say
from bert4rec_jax.data import catalogue
from bert4rec_jax.errors import UserError
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.files import replacing
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.loop import Standing
from bert4rec_jax.vocab import Vocabulary

# Of the run before: what it learnt need not be learnt again.
SHARE_OF_STEPS = 0.1
# Of the settings of a model, those that are not in the shapes or the meaning of its parameters.
_FREE = {"dropout", "attention_dropout", "dtype"}


def finetune(
    defaults: ml_collections.ConfigDict,
    overrides: dict[str, Any],
    origin: pathlib.Path,
    workdir: pathlib.Path,
    *,
    retire: str,
    started: float,
) -> bool:
    """Train the best checkpoint of `origin` on another log, in `workdir`; or go on where it stands.

    Items of the run before keep their ids and their trained rows, also where the log does not have
    them; those that are new come behind (`growth.grow`). The optimiser starts afresh, with the
    schedule and its warm-up: its moments say nothing of new rows. The model as it is before the
    first step is validated too, so that steps that do not help are not kept (but where validation
    items are trained on, and the last checkpoint is the model).

    Args:
        defaults: configs/default.py, for settings that are newer than the run.
        overrides: settings given on the command line, by dotted name, over those of the run:
            data.path, the later log (best with the old rows in it: what users had is read from
            it), must be among them; train.steps, if it is not, is a tenth of the run's, or as many
            as the run had where it was such a fine-tuning itself.
        retire: a file of items never to be recommended again, beside those retired before; or "".
        started: as for `modes.train`, whose result it returns.

    Raises:
        UserError: nothing was written to `workdir` then.
    """
    config = _config(defaults, overrides, origin, workdir)
    before = catalogue.read_catalogue(origin / "items.parquet")
    vocab = before.vocab
    begun = catalogue.is_grown(workdir)
    if begun and catalogue.read_origin(workdir)["vocabulary"] != vocab.digest:
        raise UserError(f"{workdir} was grown from another run: choose another --workdir")
    if not begun and any((workdir / name).exists() for name in ("config.json", "checkpoints")):
        raise UserError(f"{workdir} holds a run already: choose another --workdir")
    experiment = Experiment(config, known=catalogue.kept_vocabulary(workdir) if begun else vocab)
    if begun:
        before = catalogue.read_catalogue(workdir / "items.parquet")
    retired = _retired(experiment.log.vocab, before.retired, retire)
    if not _stands_somewhere(workdir, metric=config.train.select_by):
        # Which of its checkpoints is the best one is a matter of what that run selected by.
        metric = modes.saved_config(defaults, origin).train.select_by
        _begin(experiment, origin, workdir, retired, vocab=vocab, metric_before=metric)
    return modes.train(config, workdir, started=started, experiment=experiment, retired=retired)


def _config(defaults, overrides, origin, workdir) -> ml_collections.ConfigDict:
    """The run's config with the overrides; UserError for what cannot be gone on with."""
    if not origin.name:
        raise UserError("--from is empty: name the work directory of the run to go on from")
    if origin.resolve() == workdir.resolve():
        raise UserError(f"--from and --workdir are both {origin}: the run before stays as it is")
    config = modes.saved_config(defaults, origin)
    before = config.model.to_dict()
    if before["name"] in models.COUNTED:
        raise UserError(f"{origin}: {before['name']} is counted: train it on the new log instead")
    if not overrides.get("data.path"):
        raise UserError("no later log: give --config.data.path=FILE")
    if not catalogue.is_grown(origin):
        config.train.steps = max(1, round(config.train.steps * SHARE_OF_STEPS))
    config.update_from_flattened_dict(overrides)
    settings.check_training(config)
    if config.data.split == "global_time" and "data.split_time" not in overrides:
        raise UserError(
            f"{origin} was split at {config.data.split_time:g}, and nothing later would be learnt: "
            "give --config.data.split_time for the later log"
        )
    for name, value in config.model.to_dict().items():
        if value != before[name] and name not in _FREE:
            raise UserError(
                f"{origin} has model.{name} {before[name]!r}, which {value!r} cannot go on from: "
                "leave that setting out"
            )
    return config


def _retired(vocab: Vocabulary, before: np.ndarray, retire: str) -> np.ndarray:
    """bool [n]: the items retired before, of the first of them, and those of the file."""
    retired = np.pad(before, (0, len(vocab) - len(before)))
    if retire:
        named = vocab.encode(lists.read_items(retire, vocab))
        retired[named[named > 0] - 1] = True
    return retired


def _stands_somewhere(workdir: pathlib.Path, *, metric: str) -> bool:
    if not (workdir / "checkpoints").exists():
        return False
    with Checkpoints(workdir / "checkpoints", metric=metric, read_only=True) as checkpoints:
        return checkpoints.latest_step() is not None


def _begin(
    experiment: Experiment,
    origin: pathlib.Path,
    workdir: pathlib.Path,
    retired: np.ndarray,
    *,
    vocab: Vocabulary,
    metric_before: str,
) -> None:
    """Make `workdir` a run that stands at step 0, grown from `vocab`, the first of its catalogue.

    The checkpoint comes last: killed before, the same command does the same again.
    """
    metric = experiment.config.train.select_by
    with Checkpoints(origin / "checkpoints", metric=metric_before, read_only=True) as source:
        meta, items = source.latest_meta()[1], len(vocab)
        catalogue.refuse_other(origin, vocab, meta["vocabulary"])
        step, params = source.restore_best(
            experiment.abstract_params(items), latest=settings.judged_by_the_last(meta["config"])
        )
    state = experiment.state_grown_from(params)
    metrics = experiment.judge.validate(state.params)
    say(
        f"{origin} at step {step}: {items:,} items, {len(retired) - items:,} new ones, "
        f"{retired.sum():,} retired; {metric} {metrics[metric]:.4f} on the later log's validation"
    )
    whence = {
        "from": str(origin),
        "step": step,
        "vocabulary": meta["vocabulary"],
        "items": items,
        "items_added": len(retired) - items,
    }
    standing = dataclasses.asdict(Standing(best=metrics[metric]))
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with outputs.holding(workdir):
            outputs.write_catalogue(experiment, workdir, retired)
            with replacing(workdir / catalogue.ORIGIN) as unfinished:
                unfinished.write_text(json.dumps(whence, indent=2) + "\n", encoding="utf-8")
            with Checkpoints(workdir / "checkpoints", metric=metric) as checkpoints:
                checkpoints.save(state, experiment.meta() | {"standing": standing}, metrics)
    except OSError as error:
        raise UserError(f"{workdir}: {error.strerror}; choose another --workdir") from error
