"""The paper's studies of one setting at a time, and one of what our own recipe adds.

    python scripts/paper_tables.py STUDY [STUDY ...] [--dataset=ml-1m] [--data=FILE]
        [--steps=2000] [--workdir=runs/paper] [--seed=0] [--only=d64,d128] [--at_once=1]

STUDY is hidden, proportion (the paper's Figures 3 and 4), length (Table 4), layers, heads or
ablation (Table 5), the data set ml-1m or beauty. Each variant is the paper's model
(`configs/ml1m.py:cloze`) with that setting changed. STUDY `recipe` changes a setting of our default
config each, at a learning rate of .001; `gru4rec`, `caser`, `sasrec` and `sasrec_bce` one of that
model's own, to be chosen by the validation that their tables show.

All of a study are trained for --steps updates and go on where they were stopped; --only trains
some of them, say on one of several machines, --at_once several at a time, each in a process of its
own with its share of the cores. The table of those that are finished is printed, and written beside
them; `python scripts/results.py keep-study` keeps it. The paper trained far longer:
what can be compared, and with care, is the order of the variants.
"""

import argparse
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import at_once  # beside this file

from bert4rec_jax import allocator, cli, stopping
from bert4rec_jax.console import say
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import report
from bert4rec_jax.files import replacing

CONFIGS = {"ml-1m": "ml1m", "beauty": "beauty"}

KERNELS = {
    "kernels of .02": {"model.kernel_init": "bert"},
    "Xavier's kernels": {"model.kernel_init": "xavier"},
}
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
    "recipe": {
        "default": {},
        "no rows left to right": {"masking.left_to_right_rate": 0.0},
        "half of the rows left to right": {"masking.left_to_right_rate": 0.5},
        "9 of 10 rows left to right": {"masking.left_to_right_rate": 0.9},
        "no neighbours": {"model.neighbours": 0},
        "dense layer before the table": {"model.projection": True},
        "LayerNorm alone": {"model.projection": False},
        "last item alone in 1 of 11": {"masking.last_only_rate": 1 / 11},
        "dropout .1": {"model.dropout": 0.1},
        "dropout .3": {"model.dropout": 0.3},
        "cosine": {"optimizer.schedule": "cosine"},
        "learning rate .0005": {"optimizer.learning_rate": 5e-4},
        "learning rate .002": {"optimizer.learning_rate": 2e-3},
        "learning rate .004": {"optimizer.learning_rate": 4e-3},
        "learning rate .008": {"optimizer.learning_rate": 8e-3},
        "sampled softmax": {"train.loss": "sampled_softmax"},
        "gBCE": {"train.loss": "gbce"},
        "no weight decay": {"optimizer.weight_decay": 0.0},
        **KERNELS,
    },
}
# Settings that all models have which the paper compares with; a study each, with what is its own.
TRIALS = {
    "default": {},
    "dropout .1": {"model.dropout": 0.1},
    "dropout .2": {"model.dropout": 0.2},
    "dropout .35": {"model.dropout": 0.35},
    "dropout .5": {"model.dropout": 0.5},
    "learning rate .0005": {"optimizer.learning_rate": 5e-4},
    "learning rate .001": {"optimizer.learning_rate": 1e-3},
    "learning rate .002": {"optimizer.learning_rate": 2e-3},
    "learning rate .004": {"optimizer.learning_rate": 4e-3},
    "learning rate .008": {"optimizer.learning_rate": 8e-3},
    "learning rate .016": {"optimizer.learning_rate": 16e-3},
    "weight decay .1": {"optimizer.weight_decay": 0.1},
}
BASELINES = {
    "gru4rec": TRIALS | {"two layers": {"model.layers": 2}},
    "caser": TRIALS | {f"{n} items at once": {"model.window": n} for n in (3, 9)},
    "sasrec": TRIALS | KERNELS,
    "sasrec_bce": TRIALS | KERNELS,
}
STUDIES |= BASELINES
# Study -> whose settings it changes, if they are not the paper's model's.
MODELS = {"recipe": "bert4rec", **{name: name for name in BASELINES}}
# Study -> what all of its variants have which do not say otherwise: the rate that was the default
# of both data sets when most of them were trained.
BASE = {"recipe": {"optimizer.learning_rate": 1e-3}}
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
    parser.add_argument("study", choices=STUDIES, nargs="+")
    parser.add_argument("--dataset", choices=CONFIGS, default="ml-1m")
    parser.add_argument("--data", default="", help="the log's file; default: the download")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/paper"))
    parser.add_argument("--only", default="", help="folders of the variants to train, with commas")
    parser.add_argument("--at_once", type=int, default=1, help="trainings at a time")
    options = parser.parse_args()
    of = {"data": options.data, "steps": options.steps, "seed": options.seed}
    made = {study: configs(study, options.dataset, **of) for study in options.study}
    folders = {s: options.workdir / f"{options.dataset}_{s}_{options.steps}" for s in made}
    known = {folder for variants in made.values() for folder in variants}
    chosen = {name.strip() for name in options.only.split(",")} if options.only else known
    if options.at_once < 1:
        parser.error(f"--at_once={options.at_once} must be 1 or more")
    if unknown := chosen - known:
        parser.error(f"--only has {sorted(unknown)}; there are {', '.join(sorted(known))}")
    for study, variants in made.items():
        finished_of(variants, folders[study])  # a folder of another seed or log is refused here
    train = train_at_once if options.at_once > 1 else train_in_turn
    wanted = {
        study: {name: config for name, config in variants.items() if name in chosen}
        for study, variants in made.items()
    }
    train({study: variants for study, variants in wanted.items() if variants}, folders, options)
    for study, variants in made.items():
        print_study(study, options.dataset, variants, folders[study])


