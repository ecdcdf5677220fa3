"""All of Orbax: what is saved, which checkpoints are kept, and how one comes back."""

import logging
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from bert4rec_jax.errors import UserError
from bert4rec_jax.training.state import TrainState

# Orbax reports each file it touches at INFO and its own defaults at WARNING.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


class Checkpoints:
    """The checkpoints of one run: the latest and the best.

    Checkpoint N holds the state after N updates, as three items: "params"; "train" (optimizer state
    and step), which evaluation does not read; "meta", JSON: what the run must be equal in to be
    resumed, and how far early stopping had come.
    """

    def __init__(self, directory: pathlib.Path, *, metric: str, read_only: bool = False):
        """Open `directory`; `metric` names the validation metric whose highest value is best."""

        def best_fn(metrics: dict[str, float]) -> float:
            return metrics[metric]

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
        )
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=options,
            item_handlers={
                "params": ocp.StandardCheckpointHandler(),
                "train": ocp.StandardCheckpointHandler(),
                "meta": ocp.JsonCheckpointHandler(),
            },
        )
        self._directory = directory

    def save(
        self, state: TrainState, meta: dict[str, Any], metrics: dict[str, float] | None
    ) -> None:
        """Save in the background. `metrics` of a validation at this very step, or None."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                train=ocp.args.StandardSave({"step": state.step, "opt_state": state.opt_state}),
                meta=ocp.args.JsonSave(meta),
            ),
            metrics=metrics,
        )

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int:
        """The step with the best validation; the latest one if none was validated."""
        best = self._manager.best_step()
        best = self._manager.latest_step() if best is None else best
        if best is None:
            raise UserError(
                f"{self._directory}: no checkpoint here; train with this --workdir first"
            )
        return best

    def read_meta(self, step: int) -> dict[str, Any]:
        restored = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        return restored["meta"]

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The whole state. `like` gives shapes, dtypes and shardings; any device count will do."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(abstract.params),
                train=ocp.args.StandardRestore(
                    {"step": abstract.step, "opt_state": abstract.opt_state}
                ),
            ),
        )
        train = restored["train"]
        return TrainState(train["step"], restored["params"], train["opt_state"])

    def restore_params(self, step: int, like: Any) -> Any:
        """The parameters alone; `like` is a tree of arrays or of ShapeDtypeStructs."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        restored = self._manager.restore(
            step, args=ocp.args.Composite(params=ocp.args.StandardRestore(abstract))
        )
        return restored["params"]

    def wait(self) -> None:
        """Block until what was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()
