"""All of Orbax: what is saved, which checkpoints are kept, and how a whole one comes back."""

import contextlib
import logging
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from bert4rec_jax import hosts
from bert4rec_jax.console import say
from bert4rec_jax.errors import UserError
from bert4rec_jax.shards import has_item_rows
from bert4rec_jax.training.integrity import (
    DamagedCheckpoint,
    damaged,
    fingerprints,
    kinds,
    mend_metrics,
    read_meta,
    sealed,
)
from bert4rec_jax.training.state import TrainState

# Orbax reports each file it touches at INFO and its own defaults at WARNING.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


class Checkpoints:
    """The checkpoints of one run: the latest two and the best.

    Checkpoint N holds the state after N updates, as three items: "params"; "train" (optimizer state
    and step), which evaluation does not read; "meta", JSON: what the run must be equal in to be
    resumed, how far early stopping had come, what machine trained, and fingerprints of the other
    two. What comes back is held against these: Orbax sees a missing or cut file, but not a flipped
    bit.

    An item table is stored as the devices hold it: its n rows and, where it is split over S
    devices, fewer than S rows of zeros behind them. To store n rows always, all devices would have
    to move rows on, or one hold the whole table; n rows do not lie evenly on S devices. Instead a
    restored table has the rows that are asked for, with zeros behind those that are stored, and
    each device reads its own. So any mesh restores what any other saved.
    """

    def __init__(self, directory: pathlib.Path, *, metric: str, read_only: bool = False):
        """Open `directory`; `metric` names the validation metric whose highest value is best.

        Args:
            read_only: for who reads beside a training. Else this process must be the only writer:
                what a killed one left unfinished is removed.
        """

        def best_fn(metrics: dict[str, float]) -> float:
            return metrics.get(metric, -math.inf)

        # The policy decides what stays; best_fn must be set too, or Orbax neither writes metrics
        # nor knows which step is best.
        options = ocp.CheckpointManagerOptions(
            best_fn=best_fn,
            best_mode="max",
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(n=2),
                    policies.BestN(
                        get_metric_fn=best_fn, n=1, keep_checkpoints_without_metrics=False
                    ),
                ]
            ),
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            # It would read all metrics, and give up where one file of them is damaged.
            lightweight_initialize=read_only,
        )
        self._directory, self._metric, self._read_only = directory, metric, read_only
        if not read_only:
            with hosts.first_before_others():  # who find nothing left to mend
                mend_metrics(directory)
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=options,
            item_handlers={
                "params": ocp.PyTreeCheckpointHandler(),
                "train": ocp.PyTreeCheckpointHandler(),
                "meta": ocp.JsonCheckpointHandler(),
            },
        )
        hosts.refuse_unequal(
            {"checkpoints that they find": str(self._manager.all_steps())},
            f"{directory}: --workdir must be a folder that all of them see",
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        """Close; on the way of an error, what the save under way comes to is not told as well."""
        with contextlib.suppress(*(() if kind is None else (Exception,))):
            self.close()

    def save(
        self, state: TrainState, meta: dict[str, Any], metrics: dict[str, float] | None
    ) -> None:
        """Save in the background. `metrics` of a validation at this very step, or None."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = {
            "params": state.params,
            "train": {"step": state.step, "opt_state": state.opt_state},
        }
        meta = meta | {
            "fingerprints": {name: fingerprints(item) for name, item in items.items()},
            "metrics": metrics,
        }
        self._manager.save(
            step,
            args=ocp.args.Composite(
                **{name: ocp.args.PyTreeSave(item) for name, item in items.items()},
                meta=ocp.args.JsonSave(sealed(meta)),
            ),
            metrics=metrics,
        )

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int:
        """The step with the best validation; the latest one if none was validated."""
        if not self._manager.all_steps():
            raise UserError(
                f"{self._directory}: no checkpoint here; train with this --workdir first"
            )
        return self._best_first()[0]

    def read_meta(self, step: int) -> dict[str, Any]:
        """DamagedCheckpoint where it cannot be read, as for `restore` and `restore_params`."""
        return read_meta(self._directory / str(step))

    def latest_meta(self) -> tuple[int, dict[str, Any]]:
        """(N, its meta) of the latest checkpoint whose meta is whole."""
        self.best_step()  # there is one
        return self._first_whole(self._latest_first, self.read_meta)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The whole state. `like` gives shapes, dtypes and shardings; any mesh will do.

        Raises:
            UserError: the checkpoint is damaged, or of other shapes.
        """
        items = {"params": like.params, "train": {"step": like.step, "opt_state": like.opt_state}}
        restored = self._restore(step, items)
        train = restored["train"]
        return TrainState(train["step"], restored["params"], train["opt_state"])

    def restore_params(self, step: int, like: Any) -> Any:
        """The parameters alone; `like` is a tree of arrays or of ShapeDtypeStructs."""
        return self._restore(step, {"params": like})["params"]

    def restore_latest(self, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """(state, meta) of the latest checkpoint that is whole. Later ones are put aside, where
        the training that goes on will not take them for its own, and named on stderr."""
        _, found = self._first_whole(
            self._latest_first, lambda step: (self.restore(step, like), self.read_meta(step))
        )
        return found

    def restore_best(self, like: Any, *, latest: bool = False) -> tuple[int, Any]:
        """(N, parameters) of the best checkpoint that is whole, or the latest one."""
        self.best_step()  # there is one
        return self._first_whole(
            self._latest_first if latest else self._best_first,
            lambda step: self.restore_params(step, like),
        )

    def wait(self) -> None:
        """Block until what was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()

    def _latest_first(self) -> list[int]:
        return sorted(self._manager.all_steps(), reverse=True)

    def _best_first(self) -> list[int]:
        def value(step: int) -> tuple[float, int]:
            try:
                metrics = self.read_meta(step).get("metrics") or self._manager.metrics(step) or {}
            except ValueError:  # damaged
                metrics = {}
            return metrics.get(self._metric, -math.inf), step

        return sorted(self._manager.all_steps(), key=value, reverse=True)

    def _first_whole(self, order: Callable[[], list[int]], read: Callable[[int], Any]) -> Any:
        """(N, read(N)) for the first N of `order()` that is not damaged."""
        passed: dict[int, DamagedCheckpoint] = {}
        for step in order():
            try:
                found = read(step)
            except DamagedCheckpoint as error:
                if hosts.count() > 1:
                    # Perhaps this process alone has met it, and the others wait for it to read on.
                    raise UserError(
                        f"{error}: start the command once in one process, which goes back to the "
                        "checkpoint before"
                    ) from error
                if self._read_only and self._is_going(step):
                    return self._first_whole(order, read)
                passed[step] = error
                continue
            for other, error in passed.items():
                aside = "" if self._read_only else f" (it is now {self._set_aside(other)})"
                say(f"{error}: going back to checkpoint {step}{aside}")
            return step, found
        first = next(iter(passed.values()))
        raise UserError(
            f"{first}, and no other is whole: restore {self._directory} from a copy, or train anew "
            "in another --workdir"
        )

    def _is_going(self, step: int) -> bool:
        """Whether the training that this process reads beside is removing the checkpoint."""
        time.sleep(1.0)
        self._manager.reload()
        return step not in self._manager.all_steps()

    def _set_aside(self, step: int) -> pathlib.Path:
        folder = self._directory.parent / "damaged"
        folder.mkdir(exist_ok=True)
        place = folder / f"{step}-{len(list(folder.iterdir()))}"
        (self._directory / str(step)).rename(place)
        self._manager.reload()
        return place

    def _restore(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Items of a checkpoint, held against their fingerprints."""
        prints = self.read_meta(step).get("fingerprints")  # older checkpoints have none
        for name in like if prints else ():
            self._refuse_other_types(step, prints[name], like[name])
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(**{name: _asking(tree) for name, tree in like.items()}),
            )
        except (jax.errors.JaxRuntimeError, MemoryError):
            raise  # too little memory is no damage
        except Exception as error:  # Orbax's readers raise whatever they meet
            raise damaged(self._directory / str(step), error) from error
        for name in like if prints else ():
            found = fingerprints(restored[name])
            if wrong := [path for path in found if found[path] != prints[name][path]]:
                raise damaged(
                    self._directory / str(step),
                    f"{wrong[0]} is {found[wrong[0]]}, and {prints[name][wrong[0]]} was saved",
                )
        return dict(restored)

    def _refuse_other_types(self, step: int, prints: Mapping[str, str], like: Any) -> None:
        saved = {path: text.rpartition(" ")[0] for path, text in prints.items()}
        now = kinds(like)
        for path in sorted(saved.keys() | now.keys()):
            before, after = saved.get(path, "nothing"), now.get(path, "nothing")
            if before != after:
                raise UserError(
                    f"{self._directory / str(step)} is of another model: it has {before} for "
                    f"{path}, and this one {after}: choose another --workdir"
                )


def _asking(like: Any) -> ocp.args.PyTreeRestore:
    """Shapes, dtypes and shardings as those of `like`, and the number of an item table's rows."""

    def options(path, x):
        return ocp.ArrayRestoreArgs(
            dtype=x.dtype, sharding=x.sharding, global_shape=x.shape, strict=not has_item_rows(path)
        )

    return ocp.args.PyTreeRestore(
        jax.tree.map(ocp.utils.to_shape_dtype_struct, like),
        restore_args=jax.tree_util.tree_map_with_path(options, like),
    )
