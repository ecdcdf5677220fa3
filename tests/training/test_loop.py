"""The loop and its checkpoints on a model of two numbers, so that every value is known by hand."""

import concurrent.futures
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax.errors import UserError
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.loop import LoopOptions, Standing, StopRequest, fit
from bert4rec_jax.training.records import Records
from bert4rec_jax.training.state import TrainState


def new_state(step=0):
    return TrainState(jnp.int32(step), {"w": jnp.float32(0.0)}, {"m": jnp.float32(0.0)})


def run_step(state, amount):
    """w grows by the batch's number, m by its square: any step left out or done twice shows.

    A number that is not finite is left out, as the real step does.
    """
    loss, finite = amount + 1.0, jnp.isfinite(amount)
    sums = {"loss": loss, "weight": 1.0, "examples": 2, "grad_norm": 1.0, "skipped": ~finite}
    sums = {name: jnp.asarray(value) for name, value in sums.items()}
    amount = jnp.where(finite, amount, 0.0)
    params = {"w": state.params["w"] + amount}
    return TrainState(state.step + 1, params, {"m": state.opt_state["m"] + amount**2}), sums


class Run:
    """One process of a run in `folder`; what a config would set has test-sized defaults."""

    def __init__(self, folder, **options):
        defaults = {"steps": 6, "log_every": 2, "eval_every": 3, "checkpoint_minutes": 1e9}
        defaults |= {"patience": 0, "max_skipped": 0, "select_by": "full/NDCG@10"}
        self.options = LoopOptions(**(defaults | options))
        self.folder = folder
        self.checkpoints = Checkpoints(folder / "checkpoints", metric=self.options.select_by)
        self.validated = []

    def fit(self, *, batch=None, validate=None, stop_after=None):
        state, standing = new_state(), Standing()
        if self.checkpoints.latest_step() is not None:
            state, saved = self.checkpoints.restore_latest(state)
            standing = Standing(**saved["standing"])

        def default_validate(params):
            return {"full/NDCG@10": float(params["w"]) / 100, "full/HR@10": 0.5}

        def default_batch(step):
            self.validated.append(step)
            if stop_after is not None and step == stop_after - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return (jnp.float32(step),)

        records = Records(self.folder, step=int(state.step))
        try:
            with StopRequest() as stop:
                return fit(
                    state,
                    run_step=run_step,
                    batch=batch or default_batch,
                    validate=validate or default_validate,
                    checkpoints=self.checkpoints,
                    meta={"config": {}},
                    standing=standing,
                    records=records,
                    options=self.options,
                    stop=stop,
                )
        finally:
            records.close()

    def lines(self):
        return [
            json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()
        ]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def test_a_run_by_hand(tmp_path):
    run = Run(tmp_path)
    state = run.fit()
    assert int(state.step) == 6
    assert float(state.params["w"]) == 0 + 1 + 2 + 3 + 4 + 5
    train = [(x["step"], x["loss"]) for x in run.lines() if x["split"] == "train"]
    # Means of the losses step + 1 over (steps 1, 2), (3), (4, 5), (6): an interval ends early at
    # a validation.
    assert train == [(2, 1.5), (3, 3.0), (5, 4.5), (6, 6.0)]
    valid = [(x["step"], x["full/NDCG@10"]) for x in run.lines() if x["split"] == "valid"]
    assert valid == [(3, 0.03), (6, pytest.approx(0.15))]
    assert run.checkpoints.latest_step() == run.checkpoints.best_step() == 6
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_stopped_and_resumed_is_the_same_as_never_stopped(tmp_path, stop_after):
    whole = Run(tmp_path / "whole")
    (tmp_path / "whole").mkdir(exist_ok=True)
    expected = whole.fit()

    first = Run(tmp_path / "parts")
    stopped = first.fit(stop_after=stop_after)
    assert int(stopped.step) == stop_after
    assert first.checkpoints.latest_step() == stop_after
    second = Run(tmp_path / "parts")
    assert_same(second.fit(), expected)
    assert second.validated == list(range(stop_after, 6))
    assert second.checkpoints.best_step() == 6


