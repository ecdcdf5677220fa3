"""From a config to what a run is made of: data, model, step, evaluator."""

import dataclasses
import functools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from bert4rec_jax import datasets, growth, hosts, markov, mesh, models, settings, shards, tasks
from bert4rec_jax.data import sequences
from bert4rec_jax.data.batching import Batches, sliding_windows
from bert4rec_jax.data.feeding import Feed
from bert4rec_jax.data.sequences import NOTHING
from bert4rec_jax.evaluation.attention import attention_of_cases
from bert4rec_jax.evaluation.judge import Judge
from bert4rec_jax.evaluation.scorers import Scorer, encoder_scorer, popularity_scorer
from bert4rec_jax.optimizer import learning_rate_schedule, make_optimizer
from bert4rec_jax.training.state import TrainState, init_params, init_state
from bert4rec_jax.training.step import make_train_step
from bert4rec_jax.vocab import Vocabulary


class Experiment:
    """Everything that a config determines, built on demand.

    Args:
        known: the catalogue of the run that this one goes on from (`finetuning.py`).

    Attributes:
        data: what `datasets.load` found.
        log: the users' histories; of a prepared log, those that are judged.
        split: what trains and what is held out.
        oracle: of a generated log, else None.
    """

    def __init__(self, config: ml_collections.ConfigDict, *, known: Vocabulary = NOTHING):
        settings.check(config)
        self.config = config
        self.data = datasets.load(config, known)
        self.log, self.split = self.data.log, self.data.split
        self.oracle, self.identity = self.data.oracle, self.data.identity
        self.mesh = mesh.make_mesh(config.mesh.data, config.mesh.model)
        mesh.check_divisible("train.batch_size", config.train.batch_size, self.mesh)
        mesh.check_divisible("eval.batch_size", config.eval.batch_size, self.mesh)

    @functools.cached_property
    def dataset(self) -> dict[str, Any]:
        """The "dataset" part of results.json."""
        return {
            "name": self.config.data.name,
            **self.data.statistics,
            **dataclasses.asdict(self.identity),
            "split": self.config.data.split,
            "trained_on_valid": self.config.data.train_on_valid,
        }

    @functools.cached_property
    def model(self) -> Any:
        """The neural model; the counted ones have none."""
        return models.build(self.config.model.to_dict(), items=len(self.log.vocab))

    @property
    def is_counted(self) -> bool:
        """Whether the model is counts of the training rows, with nothing to train."""
        return self.config.model.name in models.COUNTED

    @property
    def is_cloze(self) -> bool:
        return not self.is_counted and models.NEURAL[self.config.model.name].cloze

    @functools.cached_property
    def batches(self) -> Batches:
        starts, lengths = sliding_windows(
            self.data.offsets,
            self.data.train_ends,
            max_length=self.config.model.max_length,
            # Windows further apart than they are long would leave items out.
            stride=min(self.config.masking.stride, self.config.model.max_length),
        )
        return Batches(
            starts=starts,
            lengths=lengths,
            max_length=self.config.model.max_length,
            batch_size=self.config.train.batch_size,
            devices=self.mesh.shape[mesh.DATA],
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
        return mesh.init_in_place(
            self._init(init_state, optimizer=self.optimizer),
            self.mesh,
            self._key("parameters"),
            axes=self._axes(init_state, optimizer=self.optimizer),
        )

    def state_grown_from(self, params: Any):
        """The state before the first step of a run that begins with the parameters of another.

        Args:
            params: of `abstract_params` for the first items of the catalogue; `growth.grow` says
                what the others begin with.
        """
        like = self.abstract_params(len(self.log.vocab))

        def init(params, key):
            grown = shards.pad_rows(growth.grow(params, like, key=key), self._shards)
            return TrainState(jnp.zeros((), jnp.int32), grown, self.optimizer.init(grown))

        axes = self._axes(init_state, optimizer=self.optimizer)
        return mesh.init_in_place(init, self.mesh, params, self._key("parameters"), axes=axes)

    def abstract_params(self, items: int | None = None):
        """Shapes, dtypes and shardings of the parameters, for restoring them alone.

        Args:
            items: of a catalogue whose tables are not split; None: as this run holds its own.
        """
        if items is not None:
            model = dataclasses.replace(self.model, items=items)
            init = functools.partial(init_params, model=model)
            return mesh.with_sharding(jax.eval_shape(init, self._key("parameters")), self.mesh)
        params = jax.eval_shape(self._init(init_params), self._key("parameters"))
        return mesh.with_sharding(params, self.mesh, axes=self._axes(init_params))

    def _init(self, init, **options):
        return functools.partial(init, model=self.model, shards=self._shards, **options)

    @property
    def _shards(self) -> int:
        return self.mesh.shape[mesh.MODEL]

    def _axes(self, init, **options):
        """Which arrays of `init`'s result are split by rows, as `mesh.map_over_devices` asks."""
        if self._shards == 1:
            return None
        made = jax.eval_shape(self._init(init, **options), self._key("parameters"))
        return shards.item_axes(made, self._shards)

    def run_step(self):
        """(state, *batch) -> (state, sums), compiled at the first call; of `batch`'s batches."""
        make_task, budgets = self._task()
        is_fed = self.data.prepared is not None
        step = make_train_step(
            model=self.model,
            optimizer=self.optimizer,
            make_task=make_task,
            loss=tasks.loss(self.config.train, items=len(self.log.vocab)),
            budgets=budgets,
            key=self._key("steps"),
        )
        state = self._axes(init_state, optimizer=self.optimizer)
        mapped = mesh.map_over_devices(
            step,
            self.mesh,
            in_axes=(state, mesh.DATA if is_fed else None, mesh.DATA, mesh.DATA),
            out_axes=(state, None),
            donate=(0,),
        )
        if is_fed:
            return mapped
        items = mesh.put_copied(self.log.items, self.mesh)
        return lambda state, *batch: mapped(state, items, *batch)

    def _task(self):
        """(key, Row, place) -> Task, and the `Budget`s of a device's rows."""
        rows = self.batches.rows // self.mesh.shape[mesh.DATA]
        if not self.is_cloze:
            return tasks.next_items(self.batches, rows=rows)
        options = self.config.masking.to_dict()
        options.pop("stride")  # of the windows
        return tasks.cloze(
            self.batches,
            rows=rows,
            mask_id=self.log.vocab.mask_id,
            static_key=self._key("static masks"),
            **options,
        )

    def batch(self, step: int) -> tuple[jax.Array, ...]:
        """(starts, lengths) of a step, and before them the items where they are not on the device
        already."""
        if self.data.prepared is None:
            batch = tuple(x[self._own_rows] for x in self.batches(step))
        else:
            batch = self._feed(step)
        return mesh.put_split(batch, self.mesh)

    @functools.cached_property
    def _own_rows(self) -> np.ndarray:
        return mesh.own_rows(self.batches.rows, self.mesh)

    @functools.cached_property
    def _feed(self) -> Feed:
        length = self.config.model.max_length
        whole_epochs = threading.Lock()  # what a thread shuffles, the others must not shuffle too

        def read(step):
            with whole_epochs:
                starts, lengths = (x[self._own_rows] for x in self.batches(step))
            items = self.data.prepared.read(starts, lengths, width=length)
            # Beyond 2^31 places wrap around: they are only told apart by them.
            return items, starts.astype(np.int32), lengths

        return Feed(read, steps=self.config.train.steps)

    @functools.cached_property
    def judge(self) -> Judge:
        with hosts.first_before_others():  # it writes the file of negatives that they read
            return Judge(
                self._scorer(),
                self.log,
                self.split,
                max_length=self._input_length,
                seed=self.config.seed,
                map_over_devices=functools.partial(
                    mesh.map_rows, mesh=self.mesh, params=self._params_axes
                ),
                sharing=(self.mesh.shape[mesh.DATA], self._shards),
                **{name: x for name, x in self.config.eval.to_dict().items() if name != "users"},
            )

    @property
    def _params_axes(self):
        return None if self.is_counted else self._axes(init_params)

    @property
    def _input_length(self) -> int:
        length = self.config.model.max_length
        if self.is_counted:
            return length
        return models.input_length(models.NEURAL[self.config.model.name], length)

    def _scorer(self) -> Scorer:
        if self.is_counted:
            return self.counted[0]
        return encoder_scorer(self.model, append_mask=self.is_cloze)

    @functools.cached_property
    def counted(self) -> tuple[Scorer, dict[str, jax.Array]]:
        """(scorer, params) of a model that is counted, not trained."""
        log, ends = self.log, self.split.train_ends
        if self.config.model.name == "popularity":
            return popularity_scorer(sequences.train_counts(log, ends))
        params = markov.fit_markov(
            log.items,
            log.offsets,
            ends,
            catalogue=len(log.vocab),
            smoothing=self.config.model.smoothing,
        )
        return Scorer(None, None, append_mask=False, scores=markov.markov_scores), params

    def attention(self, params: Any) -> np.ndarray | None:
        """Mean attention of each layer and head on test histories; None where there is none."""
        if self.is_counted:
            return None
        return attention_of_cases(
            self.model,
            params,
            self.log,
            self.split.test,
            append_mask=self.is_cloze,
            map_over_devices=functools.partial(
                mesh.map_over_devices,
                mesh=self.mesh,
                in_axes=(self._params_axes, None),
                out_axes=None,
            ),
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
