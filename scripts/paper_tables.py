"""The paper's studies of one setting at a time: its Tables 4 and 5, Figures 3 and 4.

    python scripts/paper_tables.py STUDY [--dataset=ml-1m] [--data=FILE] [--steps=2000]
        [--workdir=runs/paper] [--seed=0]

STUDY is hidden, proportion, length, layers, heads or ablation, the data set ml-1m or beauty. Each
variant is the paper's model (`configs/ml1m.py:cloze`) with that setting changed; all of a study are
trained for --steps updates and go on where they were stopped; the table is printed, and written
beside them. The paper trained far longer: what can be compared is the order of the variants.
"""

import argparse
import importlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from bert4rec_jax import allocator, cli

CONFIGS = {"ml-1m": "ml1m", "beauty": "beauty"}

# Study -> variant -> settings over the config's.
STUDIES = {
    "hidden": {f"d = {d}": {"model.hidden": d} for d in (16, 32, 64, 128, 256)},
    "proportion": {
        f"rho = {rho}": {"masking.proportion": rho} for rho in (0.1, 0.2, 0.4, 0.6, 0.8)
    },
    "length": {f"N = {n}": {"model.max_length": n} for n in (10, 20, 30, 40, 50, 100, 200, 400)},
    "layers": {f"L = {count}": {"model.layers": count} for count in (1, 2, 3, 4)},
    "heads": {f"h = {count}": {"model.heads": count} for count in (1, 2, 4, 8)},
    "ablation": {
        "default": {},
        "no PE": {"model.without": "positions"},
        "no PFFN": {"model.without": "feed_forward"},
        "no LN": {"model.without": "layer_norm"},
        "no RC": {"model.without": "residual"},
        "no dropout": {"model.dropout": 0.0, "model.attention_dropout": 0.0},
    },
}
LENGTHS = {"ml-1m": (10, 50, 100, 200, 400), "beauty": (10, 20, 30, 40, 50)}

# NDCG@10 under popularity_100, d = 64: Tables 4 and 5. Figures 3 and 4 give no numbers.
PAPER = {
    "ml-1m": {
        "N = 10": 0.4631, "N = 50": 0.4743, "N = 100": 0.4758, "N = 200": 0.4759,
        "N = 400": 0.4715, "default": 0.4759, "no PE": 0.2155, "no PFFN": 0.4544,
        "no LN": 0.4334, "no RC": 0.4643, "no dropout": 0.4553, "L = 1": 0.4412,
        "L = 2": 0.4759, "L = 3": 0.4864, "L = 4": 0.4898, "h = 1": 0.4568, "h = 2": 0.4759,
        "h = 4": 0.4770, "h = 8": 0.4743,
    },
    "beauty": {
        "N = 10": 0.1826, "N = 20": 0.1875, "N = 30": 0.1837, "N = 40": 0.1833,
        "N = 50": 0.1832, "default": 0.1832, "no PE": 0.1741, "no PFFN": 0.1803,
        "no LN": 0.1642, "no RC": 0.1619, "no dropout": 0.1658, "L = 1": 0.1782,
        "L = 2": 0.1832, "L = 3": 0.1859, "L = 4": 0.1834, "h = 1": 0.1853, "h = 2": 0.1832,
        "h = 4": 0.1830, "h = 8": 0.1823,
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--dataset", choices=CONFIGS, default="ml-1m")
    parser.add_argument("--data", default="", help="the log's file; default: the download")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/paper"))
    options = parser.parse_args()
    allocator.keep_freed_memory()
    from bert4rec_jax import table

    folder = options.workdir / f"{options.dataset}_{options.study}_{options.steps}"
    table.make_table(configs(options), folder)
    if not (folder / "table.json").exists():  # stopped on the way
        return
    text = compare(json.loads((folder / "table.json").read_text()), options)
    (folder / "study.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}")


def configs(options: argparse.Namespace) -> dict:
    """Variant, as a folder is called -> its config."""
    made = {}
    for variant, settings in STUDIES[options.study].items():
        if (
            options.study == "length"
            and settings["model.max_length"] not in LENGTHS[options.dataset]
        ):
            continue
        module = importlib.import_module(f"configs.{CONFIGS[options.dataset]}")
        config = module.get_config("cloze")
        config.data.path, config.seed = options.data, options.seed
        config.train.steps = options.steps
        config.train.eval_every = max(1, options.steps // 8)
        # The budget is rho N, and windows overlap as much as before, as the original's scripts do.
        overlap = config.masking.stride / config.model.max_length
        config.update_from_flattened_dict(settings)
        length = config.model.max_length
        config.masking.budget = max(1, round(config.masking.proportion * length))
        config.masking.stride = max(1, round(overlap * length))
        made[folder_of(variant)] = config.lock()
    return made


def folder_of(variant: str) -> str:
    return variant.replace(" = ", "").replace(" ", "_")


def compare(table: dict, options: argparse.Namespace) -> str:
    """Markdown: a row a variant, ours beside the paper's."""
    lines = [
        f"{options.dataset}, {options.study}, {options.steps:,} updates, seed {options.seed}; "
        "popularity_100 and full on test, the paper's of popularity_100.",
        "",
        "| | HR@10 | NDCG@10 | 95% interval | full NDCG@10 | the paper's NDCG@10 | minutes |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for variant in STUDIES[options.study]:
        one = table["models"].get(folder_of(variant))
        if one is None:
            continue
        sampled, whole = one["test"]["popularity_100"], one["test"]["full"]
        low, high = one["test_interval"]["popularity_100"]["NDCG@10"]
        paper = PAPER[options.dataset].get(variant)
        lines.append(
            f"| {variant} | {sampled['HR@10']:.4f} | {sampled['NDCG@10']:.4f} "
            f"| {low:.4f} .. {high:.4f} | {whole['NDCG@10']:.4f} "
            f"| {'' if paper is None else f'{paper:.4f}'} | {one['train']['seconds'] / 60:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(cli.reporting(main))
