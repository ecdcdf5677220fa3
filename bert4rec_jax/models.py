"""The models by name: what `--config.model.name` may be, and how each is trained and asked.

Adding a neural one is one module with the interface of `encoder.Encoder` and one line here.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from bert4rec_jax.caser import Caser
from bert4rec_jax.encoder import Encoder
from bert4rec_jax.gru4rec import GRU4Rec
from bert4rec_jax.sasrec import SASRec


class Kind(NamedTuple):
    """Attributes:
    module: the Flax module.
    cloze: whether it sees both sides, so that it is trained on the Cloze task and asked with MASK
        behind the history; else it is trained on the next item and asked at the last one.
    """

    module: type
    cloze: bool


NEURAL = {
    "bert4rec": Kind(Encoder, cloze=True),
    "sasrec": Kind(SASRec, cloze=False),
    "gru4rec": Kind(GRU4Rec, cloze=False),
    "caser": Kind(Caser, cloze=False),
}
COUNTED = ("popularity", "markov")  # counts of the training rows: nothing to train
NAMES = (*NEURAL, *COUNTED)


def input_length(kind: Kind, max_length: int) -> int:
    """Places of the input that a model is asked with.

    A window of N items holds N - 1 next-item questions, so a left-to-right model never learns to
    answer at its last place.
    """
    return max_length - (not kind.cloze)


# Fields of a module that are no settings: Flax's own, and the size of the catalogue.
_NOT_SETTINGS = {"name", "parent", "items"}


def build(settings: Mapping[str, Any], *, items: int) -> Any:
    """The module that `settings["name"]` names, with those of the settings that are its own.

    The section `config.model` serves all models; each reads the fields that it has.
    """
    own = fields_of(settings["name"]) - {"dtype"}
    options = {name: value for name, value in settings.items() if name in own}
    module = NEURAL[settings["name"]].module
    return module(items=items, dtype=jnp.dtype(settings["dtype"]), **options)


def fields_of(name: str) -> set[str]:
    """The settings of `config.model` that the model of this name reads, if it is neural."""
    if name in COUNTED:
        return set()
    return {field.name for field in dataclasses.fields(NEURAL[name].module)} - _NOT_SETTINGS