def test_the_best_checkpoint_stays_while_later_ones_come_and_go(tmp_path):
    scores = {2: 0.1, 4: 0.9, 6: 0.3, 8: 0.2, 10: 0.25}
    run = Run(tmp_path, steps=10, eval_every=2)
    step_of = {sum(range(s)): s for s in scores}

    def validate(params):
        return {"full/NDCG@10": scores[step_of[int(params["w"])]]}

    run.fit(validate=validate)
    assert run.checkpoints.best_step() == 4
    params = run.checkpoints.restore_params(4, new_state().params)
    assert float(params["w"]) == 0 + 1 + 2 + 3
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()}
    assert kept == {4, 8, 10}


def test_patience_counts_validations_without_improvement(tmp_path):
    scores = iter([0.5, 0.4, 0.6, 0.59, 0.5, 0.9])
    run = Run(tmp_path, steps=100, eval_every=1, patience=2)
    state = run.fit(validate=lambda params: {"full/NDCG@10": next(scores)})
    # 0.6 at step 3 is best; 0.59 and 0.5 are not better.
    assert int(state.step) == 5
    assert run.checkpoints.best_step() == 3
    # The same command again does not train on.
    assert int(Run(tmp_path, steps=100, eval_every=1, patience=2).fit().step) == 5


def test_a_loss_that_is_not_finite_stops_with_its_step(tmp_path):
    run = Run(tmp_path, eval_every=3)
    with pytest.raises(UserError, match=r"not finite at step 5.*learning_rate"):
        run.fit(batch=lambda step: (jnp.float32("nan" if step == 4 else step),))
    run.checkpoints.wait()
    assert run.checkpoints.latest_step() == 3  # the last good one


def test_updates_that_are_not_finite_are_counted_over_restarts_up_to_a_limit(tmp_path):
    def batch(step):
        return (jnp.float32("nan" if step in (1, 4) else step),)

    run = Run(tmp_path, log_every=1, max_skipped=2)
    assert float(run.fit(batch=batch).params["w"]) == 0 + 2 + 3 + 5
    lines = [(x["step"], x["loss"], x["skipped"]) for x in run.lines() if x["split"] == "train"]
    assert lines == [(1, 1, 0), (2, None, 1), (3, 3, 1), (4, 4, 1), (5, None, 2), (6, 6, 2)]

    strict = {"log_every": 1, "max_skipped": 1}
    Run(tmp_path / "strict", **strict, steps=3).fit(batch=batch)
    with pytest.raises(UserError, match=r"not finite at step 5, and 1 such updates"):
        Run(tmp_path / "strict", **strict).fit(batch=batch)


def test_a_checkpoint_by_the_clock_has_no_metrics_and_is_not_best(tmp_path):
    run = Run(tmp_path, steps=5, eval_every=2, checkpoint_minutes=1e-9)
    run.fit(stop_after=5)
    assert run.checkpoints.latest_step() == 5
    saved = Checkpoints(tmp_path / "checkpoints", metric="full/NDCG@10", read_only=True)
    assert saved.best_step() == 5
    state = saved.restore(5, like=new_state())
    assert float(state.params["w"]) == 10


def test_records_forget_what_came_after_the_checkpoint(tmp_path):
    records = Records(tmp_path, step=0)
    for step in (1, 2, 3):
        records.write(step=step, split="train", loss=float(step))
    records.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    Records(tmp_path, step=2).close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [1, 2]


def test_outside_the_main_thread_a_run_goes_on_without_handlers():
    def enter_and_leave():
        before = signal.getsignal(signal.SIGTERM)
        with StopRequest() as stop:
            assert signal.getsignal(signal.SIGTERM) is before
        return bool(stop)

    with concurrent.futures.ThreadPoolExecutor() as threads:
        assert threads.submit(enter_and_leave).result() is False


def test_no_checkpoint_is_said(tmp_path):
    empty = Checkpoints(tmp_path / "checkpoints", metric="full/NDCG@10")
    with pytest.raises(UserError, match="no checkpoint"):
        empty.best_step()
