"""What main.py's modes do: train, evaluate, compare."""

import contextlib
import dataclasses
import json
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from bert4rec_jax import compilation, narration, provenance, settings, shards
from bert4rec_jax.console import say
from bert4rec_jax.data import catalogue, sequences
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import html, report
from bert4rec_jax.evaluation.compare import compare_runs, format_comparison
from bert4rec_jax.evaluation.judge import Judge
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.files import InUseError, only_writer, replacing
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.loop import LoopOptions, Standing, StopRequest, fit
from bert4rec_jax.training.records import Records

# What only the process that holds a work directory writes there.
_FILES = ("config.json", "items.parquet", "metrics.jsonl", "ranks.parquet", "results.json")
_FILES += ("report.html", "plots/*")

_COUNTED = {"steps": 0, "end": "counted"}


def train(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    *,
    started: float,
    experiment: Experiment | None = None,
    retired: np.ndarray | None = None,
) -> bool:
    """Train, or go on where the work directory stands; then evaluate the best checkpoint.

    Args:
        started: `time.monotonic()` when the command began, for the time to the first step.
        experiment: of `config` and `workdir`, where the caller has it already.
        retired: bool [n], items never to be recommended; None: those that are so already.

    Returns:
        whether it came to its end: False where a signal asked it to stop.
    """
    if (workdir / "results.json").exists():
        saved = saved_config(config, workdir).to_dict()
        settings.check_same_config(config.to_dict(), saved, workdir)
    if experiment is None:
        experiment = Experiment(config, known=catalogue.kept_vocabulary(workdir))
    narration.say_what_is_read(experiment)
    judge = experiment.judge
    with contextlib.ExitStack() as held:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            held.enter_context(only_writer(workdir, files=_FILES))
        except OSError as error:
            raise UserError(f"{workdir}: {error.strerror}; choose another --workdir") from error
        if experiment.is_counted:
            _write_config(config, workdir)
            write_catalogue(experiment, workdir)
            _report(experiment, experiment.counted[1], _COUNTED, workdir)
            return True
        # Let go of before the folder is, so that no save under way meets another process.
        checkpoints = held.enter_context(
            Checkpoints(workdir / "checkpoints", metric=config.train.select_by)
        )
        return _train(experiment, judge, checkpoints, workdir, started=started, retired=retired)


def _train(
    experiment: Experiment,
    judge: Judge,
    checkpoints: Checkpoints,
    workdir: pathlib.Path,
    *,
    started: float,
    retired: np.ndarray | None,
) -> bool:
    """`train`, for the only process that writes to `workdir`."""
    config, standing = experiment.config, Standing()
    narration.say_what_is_trained(experiment)
    resumes = checkpoints.latest_step() is not None
    if resumes:
        settings.check_same_run(experiment.meta(), checkpoints.latest_meta()[1], workdir)
    elif catalogue.is_grown(workdir):
        raise UserError(f"{workdir}: its fine-tuning has not begun: give that command once more")
    compilation.keep_beside(workdir)
    state = experiment.initial_state()
    if resumes:
        state, saved = checkpoints.restore_latest(state)
        standing = Standing(**saved["standing"])
        say(f"resuming {workdir} at step {int(state.step)}")
    _write_config(config, workdir)
    write_catalogue(experiment, workdir, retired)

    run_step = narration.announce_first(experiment.run_step(), started)
    records = Records(workdir, step=int(state.step))
    options = config.train.to_dict()
    with StopRequest() as stop:
        state = fit(
            state,
            run_step=run_step,
            batch=experiment.batch,
            validate=judge.validate,
            checkpoints=checkpoints,
            meta=experiment.meta(),
            standing=standing,
            records=records,
            options=LoopOptions(
                **{field.name: options[field.name] for field in dataclasses.fields(LoopOptions)}
            ),
            stop=stop,
        )
    records.close()
    if stop and int(state.step) < config.train.steps:
        say(f"{stop.signal}: saved step {int(state.step)}; the same command resumes")
        return False
    _report(experiment, *_restore_best(experiment, checkpoints), workdir)
    return not stop


