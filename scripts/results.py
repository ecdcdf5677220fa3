"""Keep a finished run in results/, and make the tables there from all that is kept.

    python scripts/results.py keep WORKDIR NAME     ->  results/NAME.json
    python scripts/results.py tables                ->  results/README.md

NAME is DATASET_RECIPE_seedN: runs of one recipe that differ in the seed are one row of the tables,
their mean and standard deviation. Nothing in results/ is written by hand.
"""

import argparse
import json
import pathlib
import re
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from bert4rec_jax import provenance
from bert4rec_jax.evaluation import published, report

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"
PARTS = ("dataset", "model", "train", "valid", "test", "valid_interval", "test_interval")
PARTS += ("breakdown", "recommendations")
COLUMNS = [("popularity_100", m) for m in ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR")]
COLUMNS += [("full", "HR@10"), ("full", "NDCG@10")]
CURVE = ("full/NDCG@10", "full/HR@10", "popularity_100/NDCG@10", "popularity_100/HR@10")

# Best published figures on the same files: what is ranked -> (who, {metric: value}).
BEST = {
    "ml-1m": [
        ("best BERT4Rec: RecTools, HR; ALBERT4Rec, NDCG", {"HR@10": 0.2921, "NDCG@10": 0.1656}),
        ("best of ids alone: SASRec+ 3000", {"HR@10": 0.3159, "NDCG@10": 0.1857}),
    ],
    "beauty": [
        ("best BERT4Rec: RecTools", {"HR@10": 0.0434, "NDCG@10": 0.0242}),
        ("best of ids alone: RecTools SASRec", {"HR@10": 0.0595, "NDCG@10": 0.0359}),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("keep")
    one.add_argument("workdir", type=pathlib.Path)
    one.add_argument("name", help="DATASET_RECIPE_seedN")
    one.add_argument("--commit", help="that trained it, if its results.json does not say so")
    commands.add_parser("tables")
    options = parser.parse_args()
    if options.command == "keep":
        keep(options.workdir, RESULTS / f"{options.name}.json", commit=options.commit)
    else:
        runs = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
        (RESULTS / "README.md").write_text(tables(runs), encoding="utf-8")


def keep(workdir: pathlib.Path, path: pathlib.Path, *, commit: str | None = None) -> None:
    """What a reader of the figures needs, in one file: all but the parameters and the ranks."""
    results = report.read_results(workdir)
    config = json.loads((workdir / "config.json").read_text())
    config["data"] |= {"path": "", "cache": ""}  # where the file lay is of no use to others
    kept = {part: results[part] for part in PARTS if part in results}
    if commit:
        kept["train"] = provenance.machine() | kept["train"] | {"commit": commit}
    kept |= {"config": config, "curve": curve(workdir, config["train"]["batch_size"])}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def curve(workdir: pathlib.Path, batch_size: int) -> list[dict[str, float]]:
    """The validations of a run: steps, rows (windows), minutes of training, and metrics."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    points = [json.loads(line) for line in lines]
    return [
        {
            "step": point["step"],
            "rows": point["step"] * batch_size,
            "minutes": round(point["minutes"], 2),
            **{metric: round(point[metric], 4) for metric in CURVE if metric in point},
        }
        for point in points
        if point["split"] == "valid"
    ]


def tables(runs: dict[str, dict]) -> str:
    """results/README.md: for each data set the test figures, and how the trainings went.

    Args:
        runs: name -> what `keep` wrote.
    """
    parts = [
        "# Results",
        "Made by `python scripts/results.py tables` from the files beside it; each holds a run's "
        "config, commit, machine, intervals and learning curve. Test figures of the checkpoint "
        "that validation chose; ± is the standard deviation over seeds.",
    ]
    for dataset in dict.fromkeys(name.partition("_")[0] for name in sorted(runs)):
        recipes: dict[str, list[dict]] = {}
        for name in sorted(runs):
            if name.partition("_")[0] == dataset:
                recipe = re.sub(r"_seed\d+$", "", name.partition("_")[2])
                recipes.setdefault(recipe, []).append(runs[name])
        parts += [f"## {dataset}", _test_table(dataset, recipes), _curves(recipes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _test_table(dataset: str, recipes: dict[str, list[dict]]) -> str:
    header = ["", "seeds", *(f"full {m}" if p == "full" else m for p, m in COLUMNS)]
    header += ["steps", "minutes"]
    lines = [_row(header), "|---|" + "---:|" * (len(header) - 1)]
    order = sorted(recipes, key=lambda r: _mean(recipes[r], "full", "NDCG@10"))
    for recipe in order:
        kept = recipes[recipe]
        figures = [_spread([run["test"][p][m] for run in kept]) for p, m in COLUMNS]
        steps = ", ".join(sorted({f"{run['train']['steps']:,}" for run in kept}))
        minutes = [run["train"]["seconds"] / 60 for run in kept if "seconds" in run["train"]]
        took = f"{statistics.mean(minutes):.0f}" if minutes else ""
        lines.append(_row([recipe, str(len(kept)), *figures, steps, took]))
    paper = published.published_metrics(dataset, "bert4rec")
    if paper:
        cells = [_figure(paper[m]) if p == published.PROTOCOL else "" for p, m in COLUMNS]
        lines.append(_row(["the paper's BERT4Rec", "", *cells, "", ""]))
    for name, figures in BEST.get(dataset, []):
        cells = [_figure(figures[m]) if p == "full" else "" for p, m in COLUMNS]
        lines.append(_row([name, "", *cells, "", ""]))
    return "\n".join(lines)


def _curves(recipes: dict[str, list[dict]], points: int = 8) -> str:
    """Validation full NDCG@10 of each trained recipe's first seed, at up to `points` times."""
    lines = []
    for recipe, kept in recipes.items():
        found = [p for p in kept[0].get("curve", []) if "full/NDCG@10" in p]
        if not found:
            continue
        step = max(1, -(-len(found) // points))
        chosen = found[::-1][::step][::-1]  # the last one among them
        lines += [
            f"{recipe}, validation:",
            "",
            _row(["steps", *(f"{p['step']:,}" for p in chosen)]),
            "|---|" + "---:|" * len(chosen),
            _row(["rows", *(f"{p['rows']:,}" for p in chosen)]),
            _row(["minutes", *(f"{p['minutes']:.1f}" for p in chosen)]),
            _row(["full NDCG@10", *(_figure(p["full/NDCG@10"]) for p in chosen)]),
            "",
        ]
    return "\n".join(lines).strip()


def _mean(kept: list[dict], protocol: str, metric: str) -> float:
    return statistics.mean(run["test"][protocol][metric] for run in kept)


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return _figure(values[0])
    return f"{_figure(statistics.mean(values))} ± {_figure(statistics.stdev(values))}"


def _figure(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
