"""What main.py's modes do: train, evaluate, compare."""

import contextlib
import dataclasses
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np

from bert4rec_jax import compilation, hosts, narration, outputs, settings, stopping
from bert4rec_jax.console import say
from bert4rec_jax.data import catalogue
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import report
from bert4rec_jax.evaluation.judge import Judge
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.files import InUseError
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.loop import LoopOptions, Standing, StopRequest, fit
from bert4rec_jax.training.records import NoRecords, Records

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
    settings.check_training(config)
    if (workdir / "results.json").exists():
        saved = saved_config(config, workdir).to_dict()
        settings.check_same_config(config.to_dict(), saved, workdir)
    if experiment is None:
        experiment = Experiment(config, known=catalogue.kept_vocabulary(workdir))
    _refuse_unlike(experiment)
    refuse_other_data(experiment.identity.digest, workdir)
    narration.say_what_is_read(experiment)
    judge = experiment.judge
    with contextlib.ExitStack() as held:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            held.enter_context(outputs.holding(workdir))
        except OSError as error:
            raise UserError(f"{workdir}: {error.strerror}; choose another --workdir") from error
        outputs.refuse_unshared(workdir)
        if experiment.is_counted:
            if (workdir / "checkpoints").exists():
                raise UserError(
                    f"{workdir} holds a training, and {config.model.name} is counted: choose "
                    "another --workdir"
                )
            outputs.write_config(config, workdir)
            outputs.write_catalogue(experiment, workdir)
            outputs.report_run(experiment, experiment.counted[1], _COUNTED, workdir)
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
        say(narration.resuming(workdir, int(state.step), config.to_dict(), saved["config"]))
    outputs.write_config(config, workdir)
    outputs.write_catalogue(experiment, workdir, retired)

    run_step = narration.announce_first(experiment.run_step(), started)
    records = Records(workdir, step=int(state.step)) if hosts.is_first() else NoRecords()
    options = config.train.to_dict() | {"patience": _patience(config)}
    with StopRequest() as stop:
        state = fit(
            state,
            run_step=run_step,
            batch=experiment.batch,
            validate=judge.validate,
            checkpoints=checkpoints,
            meta=experiment.meta() | {"machine": outputs.machine(experiment)},
            standing=standing,
            records=records,
            options=LoopOptions(
                **{field.name: options[field.name] for field in dataclasses.fields(LoopOptions)}
            ),
            stop=stop,
        )
    records.close()
    if stop.heeded:
        say(f"{stop.heeded}: saved step {int(state.step)}; the same command resumes")
        return False
    try:
        outputs.report_run(experiment, *_restore_best(experiment, checkpoints), workdir)
    except (KeyboardInterrupt, stopping.Terminated):
        say(f"{workdir}: the training is saved; the same command evaluates it")
        raise
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
    results = report.read_results(workdir)
    steps, end = results["train"]["steps"], results["train"].get("end")
    if end == "patience" and steps < config.train.steps:
        enough = saved["train"]["patience"] == config.train.patience
    else:
        enough = end == "counted" or (end != "unfinished" and steps >= config.train.steps)
    judged = results.get("eval", saved["eval"])  # --mode=evaluate may have had another
    return enough and _as_json(judged) == _as_json(config.eval.to_dict())


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def evaluate(
    defaults: ml_collections.ConfigDict, overrides: dict[str, Any], workdir: pathlib.Path
) -> None:
    """Evaluate the best checkpoint of a work directory under the config that trained it.

    Args:
        defaults: configs/default.py, for settings that are newer than the run.
        overrides: settings given on the command line, by dotted name.
    """
    experiment = experiment_of(defaults, overrides, workdir)
    _refuse_unlike(experiment)
    refuse_other_data(experiment.identity.digest, workdir)
    with contextlib.ExitStack() as held:
        # Only the holder writes: results of a checkpoint that a training has left behind meanwhile
        # must not take the place of its own.
        why_not = None
        try:
            held.enter_context(outputs.holding(workdir))
        except InUseError:
            why_not = "in use by another process"
        except OSError as error:
            why_not = f"read-only ({error.strerror})"
        if experiment.is_counted:  # no checkpoint says what the run is
            saved = saved_config(defaults, workdir).to_dict()
            settings.check_same_config(experiment.config.to_dict(), saved, workdir)
            outputs.report_run(
                experiment, experiment.counted[1], _COUNTED, workdir, why_not=why_not
            )
            return
        checkpoints = held.enter_context(
            Checkpoints(
                workdir / "checkpoints", metric=experiment.config.train.select_by, read_only=True
            )
        )
        if why_not is None:
            compilation.keep_beside(workdir)
        settings.check_same_run(experiment.meta(), checkpoints.latest_meta()[1], workdir)
        outputs.report_run(
            experiment, *_restore_best(experiment, checkpoints), workdir, why_not=why_not
        )