def is_finished(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> bool:
    """Whether `train` would find nothing to do: `workdir` has the results of this very config.

    Raises:
        UserError: it holds a run of another config.
    """
    if not (workdir / "results.json").exists():
        return False
    saved = saved_config(config, workdir).to_dict()
    settings.check_same_config(config.to_dict(), saved, workdir)
    trained = report.read_results(workdir)["train"]
    enough = trained["steps"] >= config.train.steps or trained.get("end") in ("patience", "counted")
    return enough and trained.get("end") != "unfinished" and saved["eval"] == config.eval.to_dict()


def evaluate(
    defaults: ml_collections.ConfigDict, overrides: dict[str, Any], workdir: pathlib.Path
) -> None:
    """Evaluate the best checkpoint of a work directory under the config that trained it.

    Args:
        defaults: configs/default.py, for settings that are newer than the run.
        overrides: settings given on the command line, by dotted name.
    """
    experiment = experiment_of(defaults, overrides, workdir)
    with contextlib.ExitStack() as held:
        # Only the holder writes: results of a checkpoint that a training has left behind meanwhile
        # must not take the place of its own.
        why_not = None
        try:
            held.enter_context(only_writer(workdir, files=_FILES))
        except InUseError:
            why_not = "in use by another process"
        except OSError as error:
            why_not = f"read-only ({error.strerror})"
        if experiment.is_counted:
            _report(experiment, experiment.counted[1], _COUNTED, workdir, why_not=why_not)
            return
        checkpoints = Checkpoints(
            workdir / "checkpoints", metric=experiment.config.train.select_by, read_only=True
        )
        if why_not is None:
            compilation.keep_beside(workdir)
        settings.check_same_run(experiment.meta(), checkpoints.latest_meta()[1], workdir)
        _report(experiment, *_restore_best(experiment, checkpoints), workdir, why_not=why_not)
        checkpoints.close()


def experiment_of(
    defaults: ml_collections.ConfigDict, overrides: dict[str, Any], workdir: pathlib.Path
) -> Experiment:
    """What the run in `workdir` was made of; arguments as for `evaluate`."""
    config = saved_config(defaults, workdir)
    config.update_from_flattened_dict(overrides)
    return Experiment(config, known=catalogue.kept_vocabulary(workdir))


def compare(runs: list[str]) -> None:
    """Print, metric by metric, how two runs differ on the same users, with a paired test."""
    if len(runs) != 2:
        raise UserError(f"--runs names {len(runs)} runs; give two work directories: --runs=A,B")
    differences = compare_runs(*runs)
    print(format_comparison(differences, names=(runs[0], runs[1])))


def saved_config(
    defaults: ml_collections.ConfigDict, workdir: pathlib.Path
) -> ml_collections.ConfigDict:
    """The config of the run in `workdir`."""
    path, config = workdir / "config.json", defaults.copy_and_resolve_references()
    try:
        saved = json.loads(path.read_text())
        for name in ("protocols", "ks"):
            saved["eval"][name] = tuple(saved["eval"][name])
        config.update(saved)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a run's config; is --workdir right?") from error
    return config


def _restore_best(experiment: Experiment, checkpoints: Checkpoints) -> tuple[Any, dict[str, Any]]:
    """The parameters to be judged, and the "train" part of results.json."""
    latest, meta = checkpoints.latest_meta()
    # A validation on training items cannot choose.
    best, params = checkpoints.restore_best(
        experiment.abstract_params(), latest=experiment.config.data.train_on_valid
    )
    standing = Standing(**meta["standing"])
    if latest >= experiment.config.train.steps:
        end = "steps"
    else:
        end = "patience" if 0 < experiment.config.train.patience <= standing.stale else "unfinished"
    train_part = {
        "steps": latest,
        "end": end,
        "best_step": best,
        "epochs": latest / experiment.batches.steps_per_epoch,
        "seconds": standing.seconds,
        "examples_per_second": standing.examples / max(standing.seconds, 1e-9),
        "fill": experiment.batches.fill,
        "skipped": standing.skipped,
    }
    return params, train_part


def _report(
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
    results = {
        "dataset": experiment.dataset,
        "model": {
            **experiment.config.model.to_dict(),
            "parameters": shards.count_parameters(params, len(experiment.log.vocab)),
        },
        "train": {
            **train_part,
            "seed": experiment.config.seed,
            "device": jax.devices()[0].device_kind,
            "devices": experiment.mesh.size,
            "jax": jax.__version__,
            **provenance.machine(),
        },
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
    html.write_report(workdir, attention=experiment.attention(params))


def _write_config(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    with replacing(workdir / "config.json") as unfinished:
        unfinished.write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def write_catalogue(
    experiment: Experiment, workdir: pathlib.Path, retired: np.ndarray | None = None
) -> None:
    """`retired`, bool [n]; None: those of a grown run that are so already."""
    path = workdir / "items.parquet"
    counts = sequences.train_counts(experiment.log, experiment.split.train_ends)
    if retired is None and catalogue.is_grown(workdir):
        retired = catalogue.read_retired(path)
    with replacing(path) as unfinished:
        catalogue.write_catalogue(unfinished, experiment.log.vocab, counts, retired)
