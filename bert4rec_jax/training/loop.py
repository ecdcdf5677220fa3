"""The training loop: one story from the first step to the last checkpoint."""

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

from bert4rec_jax.errors import UserError
from bert4rec_jax.hosts import Agreement
from bert4rec_jax.progress import Progress
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.records import Records
from bert4rec_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """Attributes:
    steps: updates in all, those of earlier processes included.
    log_every, eval_every: steps.
    checkpoint_minutes: between checkpoints; every validation makes one too.
    patience: validations without improvement before stopping; 0: never.
    max_skipped: updates that may be left out since their gradients are not finite.
    select_by: name of the validation metric whose highest value is best.
    """

    steps: int
    log_every: int
    eval_every: int
    checkpoint_minutes: float
    patience: int
    max_skipped: int
    select_by: str


@dataclasses.dataclass
class Standing:
    """How far a run has come, beside its state; kept in every checkpoint.

    Attributes:
        seconds: spent on training steps, validation left out, over all processes.
        examples: windows seen in that time.
        best: the best validation so far. stale: validations since then.
        skipped: updates left out since their gradients were not finite.
    """

    seconds: float = 0.0
    examples: int = 0
    best: float = -math.inf
    stale: int = 0
    skipped: int = 0


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a flag, so that a run stops between two steps.

    A second signal takes its usual course, as the first does outside the main thread, the only one
    that Python lets set handlers. `signal` names what came, or is None; `heeded` what the run has
    stopped for, the same in all processes of a run.
    """

    heeded: str | None = None

    def __enter__(self) -> "StopRequest":
        self.signal: str | None = None
        numbers = (signal.SIGTERM, signal.SIGINT)
        if threading.current_thread() is not threading.main_thread():
            numbers = ()
        self._before = {number: signal.signal(number, self._set) for number in numbers}
        return self

    def _set(self, number, _):
        self.signal = signal.Signals(number).name
        self._restore()

    def _restore(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(self, *_):
        self._restore()

    def __bool__(self) -> bool:
        return self.signal is not None


def fit(
    state: TrainState,
    *,
    run_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    batch: Callable[[int], tuple],
    validate: Callable[[Any], dict[str, float]],
    checkpoints: Checkpoints,
    meta: dict[str, Any],
    standing: Standing,
    records: Records,
    options: LoopOptions,
    stop: StopRequest,
) -> TrainState:
    """Train from `state` until the steps are done, patience is out, or `stop` is set.

    Args:
        run_step: (state, *batch) -> (state, sums); it may donate the state.
        batch: step -> device arrays.
        validate: params -> metrics by name; `options.select_by` is one of them.
        meta: goes into each checkpoint beside `standing`.
        standing: of this run so far; updated in place.

    Raises:
        UserError: the loss or the gradient is not finite, once more than `options.max_skipped`
            times; names the step. Nothing is saved from that step on.
    """
    step = int(state.step)
    progress = Progress(total=options.steps, done=step)
    agree, stopping = Agreement(), False
    waiting: list[tuple[int, dict[str, jax.Array]]] = []
    clock = saved_at = time.monotonic()

    def report(count: int) -> None:
        """Fetch the sums of the oldest `count` steps and write down their mean."""
        nonlocal clock
        if not count:
            return
        steps, sums = zip(*waiting[:count], strict=True)
        del waiting[:count]
        sums = jax.device_get(sums)
        for at, values in zip(steps, sums, strict=True):
            if not values["skipped"]:
                continue
            standing.skipped += 1
            if standing.skipped > options.max_skipped:
                raise UserError(
                    f"the loss is not finite at step {at}, and {options.max_skipped} such updates "
                    "were left out before; the last checkpoint is good: raise train.max_skipped, "
                    "or try, in another --workdir, a lower optimizer.learning_rate, more "
                    "optimizer.warmup_steps or model.dtype float32"
                )
            progress.say(f"step {at} skipped: its loss or gradient is not finite")
        now = time.monotonic()
        seconds, clock = now - clock, now
        examples = sum(int(values["examples"]) for values in sums)
        standing.seconds += seconds
        standing.examples += examples
        good = [values for values in sums if not values["skipped"]]
        weight = max(1.0, sum(float(values["weight"]) for values in good))
        loss = sum(float(values["loss"]) for values in good) / weight if good else None
        records.write(
            step=steps[-1],
            split="train",
            loss=loss,
            grad_norm=float(good[-1]["grad_norm"]) if good else None,
            examples_per_second=examples / seconds,
            minutes=standing.seconds / 60,
            skipped=standing.skipped,
        )
        shown = "not finite" if loss is None else f"{loss:.4f}"
        progress.report(steps[-1], loss=shown, histories=f"{examples / seconds:.0f}/s")

    def save(metrics: dict[str, float] | None) -> None:
        nonlocal saved_at
        records.sync()
        checkpoints.save(state, meta | {"standing": dataclasses.asdict(standing)}, metrics)
        saved_at = time.monotonic()
        agree.forget()

    def out_of_patience() -> bool:
        return 0 < options.patience <= standing.stale

    while step < options.steps and not out_of_patience():
        is_late = time.monotonic() - saved_at > 60 * options.checkpoint_minutes
        stopping, is_late = agree(bool(stop), is_late)
        if stopping:
            break
        if is_late:
            report(len(waiting))
            save(None)
        state, sums = run_step(state, *batch(step))
        step += 1
        waiting.append((step, sums))
        # Two steps under way keep any device busy; more would hold their buffers all at once.
        if len(waiting) > 1:
            jax.block_until_ready(waiting[-2])
        # One step beyond the interval is under way when its sums are fetched: the device never
        # waits for the log.
        if len(waiting) > options.log_every:
            report(options.log_every)
        if step % options.eval_every == 0 or step == options.steps:
            report(len(waiting))
            metrics = validate(state.params)
            standing.stale += 1
            if metrics[options.select_by] > standing.best:
                standing.best, standing.stale = metrics[options.select_by], 0
            records.write(step=step, split="valid", minutes=standing.seconds / 60, **metrics)
            progress.say(
                f"valid at {step}: {options.select_by} {metrics[options.select_by]:.4f} "
                f"(best {standing.best:.4f})"
            )
            save(metrics)
            clock = time.monotonic()
            progress.skip_time()

    report(len(waiting))
    if stopping:
        stop.heeded = stop.signal or "signal to another process"
        save(None)
    checkpoints.wait()
    progress.close()
    if out_of_patience():
        progress.say(f"no improvement in {standing.stale} validations: stopped at step {step}")
    return state
