"""A work directory -> the model in it, as pure functions; the log is not needed."""

import functools
import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from bert4rec_jax import mesh, models
from bert4rec_jax.data.catalogue import read_catalogue, read_retired
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
    """

    config: dict[str, Any]
    scorer: Scorer
    params: Any
    vocab: Vocabulary
    counts: np.ndarray
    retired: np.ndarray
    max_length: int
    step: int | None = None


def load(workdir: str | pathlib.Path) -> Trained:
    """The best checkpoint of a run.

    Raises:
        UserError: `workdir` holds no finished validation of a model that is trained.
    """
    workdir = pathlib.Path(workdir)
    try:
        config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        name, metric = config["model"]["name"], config["train"]["select_by"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{workdir / 'config.json'}: not a run's config") from error
    vocab, counts = read_catalogue(workdir / "items.parquet")
    retired = read_retired(workdir / "items.parquet")
    max_length, step = config["model"]["max_length"], None
    if name == "popularity":
        scorer, params = popularity_scorer(counts)
    elif name not in models.NEURAL:
        raise UserError(f"{workdir}: {name} keeps no parameters to recommend from")
    else:
        kind = models.NEURAL[name]
        model = models.build(config["model"], items=len(vocab))
        scorer = encoder_scorer(model, append_mask=kind.cloze)
        max_length = models.input_length(kind, max_length)
        shapes = jax.eval_shape(functools.partial(init_params, model=model), jax.random.key(0))
        checkpoints = Checkpoints(workdir / "checkpoints", metric=metric, read_only=True)
        saved = checkpoints.latest_meta()[1]["vocabulary"]
        if saved != vocab.digest:
            raise UserError(
                f"{workdir}: items.parquet (digest {vocab.digest[:12]}) is not the catalogue "
                f"that was trained on ({saved[:12]})"
            )
        like = mesh.with_replicated_sharding(shapes, mesh.make_mesh(1))
        step, params = checkpoints.restore_best(like)
        checkpoints.close()
    return Trained(config, scorer, params, vocab, counts, retired, max_length, step)
