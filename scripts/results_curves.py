"""The learning curves in results/README.md: each recipe's, and how far the defaults had come."""

import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import paper_tables  # these are beside this file
import results_settings
from paper_tables import figure

from configs import baselines

METRIC = "full/NDCG@10"
FRACTIONS = {"a half": 0.5, "three quarters": 0.75, "nine tenths": 0.9, "all": 1.0}
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
    """The best validation of each model's default after a part of its updates, and of longer and
    shorter runs: kept recipes that have its settings but for the number of updates."""
    rows = []
    for model, kept in recipes.items():
        if model not in baselines.MODELS or not all(_curve(run) for run in kept):
            continue
        steps = kept[0]["train"]["steps"]
        cells = [_best(kept, part * steps) for part in FRACTIONS.values()]
        others = [
            _beside(kept, other)
            for other in recipes.values()
            if other is not kept and _curve(other[0]) and _same_recipe(dataset, model, other[0])
        ]
        rows.append([model, str(len(kept)), f"{steps:,}", *cells, "; ".join(others)])
    if not rows:
        return ""
    text = (
        "How far each model's default had come on validation: the best full NDCG@10 until a part "
        "of its updates was done, the mean over seeds. The learning rate falls to its end, so that "
        "a run of half the updates would be better than this one half-way. The last column has "
        "such runs, of other lengths and else the same, and in brackets the default's figure where "
        "they have fewer seeds."
    )
    header = paper_tables.row(["", "seeds", "updates", *FRACTIONS, "runs of other lengths"])
    ruler = "|---|" + "---:|" * (2 + len(FRACTIONS)) + "---|"
    return "\n".join([text, "", header, ruler, *map(paper_tables.row, rows)])


def _beside(kept: Sequence[dict], other: Sequence[dict]) -> str:
    """ "30,000: .2047 (seed 0; .2024)", with the default's own over the seeds that both have."""
    own, others = ({run["train"]["seed"]: run for run in runs} for runs in (kept, other))
    both = sorted(own.keys() & others.keys())
    text = f"{other[0]['train']['steps']:,}: "
    if not both:
        seeds = ", ".join(map(str, sorted(others)))
        return f"{text}{_best(other)} (seed {seeds})"
    text += _best([others[seed] for seed in both])
    if len(both) == len(own):
        return text
    seeds = ", ".join(map(str, both))
    return f"{text} (seed {seeds}; {_best([own[seed] for seed in both])})"


def _best(kept: Sequence[dict], steps: float = float("inf")) -> str:
    """The mean over seeds of the best validation until then; "" where there was none yet."""
    until = [[p[METRIC] for p in _curve(run) if p["step"] <= steps] for run in kept]
    return figure(statistics.mean(map(max, until))) if all(until) else ""


def _curve(run: dict) -> list[dict]:
    """Its validations; none of a run that trained on their items."""
    if results_settings.trained_on_valid(run):
        return []
    return [point for point in run.get("curve", []) if METRIC in point]


def _same_recipe(dataset: str, model: str, run: dict) -> bool:
    changed = results_settings.changed(dataset, model, run)
    return "train.steps" in changed and changed.keys() <= set(BUDGET)