def _refuse_unlike(experiment: Experiment) -> None:
    """UserError unless all processes of this run make the same of it."""
    meta = experiment.meta()
    for name in settings.PLACES:  # each machine has the same data in its own
        section, key = name.split(".")
        del meta["config"][section][key]
    parts = {name: json.dumps(value, sort_keys=True) for name, value in meta.items()}
    hosts.refuse_unequal(parts, "start all with the same settings, on the same data")


def refuse_other_data(digest: str, workdir: pathlib.Path) -> None:
    """UserError where `workdir` has results of a log of another digest. Counts have no checkpoint
    to say so."""
    try:
        saved = report.read_results(workdir)["dataset"]
    except UserError:  # none yet, or damaged, and to be written anew
        return
    settings.check_same_data(digest, saved.get("digest", digest), workdir)


def experiment_of(
    defaults: ml_collections.ConfigDict, overrides: dict[str, Any], workdir: pathlib.Path
) -> Experiment:
    """What the run in `workdir` was made of; arguments as for `evaluate`."""
    config = saved_config(defaults, workdir, overrides)
    return Experiment(config, known=catalogue.kept_vocabulary(workdir))


def compare(runs: list[str]) -> None:
    """Print, metric by metric, how two runs differ on the same users, with a paired test."""
    # Late: importing scipy's functions takes time, and no other mode needs them.
    from bert4rec_jax.evaluation.compare import compare_runs, format_comparison

    if len(runs) != 2:
        raise UserError(f"--runs names {len(runs)} runs; give two work directories: --runs=A,B")
    differences = compare_runs(*runs)
    print(format_comparison(differences, names=(runs[0], runs[1])))


def saved_config(
    defaults: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    overrides: dict[str, Any] | None = None,
) -> ml_collections.ConfigDict:
    """The config of the run in `workdir`, with the overrides; arguments as for `evaluate`."""
    path, config = workdir / "config.json", defaults.copy_and_resolve_references()
    try:
        saved = json.loads(path.read_text())
        for name in ("protocols", "ks"):
            saved["eval"][name] = tuple(saved["eval"][name])
        config.update(saved)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a run's config; is --workdir right?") from error
    config.update_from_flattened_dict(overrides or {})
    return config


def refuse_other_settings(
    defaults: ml_collections.ConfigDict, overrides: dict[str, Any], workdir: pathlib.Path
) -> None:
    """UserError for an override, but of the data, that the run in `workdir` does not have."""
    if overrides:
        configs = (saved_config(defaults, workdir, over) for over in (overrides, {}))
        now, before = (config.to_dict() | {"data": {}} for config in configs)
        settings.check_same_config(now, before, workdir)


def _patience(config: ml_collections.ConfigDict) -> int:
    """0, never to stop, where validation says nothing."""
    return 0 if settings.judged_by_the_last(config) else config.train.patience


def _restore_best(experiment: Experiment, checkpoints: Checkpoints) -> tuple[Any, dict[str, Any]]:
    """The parameters to be judged, and the "train" part of results.json."""
    latest, meta = checkpoints.latest_meta()
    best, params = checkpoints.restore_best(
        experiment.abstract_params(), latest=settings.judged_by_the_last(experiment.config)
    )
    standing = Standing(**meta["standing"])
    if latest >= experiment.config.train.steps:
        end = "steps"
    else:
        patience = _patience(experiment.config)
        end = "patience" if 0 < patience <= standing.stale else "unfinished"
    train_part = {
        "loss": experiment.config.train.loss,
        "steps": latest,
        "end": end,
        "best_step": best,
        "epochs": latest / experiment.batches.steps_per_epoch,
        "seconds": standing.seconds,
        "examples_per_second": standing.examples / max(standing.seconds, 1e-9),
        "fill": experiment.batches.fill,
        "skipped": standing.skipped,
        # An older checkpoint does not say; it need not be this one.
        **meta.get("machine", dict.fromkeys(outputs.machine(experiment), "unknown")),
    }
    return params, train_part
