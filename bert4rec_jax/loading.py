"""A work directory -> the model in it, as pure functions; the log is not needed."""

import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from bert4rec_jax import mesh, models, settings, shards
from bert4rec_jax.data.catalogue import read_catalogue, refuse_other
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.scorers import Scorer, encoder_scorer, popularity_scorer
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.state import init_params
from bert4rec_jax.vocab import Vocabulary


class Trained(NamedTuple):
    """Attributes:
    config: the run's, as config.json has it.
    scorer, params: the model.
    vocab: its items.
    counts: int64 [n + 1], training rows of each id.
    retired: bool [n], items that must not be recommended.
    max_length: the length of the model's input.
    step: the checkpoint of the params; None: it needs none.
    item_shards: devices that share the item table.
    map_over_devices: as for `Ranker`, of params that may also hold "barred" (`recommender.py`).
    """

    config: dict[str, Any]
    scorer: Scorer
    params: Any
    vocab: Vocabulary
    counts: np.ndarray
    retired: np.ndarray
    max_length: int
    step: int | None = None
    item_shards: int = 1
    map_over_devices: Callable[[Callable], Callable] = jax.jit


def load(workdir: str | pathlib.Path, *, item_shards: int = 1) -> Trained:
    """The best checkpoint of a run, or its last where it was trained on the validation items too.

    Args:
        item_shards: devices that share the item table, whatever number trained it.

    Raises:
        UserError: `workdir` holds no finished validation of a model that is trained.
    """
    workdir = pathlib.Path(workdir)
    try:
        config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        name, metric = config["model"]["name"], config["train"]["select_by"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        path = workdir / "config.json"
        raise UserError(f"{path}: not a run's config; is --workdir right?") from error
    settings.check_item_shards(item_shards, name)
    vocab, counts, retired = read_catalogue(workdir / "items.parquet")
    max_length, step, options = config["model"]["max_length"], None, {}
    if name == "popularity":
        scorer, params = popularity_scorer(counts)
    elif name not in models.NEURAL:
        raise UserError(
            f"{workdir}: {name} keeps no parameters to recommend or export with: choose the run of "
            "another model"
        )
    else:
        kind = models.NEURAL[name]
        model = models.build(config["model"], items=len(vocab))
        scorer = encoder_scorer(model, append_mask=kind.cloze)
        max_length = models.input_length(kind, max_length)
        init = functools.partial(init_params, model=model, shards=item_shards)
        shapes = jax.eval_shape(init, jax.random.key(0))
        where, axes = mesh.make_mesh(1, item_shards), shards.item_axes(shapes, item_shards)
        shapes = mesh.with_sharding(shapes, where, axes=axes)
        with Checkpoints(workdir / "checkpoints", metric=metric, read_only=True) as checkpoints:
            refuse_other(workdir, vocab, checkpoints.latest_meta()[1]["vocabulary"])
            step, params = checkpoints.restore_best(
                shapes, latest=settings.judged_by_the_last(config)
            )
        if item_shards > 1:
            axes = {"model": axes, "barred": mesh.MODEL}
            options["item_shards"] = item_shards
            options["map_over_devices"] = functools.partial(
                mesh.map_over_devices, mesh=where, in_axes=(axes, None), out_axes=None
            )
    return Trained(config, scorer, params, vocab, counts, retired, max_length, step, **options)
