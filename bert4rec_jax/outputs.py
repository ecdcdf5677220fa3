"""What a run leaves in its work directory beside checkpoints and records.

Of several processes, the first writes it.
"""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np

from bert4rec_jax import hosts, provenance, shards
from bert4rec_jax.console import say
from bert4rec_jax.data import catalogue, sequences
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import html, report
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.files import LOCK, only_writer, replacing

# What only the process that holds a work directory writes there.
_FILES = ("config.json", "items.parquet", "metrics.jsonl", "ranks.parquet", "results.json")
_FILES += ("report.html", "plots/*")


@contextlib.contextmanager
def holding(workdir: pathlib.Path) -> Iterator[None]:
    """Holds an existing work directory as `files.only_writer`; of several processes, the first
    does so for all."""
    if not hosts.is_first():
        yield
        return
    with only_writer(workdir, files=_FILES):
        yield


def refuse_unshared(workdir: pathlib.Path) -> None:
    """UserError where a process does not see what the first one has made in `holding` it."""
    hosts.wait_for_all()
    if not (workdir / LOCK).exists():
        raise UserError(f"{workdir} is not a folder that all processes see: choose a shared one")


def machine(experiment: Experiment) -> dict[str, Any]:
    """What trains: of the "train" part of results.json, and kept in every checkpoint, since another
    machine may judge it."""
    return {
        "device": jax.devices()[0].device_kind,
        "devices": experiment.mesh.size,
        "processes": hosts.count(),
        **provenance.machine(),
    }


def report_run(
    experiment: Experiment,
    params: Any,
    train_part: dict[str, Any],
    workdir: pathlib.Path,
    *,
    why_not: str | None = None,
) -> None:
    """Evaluate and print the table; unless `why_not`, write results.json and its like.

    results.json comes after ranks.parquet: where it is, the run is finished.
    """
    figures, ranks = experiment.judge.report(params)
    attention = experiment.attention(params)
    if not hosts.is_first():
        return
    results = {
        "dataset": experiment.dataset,
        "model": {
            **experiment.config.model.to_dict(),
            "parameters": shards.count_parameters(params, len(experiment.log.vocab)),
        },
        "train": {"seed": experiment.config.seed, **machine(experiment), **train_part},
        "eval": experiment.config.eval.to_dict(),
        **figures,
    }
    if catalogue.is_grown(workdir):
        results["finetuned"] = catalogue.read_origin(workdir)
    if experiment.oracle is not None:
        ceiling = experiment.oracle.best_hit_ratio(experiment.split.test)
        results["dataset"]["best_full_HR@10"] = ceiling
    print(report.metrics_table(results))
    if experiment.oracle is not None:
        print(f"best achievable full HR@10 of this generated log: {ceiling:.4f}")
    if why_not:
        say(f"{workdir} is {why_not}: no results.json, ranks.parquet and report.html")
        return
    report.write_ranks(workdir / "ranks.parquet", experiment.log.users, ranks)
    report.write_results(workdir / "results.json", results)
    html.write_report(workdir, attention=attention)


def write_config(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    if not hosts.is_first():
        return
    with replacing(workdir / "config.json") as unfinished:
        unfinished.write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def write_catalogue(
    experiment: Experiment, workdir: pathlib.Path, retired: np.ndarray | None = None
) -> None:
    """`retired`, bool [n]; None: those of a grown run that are so already."""
    if not hosts.is_first():
        return
    path = workdir / "items.parquet"
    counts = sequences.train_counts(experiment.log, experiment.split.train_ends)
    if retired is None and catalogue.is_grown(workdir):
        retired = catalogue.read_catalogue(path).retired
    with replacing(path) as unfinished:
        catalogue.write_catalogue(unfinished, experiment.log.vocab, counts, retired)
