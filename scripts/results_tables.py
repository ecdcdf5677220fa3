"""results/README.md, from what `scripts/results.py` keeps."""

import pathlib
import re
import statistics
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import paper_studies  # these are beside this file
import paper_tables
import results_curves
import results_settings
from paper_tables import figure

from bert4rec_jax.evaluation import published

COLUMNS = [("popularity_100", m) for m in ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR")]
COLUMNS += [("full", "HR@10"), ("full", "NDCG@10")]
# Rows of the paper's Table 2.
PAPERS = {
    "popularity": "POP",
    "bpr-mf": "BPR-MF",
    "ncf": "NCF",
    "fpmc": "FPMC",
    "gru4rec": "GRU4Rec",
    "gru4rec+": "GRU4Rec+",
    "caser": "Caser",
    "sasrec": "SASRec",
    "bert4rec": "BERT4Rec, d = 256 §",
}

# Best published figures on the same files: data set -> (who, protocol, {metric: value}).
BEST = {
    "ml-1m": [
        (
            "best BERT4Rec, among 100: BERT4Rec_AC, d = 128 §",
            "popularity_100",
            {"HR@10": 0.6946, "NDCG@10": 0.4900, "MRR": 0.4370},
        ),
        (
            "best BERT4Rec, full: RecTools, d = 256, HR; ALBERT4Rec, NDCG, read off a plot §",
            "full",
            {"HR@10": 0.2921, "NDCG@10": 0.1656},
        ),
        ("best of ids alone: SASRec+ 3000", "full", {"HR@10": 0.3159, "NDCG@10": 0.1857}),
    ],
    "beauty": [
        (
            "best BERT4Rec, among 100: BERT4Rec_AC §",
            "popularity_100",
            {"HR@10": 0.3136, "NDCG@10": 0.1913, "MRR": 0.1724},
        ),
        (
            "best BERT4Rec, full: RecTools, d = 256 §",
            "full",
            {"HR@10": 0.0434, "NDCG@10": 0.0242},
        ),
        (
            "best BERT4Rec of training items alone: Klenitskiy and Vasilev",
            "full",
            {"HR@10": 0.0338, "NDCG@10": 0.0187},
        ),
        ("best of training items alone: SASRec+", "full", {"HR@10": 0.0533, "NDCG@10": 0.0327}),
        (
            "best of ids alone: RecTools SASRec, d = 256 §",
            "full",
            {"HR@10": 0.0595, "NDCG@10": 0.0359},
        ),
    ],
}

# Under scripts/easier_test.py's test.
EASIER_COLUMNS = ("HR@10", "NDCG@10")
EASIER = {
    "ml-1m": [
        ("RecTools BERT4Rec, d = 256 §", {"HR@10": 0.7151, "NDCG@10": 0.5020}),
        ("RecTools SASRec, d = 256 §", {"HR@10": 0.7041, "NDCG@10": 0.4951}),
    ],
    "beauty": [
        ("RecTools BERT4Rec, d = 256 §", {"HR@10": 0.2506, "NDCG@10": 0.1555}),
        ("RecTools SASRec, d = 256 §", {"HR@10": 0.3062, "NDCG@10": 0.2012}),
    ],
}


def tables(
    runs: dict[str, dict], studies: dict[str, dict[str, dict]], pictures: Sequence[str] = ()
) -> str:
    """results/README.md: for each data set the test figures, and how the trainings went.

    Args:
        runs: name -> what `keep` wrote.
        studies: folder, DATASET_STUDY_STEPS -> variant -> what `keep` wrote.
        pictures: files NAME_attention.png.
    """
    parts = [
        "# Results",
        "Made by `python scripts/results.py tables` from the files beside it; each holds a run's "
        "config, commit, machine, intervals and learning curve. Test figures of the checkpoint "
        "that validation chose (the last one where ours has §); ± is the standard deviation over "
        "seeds. Minutes are of training, on so many cores of a CPU or on a GPU, which other runs "
        "shared.",
        "§ trained on the validation items too, as the paper's own code does (of all users but "
        "those that chose the checkpoint, where one was chosen). BERT4Rec_AC: the epoch of the "
        "best NDCG@10 on test; the best HR@10 of its epochs are .6972 (ml-1m) and .3167 (beauty).",
    ]
    for dataset in dict.fromkeys(name.partition("_")[0] for name in sorted(runs)):
        recipes: dict[str, list[dict]] = {}
        for name in sorted(runs):
            if name.partition("_")[0] == dataset:
                recipe = re.sub(r"_seed\d+$", "", name.partition("_")[2])
                recipes.setdefault(recipe, []).append(runs[name])
        parts += [f"## {dataset}", _test_table(dataset, recipes)]
        parts += [_easier_table(dataset, recipes), _commands(dataset, recipes)]
        parts += [results_curves.convergence(dataset, recipes), results_curves.curves(recipes)]
    if studies:
        parts += [
            "## Studies",
            "By `python scripts/paper_tables.py STUDY --dataset=DATASET --steps=STEPS`. Of one "
            "data set, variants of two studies that are the same model are the same run. A row "
            "with (of COMMIT) is of settings that its study had then and has no more. Rows of "
            "`recipe` that name no learning rate have .001. The paper trained its own for 400,000 "
            "updates of 256 windows: rows of 4,000 say how soon a variant learns, and little of "
            "how far it comes.",
        ]
    for folder, variants in studies.items():
        dataset, _, rest = folder.partition("_")
        study = rest.rpartition("_")[0]  # which may have a _ itself
        parts.append(paper_tables.compare(study, dataset, variants))
    for name in pictures:
        parts += [
            f"## Attention of {name.removesuffix('_attention.png')}",
            "Means over test users, each layer and head: the paper's Figure 2, of our default.",
            f"![attention of each layer and head]({name})",
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _test_table(dataset: str, recipes: dict[str, list[dict]]) -> str:
    header = ["", "seeds", *(f"full {m}" if p == "full" else m for p, m in COLUMNS)]
    header += ["steps", "minutes"]
    lines = [paper_tables.row(header), "|---|" + "---:|" * (len(header) - 1)]
    order = sorted(recipes, key=lambda r: _mean(recipes[r], "full", "NDCG@10"))
    for recipe in order:
        kept = recipes[recipe]
        name = f"{recipe} §" if results_settings.trained_on_valid(kept[0]) else recipe
        figures = [_spread([run["test"][p][m] for run in kept]) for p, m in COLUMNS]
        steps = ", ".join(sorted({f"{run['train']['steps']:,}" for run in kept}))
        lines.append(paper_tables.row([name, str(len(kept)), *figures, steps, _minutes(kept)]))
    for model, name in PAPERS.items():
        if paper := published.published_metrics(dataset, model):
            cells = [figure(paper[m]) if p == published.PROTOCOL else "" for p, m in COLUMNS]
            lines.append(paper_tables.row([f"the paper's {name}", "", *cells, "", ""]))
    for name, protocol, best in BEST.get(dataset, []):
        cells = [figure(best[m]) if p == protocol and m in best else "" for p, m in COLUMNS]
        lines.append(paper_tables.row([name, "", *cells, "", ""]))
    return "\n".join(lines)


def _easier_table(dataset: str, recipes: dict[str, list[dict]]) -> str:
    """What scripts/easier_test.py found, beside the figures published under that test."""
    rows = []
    for recipe, kept in recipes.items():
        found = [run["easier_test"] for run in kept if "easier_test" in run]
        if found:
            figures = [_spread([one[m] for one in found]) for m in EASIER_COLUMNS]
            name = f"{recipe} §" if results_settings.trained_on_valid(kept[0]) else recipe
            rows.append(paper_tables.row([name, str(len(found)), *figures]))
    if not rows:
        return ""
    for name, metrics in EASIER.get(dataset, []):
        rows.append(paper_tables.row([name, "", *(figure(metrics[m]) for m in EASIER_COLUMNS)]))
    header = paper_tables.row(["", "seeds", *EASIER_COLUMNS])
    text = "Among 100 negatives of which those seen before cannot win (`scripts/easier_test.py`):"
    return "\n".join([text, "", header, "|---|---:|---:|---:|", *rows])


def _minutes(kept: list[dict]) -> str:
    """Their mean on each kind of machine: "46 on 2 of Intel Xeon, 3 on NVIDIA H100"."""
    by_machine: dict[str, list[float]] = {}
    for run in kept:
        if "seconds" in run["train"]:
            of = paper_tables.machine_of(run["train"])
            by_machine.setdefault(of, []).append(run["train"]["seconds"] / 60)
    return ", ".join(f"{statistics.mean(m):.0f} on {of}" for of, m in by_machine.items())


def _commands(dataset: str, recipes: dict[str, list[dict]]) -> str:
    """What trains each recipe today, and the commits that its figures are of."""
    rows = []
    for recipe, kept in recipes.items():
        if "config" in kept[0]:
            of_seeds = [run["train"]["commit"] for run in kept]
            commits = ", ".join(of_seeds if len(set(of_seeds)) > 1 else of_seeds[:1])
            seeds = ", ".join(str(run["train"]["seed"]) for run in kept)
            flags = " ".join(_flags(dataset, recipe.partition("-")[0], kept[0]))
            rows.append(paper_tables.row([recipe, seeds, commits, f"`{flags}`"]))
    if not rows:
        return ""
    text = (
        "The commits that the figures are of (one, or one a seed), and what trains the same recipe "
        "today: `python main.py` with these flags and `--config.seed=SEED` behind them."
    )
    header = paper_tables.row(["", "seeds", "commits", "flags"])
    return "\n".join([text, "", header, "|---|---|---|---|", *rows])


def _flags(dataset: str, model: str, run: dict) -> list[str]:
    """The config of today that is next, and the settings in which the run differs from it."""
    changed = results_settings.changed(dataset, model, run)
    file = paper_studies.CONFIGS[dataset]
    named = f"configs/{file}.py" + (f":{model}" if model != "bert4rec" else "")
    return [f"--config={named}", *(f"--config.{k}={v}" for k, v in changed.items())]


def _mean(kept: list[dict], protocol: str, metric: str) -> float:
    return statistics.mean(run["test"][protocol][metric] for run in kept)


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return figure(values[0])
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    return f"{figure(mean)} ± {figure(deviation)}"
