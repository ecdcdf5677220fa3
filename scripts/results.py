"""Keep a finished run in results/, and make the tables there from all that is kept.

    python scripts/results.py keep WORKDIR NAME     ->  results/NAME.json; with --plots also the
        learning curve, NAME.png, and the attention heat-maps, NAME_attention.png
    python scripts/results.py keep-study FOLDER     ->  results/studies/FOLDER/VARIANT.json
    python scripts/results.py tables                ->  results/README.md

NAME is DATASET_RECIPE_seedN, RECIPE the name of its config's model and what else you like behind a
-. Runs of one recipe that differ in the seed are one row of the tables, their mean and standard
deviation. FOLDER is what scripts/paper_tables.py made, DATASET_STUDY_STEPS.
Nothing in results/ is written by hand.
"""

import argparse
import json
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import paper_studies  # these are beside this file
import results_tables

from bert4rec_jax import cli, provenance
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import report
from bert4rec_jax.files import replacing

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"
PARTS = ("dataset", "model", "train", "valid", "test", "valid_interval", "test_interval")
PARTS += ("breakdown", "recommendations")
CURVE = ("full/NDCG@10", "full/HR@10", "popularity_100/NDCG@10", "popularity_100/HR@10")
PLOTS = {"validation_by_minutes.png": ".png", "attention.png": "_attention.png"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("keep")
    one.add_argument("workdir", type=pathlib.Path)
    one.add_argument("name", help="DATASET_RECIPE_seedN")
    one.add_argument("--plots", action="store_true", help="also the pictures of its report")
    one.add_argument("--commit", help="that trained it, if its results.json does not say so")
    study = commands.add_parser("keep-study")
    study.add_argument("folder", type=pathlib.Path)
    commands.add_parser("tables")
    options = parser.parse_args()
    if options.command == "keep":
        if not re.fullmatch(f"({'|'.join(paper_studies.CONFIGS)})_.+_seed[0-9]+", options.name):
            known = ", ".join(paper_studies.CONFIGS)
            raise UserError(f"{options.name}: not DATASET_RECIPE_seedN, DATASET one of {known}")
        plots = options.workdir / "plots"
        if options.plots and (missing := [plot for plot in PLOTS if not (plots / plot).exists()]):
            raise UserError(f"{plots / missing[0]}: no such file; leave --plots out")
        keep(options.workdir, RESULTS / f"{options.name}.json", commit=options.commit)
        for plot, ending in PLOTS.items() if options.plots else ():
            shutil.copy(plots / plot, RESULTS / f"{options.name}{ending}")
    elif options.command == "keep-study":
        if not (found := sorted(options.folder.glob("*/results.json"))):
            raise UserError(f"{options.folder}: has no */results.json; give a study's folder")
        for path in found:
            kept = RESULTS / "studies" / options.folder.name / f"{path.parent.name}.json"
            keep(path.parent, kept)
    else:
        studies = {path.name: _read(path) for path in sorted((RESULTS / "studies").glob("*"))}
        pictures = sorted(path.name for path in RESULTS.glob("*_attention.png"))
        text = results_tables.tables(_read(RESULTS), studies, pictures)
        (RESULTS / "README.md").write_text(text, encoding="utf-8")


def _read(folder: pathlib.Path) -> dict[str, dict]:
    """Name -> what `keep` wrote there."""
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def keep(workdir: pathlib.Path, path: pathlib.Path, *, commit: str | None = None) -> None:
    """What a reader of the figures needs, in one file: all but the parameters and the ranks."""
    results = report.read_results(workdir)
    if missing := {"popularity_100", "full"} - results["test"].keys():
        raise UserError(f"{workdir}: was not judged under {missing.pop()}; evaluate it so first")
    config = json.loads((workdir / "config.json").read_text())
    config["data"] |= {"path": "", "cache": ""}  # where the file lay is of no use to others
    kept = {part: results[part] for part in PARTS if part in results}
    if commit:
        kept["train"] = provenance.machine() | kept["train"] | {"commit": commit}
    kept |= {"config": config, "curve": curve(workdir, windows_a_step(results["train"]))}
    if (workdir / "easier_test.json").exists():
        kept["easier_test"] = json.loads((workdir / "easier_test.json").read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def windows_a_step(trained: dict) -> float:
    """The mean number of windows; near train.batch_size, as a step's packed rows are whole."""
    if "examples_per_second" not in trained:  # counted
        return 0.0
    return trained["examples_per_second"] * trained["seconds"] / trained["steps"]


def curve(workdir: pathlib.Path, windows: float) -> list[dict[str, float]]:
    """The validations of a run: steps, rows (windows), minutes of training, and metrics."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    points = [json.loads(line) for line in lines]
    return [
        {
            "step": point["step"],
            "rows": round(point["step"] * windows),
            "minutes": round(point["minutes"], 2),
            **{metric: round(point[metric], 4) for metric in CURVE if metric in point},
        }
        for point in points
        if point["split"] == "valid"
    ]


if __name__ == "__main__":
    sys.exit(cli.reporting(main))
