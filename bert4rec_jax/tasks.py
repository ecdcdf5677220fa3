"""What the rows of a step are asked, by the settings of a run, and the loss of the answers."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from bert4rec_jax import losses, masking, mixture, next_item
from bert4rec_jax.data.batching import Batches
from bert4rec_jax.errors import UserError
from bert4rec_jax.training.step import Budget


def next_items(batches: Batches, *, rows: int) -> tuple[Callable, list[Budget]]:
    """(key, Row, place) -> Task, and the `Budget`s of a device's `rows`, of a left-to-right model.

    It is asked every next item.

    Raises:
        UserError: there is none in any window.
    """
    asked = batches.most_predictions(next_item.next_counts(batches.max_length))
    if not asked:
        raise UserError(
            "no user has two training items, of which a left-to-right model could learn the second "
            "by the first: give a log with longer histories"
        )
    return lambda key, row, place: next_item.next_item(key, row), [Budget(rows, asked)]


def cloze(
    batches: Batches,
    *,
    rows: int,
    mask_id: int,
    static_key: jax.Array,
    proportion: float,
    budget: int,
    left_to_right_rate: float,
    **options: Any,
) -> tuple[Callable, list[Budget]]:
    """The same of a model that sees both sides: the Cloze task, some rows also left to right.

    Args:
        options: of `masking.cloze`.
    """
    counts = masking.mask_counts(batches.max_length, proportion=proportion, budget=budget)
    of_row = functools.partial(
        masking.cloze,
        counts=jnp.asarray(counts),
        mask_id=mask_id,
        static_key=static_key,
        **options,
    )
    asked = batches.most_predictions(counts)
    if not left_to_right_rate:
        return lambda key, row, place: of_row(key, row), [Budget(rows, asked)]
    ahead = mixture.rows_at_most(rows, left_to_right_rate)
    most = batches.most_predictions(mixture.mixed_counts(batches.max_length))
    budgets = [Budget(ahead, most), Budget(rows - ahead, asked)]
    return (
        functools.partial(mixture.mixed, cloze=of_row, rate=left_to_right_rate),
        [budget for budget in budgets if budget.rows],  # of few rows, all may be read so
    )


def loss(train: Mapping[str, Any], *, items: int) -> Callable:
    """The loss that the section `train` names, over a catalogue of so many items."""
    has = {"items": items, "negatives": train["negatives"], "calibration": train["calibration"]}
    named = losses.LOSSES[train["loss"]]
    wanted = inspect.signature(named).parameters
    return functools.partial(named, **{name: x for name, x in has.items() if name in wanted})
