"""From a config to a run: what main.py's modes do, and the only module that reads the config."""

import dataclasses
import functools
import json
import os
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from bert4rec_jax import masking, mesh, settings
from bert4rec_jax.data import identity, interactions, sequences, sources, synthetic
from bert4rec_jax.data.batching import Batches, sliding_windows
from bert4rec_jax.encoder import Encoder
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import report, scorers
from bert4rec_jax.evaluation.files import replacing
from bert4rec_jax.evaluation.judge import Judge
from bert4rec_jax.optimizer import learning_rate_schedule, make_optimizer
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.loop import LoopOptions, Standing, StopRequest, fit
from bert4rec_jax.training.records import Records
from bert4rec_jax.training.state import init_state
from bert4rec_jax.training.step import make_train_step


class Experiment:
    """Everything that a config determines, built on demand.

    Attributes:
        log: the users' histories.  split: what trains and what is held out.
        oracle: of a generated log, else None.
    """

    def __init__(self, config: ml_collections.ConfigDict):
        settings.check(config)
        self.config = config
        self.log, self.oracle = _load_log(config.data)
        self.split = sequences.leave_one_out(self.log, train_on_valid=config.data.train_on_valid)
        self.identity = identity.identify(self.log, self.split.test)
        self.mesh = mesh.make_mesh(config.mesh.data)
        mesh.check_divisible("train.batch_size", config.train.batch_size, self.mesh)
        mesh.check_divisible("eval.batch_size", config.eval.batch_size, self.mesh)

    @functools.cached_property
    def dataset(self) -> dict[str, Any]:
        """The "dataset" part of results.json."""
        return {
            "name": self.config.data.name,
            **sequences.statistics(self.log),
            **dataclasses.asdict(self.identity),
            "trained_on_valid": self.config.data.train_on_valid,
        }

    @functools.cached_property
    def model(self) -> Encoder:
        options = self.config.model.to_dict()
        options.pop("name")
        dtype = jnp.dtype(options.pop("dtype"))
        return Encoder(items=len(self.log.vocab), dtype=dtype, **options)

    @functools.cached_property
    def batches(self) -> Batches:
        starts, lengths = sliding_windows(
            self.log.offsets,
            self.split.train_ends,
            max_length=self.config.model.max_length,
            stride=self.config.masking.stride,
        )
        return Batches(
            starts=starts,
            lengths=lengths,
            max_length=self.config.model.max_length,
            batch_size=self.config.train.batch_size,
            devices=self.mesh.size,
            seed=self.config.seed,
            packed=self.config.train.packed,
        )

    @functools.cached_property
    def optimizer(self):
        options = self.config.optimizer.to_dict()
        schedule = learning_rate_schedule(
            learning_rate=options.pop("learning_rate"),
            warmup_steps=options.pop("warmup_steps"),
            schedule=options.pop("schedule"),
            steps=self.config.train.steps,
        )
        return make_optimizer(schedule, **options)

    def initial_state(self):
        init = functools.partial(init_state, model=self.model, optimizer=self.optimizer)
        return mesh.init_replicated(init, self.mesh, self._key("parameters"))

    def run_step(self):
        """(state, starts, lengths) -> (state, sums), compiled at the first call."""
        options = self.config.masking
        counts = masking.mask_counts(
            self.config.model.max_length, proportion=options.proportion, budget=options.budget
        )
        cloze = functools.partial(
            masking.cloze,
            counts=jnp.asarray(counts),
            mask_id=self.log.vocab.mask_id,
            last_only_rate=options.last_only_rate,
            mask_rate=options.mask_rate,
            static_key=self._key("static masks"),
            static_copies=options.static_copies,
        )
        step = make_train_step(
            model=self.model,
            optimizer=self.optimizer,
            make_task=cloze,
            budget=self.batches.budget(counts),
            key=self._key("steps"),
        )
        mapped = mesh.map_over_devices(
            step,
            self.mesh,
            in_axes=(None, None, mesh.DATA, mesh.DATA),
            out_axes=None,
            donate=(0,),
        )
        items = mesh.put_copied(self.log.items, self.mesh)
        return lambda state, *batch: mapped(state, items, *batch)

    def batch(self, step: int) -> tuple[jax.Array, jax.Array]:
        return mesh.put_split(self.batches(step), self.mesh)

    @functools.cached_property
    def judge(self) -> Judge:
        return Judge(
            scorers.encoder_scorer(self.model, append_mask=True),
            self.log,
            self.split,
            max_length=self.config.model.max_length,
            seed=self.config.seed,
            map_over_devices=lambda function: mesh.map_over_devices(
                function, self.mesh, in_axes=(None, mesh.DATA), out_axes=mesh.DATA
            ),
            **self.config.eval.to_dict(),
        )

    def meta(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be this experiment's."""
        return {
            "config": self.config.to_dict(),
            "seed": self.config.seed,
            "vocabulary": self.log.vocab.digest,
            "data": self.identity.digest,
        }

    def _key(self, purpose: str) -> jax.Array:
        """A random key of its own for each purpose."""
        purposes = ("parameters", "static masks", "steps")
        return jax.random.fold_in(jax.random.key(self.config.seed), purposes.index(purpose))


def _load_log(data: ml_collections.ConfigDict):
    """(Sequences, Oracle or None)."""
    if data.name == "synthetic" and not data.path:
        return synthetic.generate(seed=0)
    path = data.path or sources.fetch(data.name, pathlib.Path(data.cache).expanduser())
    frame = interactions.read(
        path,
        user_column=data.user_column,
        item_column=data.item_column,
        time_column=data.time_column,
    )
    log = sequences.build(
        frame,
        name=data.name,
        min_item_count=data.min_item_count,
        min_user_count=data.min_user_count,
    )
    return log, None


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path, *, started: float) -> None:
    """Train, or go on where the work directory stands; then evaluate the best checkpoint.

    Args:
        started: `time.monotonic()` when the command began, for the time to the first step.
    """
    experiment = Experiment(config)
    _say_what_is_trained(experiment)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        checkpoints = Checkpoints(workdir / "checkpoints", metric=config.train.select_by)
    except OSError as error:
        raise UserError(f"{workdir}: {error.strerror}; choose another --workdir") from error
    _cache_compilations(workdir)
    state, standing = experiment.initial_state(), Standing()
    if (latest := checkpoints.latest_step()) is not None:
        saved = checkpoints.read_meta(latest)
        settings.check_same_run(experiment.meta(), saved, workdir)
        state = checkpoints.restore(latest, like=state)
        standing = Standing(**saved["standing"])
        _say(f"resuming {workdir} at step {latest}")
    with replacing(workdir / "config.json") as unfinished:
        unfinished.write_text(json.dumps(config.to_dict(), indent=2) + "\n")

    run_step = _announce_first(experiment.run_step(), started)
    records = Records(workdir, step=int(state.step))
    options = config.train.to_dict()
    with StopRequest() as stop:
        state = fit(
            state,
            run_step=run_step,
            batch=experiment.batch,
            validate=experiment.judge.validate,
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
        checkpoints.close()
        _say(f"{stop.signal}: saved step {int(state.step)}; the same command resumes")
        return
    _report(experiment, checkpoints, workdir)
    checkpoints.close()


def evaluate(overrides: dict[str, Any], workdir: pathlib.Path) -> None:
    """Evaluate the best checkpoint of a work directory under the config that trained it.

    Args:
        overrides: settings given on the command line, by dotted name.
    """
    experiment = Experiment(saved_config(workdir, overrides))
    checkpoints = Checkpoints(
        workdir / "checkpoints", metric=experiment.config.train.select_by, read_only=True
    )
    _cache_compilations(workdir)
    settings.check_same_run(
        experiment.meta(), checkpoints.read_meta(checkpoints.best_step()), workdir
    )
    _report(experiment, checkpoints, workdir)
    checkpoints.close()


def saved_config(workdir: pathlib.Path, overrides: dict[str, Any]) -> ml_collections.ConfigDict:
    """The config of the run in `workdir`, with `overrides` by dotted name."""
    path = workdir / "config.json"
    try:
        config = ml_collections.ConfigDict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a run's config; is --workdir right?") from error
    config.eval.protocols = tuple(config.eval.protocols)
    config.eval.ks = tuple(config.eval.ks)
    config.lock()
    config.update_from_flattened_dict(overrides)
    return config


def _report(experiment: Experiment, checkpoints: Checkpoints, workdir: pathlib.Path) -> None:
    """Evaluate the best checkpoint; write results.json and ranks.parquet; print the table."""
    best, latest = checkpoints.best_step(), checkpoints.latest_step()
    standing = Standing(**checkpoints.read_meta(latest)["standing"])
    like = jax.eval_shape(
        lambda key: init_state(key, model=experiment.model, optimizer=experiment.optimizer),
        jax.random.key(0),
    ).params
    like = mesh.with_replicated_sharding(like, experiment.mesh)
    params = checkpoints.restore_params(best, like)
    figures, ranks = experiment.judge.report(params)
    results = {
        "dataset": experiment.dataset,
        "model": {
            **experiment.config.model.to_dict(),
            "parameters": sum(x.size for x in jax.tree.leaves(params)),
        },
        "train": {
            "steps": latest,
            "best_step": best,
            "epochs": latest / experiment.batches.steps_per_epoch,
            "seconds": standing.seconds,
            "examples_per_second": standing.examples / max(standing.seconds, 1e-9),
            "fill": experiment.batches.fill,
            "seed": experiment.config.seed,
            "device": jax.devices()[0].device_kind,
            "devices": experiment.mesh.size,
            "jax": jax.__version__,
        },
        **figures,
    }
    if experiment.oracle is not None:
        ceiling = experiment.oracle.best_hit_ratio(experiment.split.test)
        results["dataset"]["best_full_HR@10"] = ceiling
    if os.access(workdir, os.W_OK):
        report.write_results(workdir / "results.json", results)
        report.write_ranks(workdir / "ranks.parquet", experiment.log.users, ranks)
    else:
        _say(f"{workdir} is read-only: results.json and ranks.parquet are not written")
    print(report.metrics_table(results))
    if experiment.oracle is not None:
        print(f"best achievable full HR@10 of this generated log: {ceiling:.4f}")


def _say_what_is_trained(experiment: Experiment) -> None:
    data, batches = experiment.dataset, experiment.batches
    _say(
        f"{data['name']}: {data['users']:,} users, {data['items']:,} items, "
        f"{data['actions']:,} actions, mean length {data['length_mean']:.1f}, "
        f"density {data['density']:.2%}"
    )
    _say(identity.verdict(data["name"], experiment.identity) + f", digest {data['digest'][:12]}")
    _say(
        f"{len(batches.lengths):,} windows in {batches.steps_per_epoch} steps an epoch, "
        f"{batches.rows} rows a step, {batches.fill:.0%} filled; {experiment.mesh.size} x "
        f"{jax.devices()[0].device_kind}"
    )


def _announce_first(run_step, started: float):
    """`run_step`, which prints once how long the command took to complete its first step."""
    first = True

    def wrapped(state, *batch):
        nonlocal first
        result = run_step(state, *batch)
        if first:
            jax.block_until_ready(result)
            _say(f"first step done {time.monotonic() - started:.1f} s after the start")
            first = False
        return result

    return wrapped


def _cache_compilations(workdir: pathlib.Path) -> None:
    """Keep compiled programs beside the run, so that the next start does not compile again."""
    if os.access(workdir, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(workdir / "compilation_cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
