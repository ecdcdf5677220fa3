"""The learning curves in results/README.md: each recipe's, and how far the defaults had come."""

import importlib
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import paper_studies  # these are beside this file
import paper_tables
from paper_tables import figure

from bert4rec_jax import settings
from configs import baselines, default

METRIC = "full/NDCG@10"
FRACTIONS = {"a half": 0.5, "three quarters": 0.75, "nine tenths": 0.9, "all": 1.0}
# Settings that are no part of a recipe.
ASIDE = (*settings.PLACES, "train.log_every", "train.checkpoint_minutes")
# How long a run trains, and how often it looks.
BUDGET = ("train.steps", "train.eval_every")


def curves(recipes: Mapping[str, Sequence[dict]], points: int = 8) -> str:
    """Validation full NDCG@10 of each trained recipe's first seed, at up to `points` times."""
    lines = []
    for recipe, kept in recipes.items():
        if not (found := _curve(kept[0])):
            continue
        step = max(1, -(-len(found) // points))
        chosen = found[::-1][::step][::-1]  # the last one among them
        lines += [
            f"{recipe}, validation, first seed:",
            "",
            paper_tables.row(["steps", *(f"{p['step']:,}" for p in chosen)]),
            "|---|" + "---:|" * len(chosen),
            paper_tables.row(["rows", *(f"{p['rows']:,}" for p in chosen)]),
            paper_tables.row(["minutes", *(f"{p['minutes']:.1f}" for p in chosen)]),
            paper_tables.row(["full NDCG@10", *(figure(p[METRIC]) for p in chosen)]),
            "",
        ]
    return "\n".join(lines).strip()


def convergence(dataset: str, recipes: Mapping[str, Sequence[dict]]) -> str:
    """The best validation of each model's default after a part of its updates, and in others.

    "In others": of a kept recipe that has its settings but for the number of updates, beside the
    default's own over the same seeds.
    """
    rows = []
    for model, kept in recipes.items():
        if model not in baselines.MODELS or not all(_curve(run) for run in kept):
            continue
        steps = kept[0]["train"]["steps"]
        cells = [_best(kept, part * steps) for part in FRACTIONS.values()]
        others = []
        for other in recipes.values():
            if other is not kept and _curve(other[0]) and _same_recipe(dataset, model, other[0]):
                others.append(_beside(kept, other))
        figures = [figure(cell) for cell in cells]
        rows.append([model, str(len(kept)), f"{steps:,}", *figures, "; ".join(others)])
    if not rows:
        return ""
    text = (
        "How far the default of each model had come on validation: the best full NDCG@10 after a "
        "part of its updates, the mean over seeds. Beside it the same recipe with other numbers of "
        "updates, whose learning rate falls later or sooner."
    )
    header = paper_tables.row(["", "seeds", "updates", *FRACTIONS, "in other numbers of updates"])
    ruler = "|---|" + "---:|" * (2 + len(FRACTIONS)) + "---|"
    return "\n".join([text, "", header, ruler, *map(paper_tables.row, rows)])


def _beside(kept: Sequence[dict], other: Sequence[dict]) -> str:
    """ ".2047 in 30,000 (.2024, seed 0)": another budget, and the default's own of its seeds."""
    seeds = {run["train"]["seed"] for run in other}
    steps = other[0]["train"]["steps"]
    text = f"{figure(_best(other))} in {steps:,}"
    own = [run for run in kept if run["train"]["seed"] in seeds]
    if len(own) == len(kept):
        return text
    named = "seed" + "s" * (len(own) > 1) + " " + ", ".join(str(s) for s in sorted(seeds))
    return f"{text} ({figure(_best(own))}, {named})" if own else text


def _best(kept: Sequence[dict], steps: float = float("inf")) -> float:
    """The mean over seeds of the best validation until then."""
    return statistics.mean(
        max((point[METRIC] for point in _curve(run) if point["step"] <= steps), default=0.0)
        for run in kept
    )


def _curve(run: dict) -> list[dict]:
    """Its validations; none of a run that trained on their items."""
    return [] if on_valid(run) else [point for point in run.get("curve", []) if METRIC in point]


def on_valid(run: dict) -> bool:
    return run.get("config", {}).get("data", {}).get("train_on_valid", False)


def _same_recipe(dataset: str, model: str, run: dict) -> bool:
    changed = changed_settings(dataset, model, run)
    return "train.steps" in changed and changed.keys() <= set(BUDGET)


def changed_settings(dataset: str, model: str, run: dict) -> dict[str, object]:
    """The settings in which `run` differs from today's config of `model`, and its values."""
    file = paper_studies.CONFIGS[dataset]
    today = _settings(importlib.import_module(f"configs.{file}").get_config(model).to_dict())
    # What it had no setting for, it did as the default does.
    before = _settings(default.get_config().to_dict()) | _settings(run["config"])
    if "seconds" not in run["train"]:  # counted
        today = {name: value for name, value in today.items() if name.startswith("data.")}
    return {name: before[name] for name in today if before[name] != today[name]}


def _settings(config: dict) -> dict[str, object]:
    found = {
        f"{section}.{name}": value
        for section in ("data", "model", "masking", "optimizer", "train")
        for name, value in config[section].items()
    }
    return {name: value for name, value in found.items() if name not in ASIDE}
