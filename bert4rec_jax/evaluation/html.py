"""report.html: a run as one file that a person can read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert4rec_jax.data.identity import Identity, verdict
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import page, report, sections
from bert4rec_jax.files import replacing


def write_report(workdir: Path, *, attention: np.ndarray | None) -> None:
    """Writes <workdir>/report.html and its pictures, <workdir>/plots/*.png, from the run's files.

    Reads config.json, results.json, metrics.jsonl and ranks.parquet; what is missing is left out
    of the report.

    Args:
        attention: float32 [layers, heads, P, P] from `attention.average_attention`, or None.

    Raises:
        UserError: a file is damaged, or the folder holds no run.
    """
    from bert4rec_jax.evaluation import (
        illustrations,
    )  # late: it takes a second to import matplotlib

    workdir = Path(workdir)
    config, results = _read_json(workdir / "config.json"), _read_json(workdir / "results.json")
    if not config and not results:
        raise UserError(f"{workdir}: neither config.json nor results.json; is --workdir right?")
    train, valid = _read_records(workdir / "metrics.jsonl")
    ranks = report.read_ranks(workdir) if (workdir / "ranks.parquet").exists() else None
    dataset, trained = results.get("dataset", {}), results.get("train", {})
    name = (dataset or config.get("data", {})).get("name", "unknown data")
    model = (results or config).get("model", {}).get("name", "unknown model")

    figures = {
        "curves": illustrations.curves(train, valid, trained.get("best_step")),
        "breakdown": illustrations.breakdowns(results.get("breakdown", {})),
        "ranks": illustrations.ranks(ranks),
        "attention": illustrations.attention(attention, model),
    }
    drawn = {part: [page.figure(figure) for figure in made] for part, made in figures.items()}
    text = page.document(
        f"{model} on {name}",
        _subtitle(dataset),
        [
            sections.headline(results),
            page.section("Metrics", sections.metrics(results)),
            page.section("Learning curves", [page.beside(drawn["curves"])]),
            page.section("Breakdown", sections.breakdown(results, drawn["breakdown"])),
            page.section("Rank distribution", [page.beside(drawn["ranks"])]),
            page.section("Recommendations", sections.recommendations(results)),
            page.section("Attention", drawn["attention"]),
            page.section(
                "Data and training",
                [page.beside(filter(None, [sections.data(dataset), sections.training(results)]))],
            ),
            page.section("Configuration", [sections.configuration(config)]),
        ],
    )
    for figure in (figure for made in figures.values() for figure in made):
        with replacing(workdir / "plots" / f"{figure.name}.png") as unfinished:
            unfinished.write_bytes(figure.png)
    with replacing(workdir / "report.html") as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); train or evaluate again") from error


def _read_records(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records of metrics.jsonl: those of training, those of validation."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:  # the last line of a killed process may be cut
            break
    return tuple([r for r in records if r["split"] == split] for split in ("train", "valid"))


def _subtitle(dataset: Mapping[str, Any]) -> str:
    if not dataset:
        return "not evaluated yet"
    known = Identity(dataset["digest"], dataset.get("test_digest", ""), dataset["canonical"])
    return f"{verdict(dataset['name'], known)}; data digest {dataset['digest'][:12]}"
