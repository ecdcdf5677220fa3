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
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import at_once  # these are beside this file
import paper_studies

from bert4rec_jax import allocator, cli, stopping
from bert4rec_jax.console import say
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import report
from bert4rec_jax.files import replacing


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=paper_studies.STUDIES, nargs="+")
    parser.add_argument("--dataset", choices=paper_studies.CONFIGS, default="ml-1m")
    parser.add_argument("--data", default="", help="the log's file; default: the download")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/paper"))
    parser.add_argument("--only", default="", help="folders of the variants to train, with commas")
    parser.add_argument("--at_once", type=int, default=1, help="trainings at a time")
    options = parser.parse_args()
    of = {"data": options.data, "steps": options.steps, "seed": options.seed}
    made = {study: paper_studies.configs(study, options.dataset, **of) for study in options.study}
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


def compare(study: str, dataset: str, runs: dict[str, dict]) -> str:
    """Markdown: a row a variant, ours beside the paper's.

    Args:
        runs: variant, as its folder is called -> the parts of its results.json. Those that are no
            longer variants, tried and not kept, stand last, with the commit that has them.
    """
    trained = next(iter(runs.values()))["train"]
    paper = {} if study in paper_studies.MODELS else paper_studies.PAPER[dataset]
    header = ["", "HR@10", "NDCG@10", "95% interval", "full NDCG@10", "on validation"]
    header += ["the paper's NDCG@10"] * any(
        variant in paper for variant in paper_studies.STUDIES[study]
    )
    header += ["minutes"]
    lines = [
        f"{dataset}, {study}: {trained['steps']:,} updates, seed {trained['seed']}; "
        "popularity_100 and full on test"
        + (", the paper's of popularity_100." if "the paper's NDCG@10" in header else "."),
        "",
        row(header),
        "|---|" + "---:|" * (len(header) - 1),
    ]
    names = {paper_studies.folder_of(variant): variant for variant in paper_studies.STUDIES[study]}
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
    """Cores and what of, or the GPU's name without its memory: "2 of Intel Xeon", "NVIDIA H100"."""
    if (device := trained.get("device", "cpu")) != "cpu":
        return " ".join(device.split()[:2])
    return f"{trained['cores']} of {trained['cpu'].replace('(R)', '').removesuffix(' Processor')}"


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def figure(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


if __name__ == "__main__":
    sys.exit(cli.reporting(main))
