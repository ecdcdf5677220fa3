"""Every model's own settings, which `configs/ml1m.py:NAME` puts over those of its data set.

The same holds for `--config.model.name=NAME`. Sources: SASRec, github.com/kang205/SASRec; Caser,
github.com/graytowne/caser_pytorch. What a model does not name here, it has in common with the
paper's.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import ml_collections

# What our recipes add to the paper's model and task: rows read left to right among the Cloze rows
# (the data set may say how many), positions that see their neighbours, no dense layer before the
# table, more rows that mask the last item alone; and Adam as everyone else has it, but for BERT's
# eps. `scripts/paper_tables.py recipe` takes them away one by one, but for the last.
BEYOND = {
    "model.neighbours": 5,
    "model.projection": False,
    "masking.left_to_right_rate": 0.5,
    "masking.last_only_rate": 0.2,
    "optimizer.bias_correction": True,
}

# Adam as everyone but BERT has it.
_NEXT_ITEM = {
    "optimizer.learning_rate": 1e-3,
    "optimizer.bias_correction": True,
    "optimizer.weight_decay": 0.0,
    "train.batch_size": 128,
}
_SASREC = {
    **_NEXT_ITEM,
    "model.name": "sasrec",
    "model.heads": 1,
    "model.kernel_init": "xavier",
}
_GRU4REC = {**_NEXT_ITEM, "model.name": "gru4rec", "model.layers": 1}

MODELS = {
    "bert4rec": {"model.name": "bert4rec", **BEYOND},
    "cloze": {"model.name": "bert4rec"},  # the paper's model and task
    "sasrec": _SASREC,  # with the loss of all the others, over the whole catalogue
    # With its own, against one sampled item, and the b2 that goes with it.
    "sasrec_bce": {**_SASREC, "train.loss": "bce", "optimizer.b2": 0.98},
    "gru4rec": _GRU4REC,
    "lstm": {**_GRU4REC, "model.cell": "lstm"},
    "caser": {**_NEXT_ITEM, "model.name": "caser", "model.dropout": 0.5},
    "markov": {"model.name": "markov"},
    "popularity": {"model.name": "popularity"},
}

# The original trains to the end of its updates, over a plateau that may outlast 20 validations.
PAPER = {"train.patience": 0}
# Together far faster at d = 64 than the original: kernels scaled to the width, ten times the
# learning rate, and half the batch.
FAST = {
    "model.kernel_init": "xavier",
    "optimizer.learning_rate": 1e-3,
    "train.batch_size": 128,
}
# Your own log, whatever it is: configs/custom.py, and `Recommender.fit`, which has a frame for it.
CUSTOM = {
    "data.name": "custom",
    "model.kernel_init": "xavier",
    "optimizer.learning_rate": 1e-3,
    "train.steps": 20_000,
}


def apply(config: ml_collections.ConfigDict, name: str) -> ml_collections.ConfigDict:
    """`config`, of BERT4Rec, with the settings of the model `name` over it."""
    if name not in MODELS:
        raise ValueError(f"model {name!r} is unknown; there are {', '.join(MODELS)}")
    config.update_from_flattened_dict(MODELS[name])
    if config.model.name == "sasrec":
        # One rate for both, the command line's too, unless the second is set itself.
        config.model.attention_dropout = config.model.get_oneway_ref("dropout")
    return config


def recipe(
    config: ml_collections.ConfigDict,
    model: str,
    own: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    **train: int,
) -> ml_collections.ConfigDict:
    """`config`, of a data set and the paper's model, as FILE:`model` has it.

    Args:
        model: a key of MODELS, or "paper", the original's recipe.
        own: model -> what it alone has on these data.
        train: settings of the section train for all models but the paper's.
    """
    if model == "paper":
        config.update_from_flattened_dict(PAPER)
    else:
        config.update_from_flattened_dict(FAST)
        config.train.update(train)
        config = apply(config, model)
    config.update_from_flattened_dict(own.get(model, {}))
    return config