def train_in_turn(wanted: dict, folders: dict, options) -> None:
    allocator.keep_freed_memory()
    from bert4rec_jax import table

    for study, variants in wanted.items():
        table.make_table(variants, folders[study])
        if len(finished_of(variants, folders[study])) < len(variants):  # stopped on the way
            return


def train_at_once(wanted: dict, folders: dict, options) -> None:
    """Each variant that is not finished by this command for itself."""
    commands = {}
    for study, variants in wanted.items():
        finished = finished_of(variants, folders[study])
        for name in variants:
            if name not in finished:
                commands[f"{folders[study].name}_{name}"] = [
                    __file__, study, f"--dataset={options.dataset}", f"--data={options.data}",
                    f"--steps={options.steps}", f"--seed={options.seed}",
                    f"--workdir={options.workdir}", f"--only={name}",
                ]  # fmt: skip
    logs = options.workdir / "logs"
    try:
        codes = at_once.run_all(commands, options.at_once, logs)
    except (KeyboardInterrupt, stopping.Terminated):
        say("all have saved; the same command goes on")
        return
    if failed := sorted(name for name, code in codes.items() if code):
        raise UserError(f"{', '.join(failed)} failed; {logs} has what they said")


def finished_of(variants: dict, folder: pathlib.Path) -> list[str]:
    from bert4rec_jax import table

    return table.finished_of(variants, folder)


def print_study(study: str, dataset: str, variants: dict, folder: pathlib.Path) -> None:
    """The table of those variants that are finished, here and in `folder`."""
    runs = {name: report.read_results(folder / name) for name in finished_of(variants, folder)}
    if not runs:
        return
    text = compare(study, dataset, runs)
    with replacing(folder / "study.md") as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}")


def configs(study: str, dataset: str, *, data: str, steps: int, seed: int) -> dict:
    """Variant, as a folder is called -> its config.

    Variants that say what the data set's config says already are left out, but for the default.
    """
    made = {}
    module = importlib.import_module(f"configs.{CONFIGS[dataset]}")
    for variant, settings in STUDIES[study].items():
        if study == "length" and settings["model.max_length"] not in LENGTHS[dataset]:
            continue
        config = module.get_config(MODELS.get(study, "cloze"))
        config.update_from_flattened_dict(BASE.get(study, {}))
        if study in MODELS and settings and _has(config, settings):
            continue
        config.data.path, config.seed = data, seed
        config.train.steps = steps
        config.train.eval_every = max(1, steps // 8)
        # The budget is rho N, and windows overlap as much as before, as the original's scripts do.
        overlap = config.masking.stride / config.model.max_length
        config.update_from_flattened_dict(settings)
        length = config.model.max_length
        config.masking.budget = max(1, round(config.masking.proportion * length))
        config.masking.stride = max(1, round(overlap * length))
        made[folder_of(variant)] = config.lock()
    return made


def _has(config, settings: dict) -> bool:
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(settings)
    return changed == config


def folder_of(variant: str) -> str:
    return variant.replace(" = ", "").replace(" ", "_").replace("'", "")


def compare(study: str, dataset: str, runs: dict[str, dict]) -> str:
    """Markdown: a row a variant, ours beside the paper's.

    Args:
        runs: variant, as its folder is called -> the parts of its results.json. Those that are no
            longer variants, tried and not kept, stand last, with the commit that has them.
    """
    trained = next(iter(runs.values()))["train"]
    paper = {} if study in MODELS else PAPER[dataset]
    header = ["", "HR@10", "NDCG@10", "95% interval", "full NDCG@10", "on validation"]
    header += ["the paper's NDCG@10"] * any(variant in paper for variant in STUDIES[study])
    header += ["minutes"]
    lines = [
        f"{dataset}, {study}: {trained['steps']:,} updates, seed {trained['seed']}; "
        "popularity_100 and full on test"
        + (", the paper's of popularity_100." if "the paper's NDCG@10" in header else "."),
        "",
        row(header),
        "|---|" + "---:|" * (len(header) - 1),
    ]
    names = {folder_of(variant): variant for variant in STUDIES[study]}
    for folder in sorted(runs.keys() - names.keys()):
        names[folder] = f"{folder.replace('_', ' ')} (of {runs[folder]['train']['commit']})"
    for folder, variant in names.items():
        one = runs.get(folder)
        if one is None:
            continue
        sampled, whole = one["test"]["popularity_100"], one["test"]["full"]
        low, high = one["test_interval"]["popularity_100"]["NDCG@10"]
        cells = {
            "": variant,
            "HR@10": f"{sampled['HR@10']:.4f}",
            "NDCG@10": f"{sampled['NDCG@10']:.4f}",
            "95% interval": f"{low:.4f} .. {high:.4f}",
            "full NDCG@10": f"{whole['NDCG@10']:.4f}",
            "on validation": f"{one['valid']['full']['NDCG@10']:.4f}",
            "the paper's NDCG@10": f"{paper[variant]:.4f}" if variant in paper else "",
            "minutes": f"{one['train']['seconds'] / 60:.1f} on {machine_of(one['train'])}",
        }
        lines.append(row([cells[name] for name in header]))
    return "\n".join(lines)


def machine_of(trained: dict) -> str:
    """Cores, or the GPU's name without its memory: "2", "NVIDIA H100"."""
    device = trained.get("device", "cpu")
    return str(trained["cores"]) if device == "cpu" else " ".join(device.split()[:2])


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(cli.reporting(main))
