"""The report's figures: what each picture is drawn from, and the words beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from bert4rec_jax.evaluation import plots
from bert4rec_jax.evaluation.page import Figure

_METRIC = "NDCG@10"  # the paper's figures all show it


def curves(
    train: Sequence[Mapping[str, float]],
    valid: Sequence[Mapping[str, float]],
    best_step: int | None,
) -> list[Figure]:
    """Training loss, and NDCG@10 on validation against steps, windows and minutes.

    Args:
        train, valid: the records of metrics.jsonl.
        best_step: of the checkpoint that was kept, if known.
    """
    made = []
    # An interval whose every step was skipped has no loss.
    if trained := [r for r in train if r["loss"] is not None]:
        steps, losses = [r["step"] for r in trained], [r["loss"] for r in trained]
        text = f"training loss, from {losses[0]:.3f} to {losses[-1]:.3f} in {steps[-1]:,} steps"
        made.append(
            Figure("training_loss", plots.training_loss(steps, losses), text, "Training loss.")
        )
    # Of a run that went on with other protocols, those that all of its validations have.
    names = [name for name in (valid[0] if valid else ()) if name.endswith(f"/{_METRIC}")]
    names = [name for name in names if all(name in record for record in valid)]
    if not names:
        return made
    lines = {name.removesuffix(f"/{_METRIC}"): [r[name] for r in valid] for name in names}
    kept = next((r for r in valid if r["step"] == best_step), {})
    text = f"{_METRIC} on validation by protocol, against "
    for key, unit, label, second in (
        ("step", "steps", "steps", _windows_per_step(train)),
        ("minutes", "minutes", "minutes of training, validation left out", None),
    ):
        png = plots.validation(
            [r[key] for r in valid],
            lines,
            metric=_METRIC,
            xlabel=label,
            best=kept.get(key),
            second=second,
        )
        also = " and training windows seen" if second else ""
        caption = f"Validation {_METRIC} against {unit}{also}."
        made.append(Figure(f"validation_by_{unit}", png, text + unit, caption))
    return made


def _windows_per_step(train: Sequence[Mapping[str, float]]) -> tuple[str, float] | None:
    minutes = np.diff([r["minutes"] for r in train], prepend=0.0)
    windows = 60 * sum(r["examples_per_second"] * m for r, m in zip(train, minutes, strict=True))
    return ("training windows seen", windows / train[-1]["step"]) if train else None


def breakdowns(parts: Mapping[str, Any]) -> list[Figure]:
    """HR@10 and NDCG@10 by history length and by item popularity.

    Args:
        parts: "breakdown" of results.json; may be empty.
    """
    made = []
    for key, name, what in (
        ("history_length", "breakdown_by_length", "length of the user's history"),
        ("item_popularity", "breakdown_by_popularity", "popularity of the true item"),
    ):
        groups = parts.get(key, {})
        metrics = [m for m in ("HR@10", _METRIC) if any(m in g for g in groups.values())]
        if metrics:
            shown = {
                f"{label.replace('-', '–')}\n{group['users']:,} users": group
                for label, group in groups.items()
            }
            caption = f"By {what}, {parts['protocol']}."
            text = f"{' and '.join(metrics)} by {what}"
            made.append(Figure(name, plots.breakdown(shown, metrics=metrics), text, caption))
    return made


def ranks(table: pl.DataFrame | None) -> list[Figure]:
    """A histogram of the test ranks under each protocol.

    Args:
        table: ranks.parquet.
    """
    if table is None:
        return []
    test = table.filter(pl.col("split") == "test")
    made = []
    for i, protocol in enumerate(test["protocol"].unique(maintain_order=True)):
        own = test.filter(pl.col("protocol") == protocol)["rank"].to_numpy()
        png = plots.rank_histogram(own, title=protocol, index=i)
        text = f"histogram of the places of the true items under {protocol}"
        made.append(Figure(f"ranks_{protocol}", png, text))
    return made


def attention(values: np.ndarray | None, model: str) -> list[Figure]:
    """Heat-maps of each layer and head.

    Args:
        values: float32 [layers, heads, P, P], or None.
        model: its name; says what stands at the last position.
    """
    if values is None:
        return []
    size = values.shape[-1]
    last = "MASK, where the next item is predicted" if model == "bert4rec" else "the last item"
    inside = values[:, :, -1].sum(axis=-1)
    caption = (
        f"Attention over the last {size} positions, mean over test users; 0 is {last}, -1 the "
        f"position before it. From position 0, the heads give {inside.min():.0%} to "
        f"{inside.max():.0%} of their attention to these positions and the rest to earlier ones."
    )
    text = "heat-maps of the mean attention of each layer and head"
    return [Figure("attention", plots.attention_maps(values), text, caption)]
