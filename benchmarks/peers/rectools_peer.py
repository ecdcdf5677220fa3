"""RecTools' BERT4Rec as a contestant: its own data loading, training step, ranking and metrics.

Needs the environment of rectools.txt. What differs from the others and stays so: it trains on one
window a user, the last N items; it computes the logits of every position; its one dropout rate
serves for attention too; it draws masks without a budget; items without a training row are not in
its catalogue; it ranks for the ten best items only.
"""

import importlib.metadata
import logging
import tempfile
import time
import warnings

import contestant
import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import MRR, NDCG, HitRate, calc_metrics
from rectools.models import BERT4RecModel

WARM_UP = 3
METRICS = {"HR@10": HitRate(k=10), "NDCG@10": NDCG(k=10), "MRR@10": MRR(k=10)}


class Clock(Callback):
    """Times the updates of an epoch: from before a batch is made to the end of the last update.

    Attributes:
        done: what a training round answers.
    """

    def on_train_epoch_start(self, trainer, module):
        self.done = {"seconds": 0.0, "rows": 0, "items": 0, "steps": 0, "loss": 0.0}
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        self.done["rows"] += len(batch["x"])
        self.done["items"] += int((batch["x"] != 0).sum())
        self.done["steps"] += 1
        self.done["loss"] = float(outputs["loss"])
        self.done["seconds"] = time.perf_counter() - self.started


def make_trainer() -> Trainer:
    return Trainer(
        max_epochs=1, limit_train_batches=WARM_UP, callbacks=[Clock()], devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def prepare(options):
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if options.protocols != "full":
        raise SystemExit("RecTools ranks the whole catalogue: it has --protocols=full only")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002  RecTools draws its masks from here
    log = read_log(options.data)
    model = BERT4RecModel(
        n_blocks=options.layers,
        n_heads=options.heads,
        n_factors=options.hidden,
        dropout_rate=options.dropout,
        mask_prob=options.proportion,
        session_max_len=options.max_length,
        batch_size=options.batch_size,
        recommend_batch_size=options.batch_size,
        get_trainer_func=make_trainer,
    )
    training_rows = dataset_of(log[log["from_end"] >= 2])
    model.fit(training_rows)  # WARM_UP steps; an unfitted model refuses to recommend
    packages = ("rectools", "torch", "pytorch-lightning")
    versions = {name: importlib.metadata.version(name) for name in packages}
    if options.task == "evaluate":
        note = "finds the top 10 only"
        return {"versions": versions, "note": note}, _evaluation(model, log, options.users)
    if options.task == "recommend":
        return {"versions": versions}, _recommendation(model, options.histories)
    note = f"the last {options.max_length} items of each user; attention dropout {options.dropout}"
    run_round = _training(model, training_rows, options.seconds_per_round)
    return {"versions": versions, "note": note}, run_round


def read_log(path: str) -> pd.DataFrame:
    """RecTools' columns; the time is the place in the history, `from_end` counts from its end."""
    log = pd.read_csv(path, sep=" ", names=[Columns.User, Columns.Item], usecols=[0, 1], dtype=str)
    by_user = log.groupby(Columns.User, sort=False)
    log[Columns.Weight] = 1.0
    log[Columns.Datetime] = pd.to_datetime(by_user.cumcount(), unit="s")
    return log.assign(from_end=by_user.cumcount(ascending=False))


def dataset_of(log: pd.DataFrame) -> Dataset:
    return Dataset.construct(log[list(Columns.Interactions)])


def _training(model: BERT4RecModel, training_rows: Dataset, seconds: float):
    trainer = model.fit_trainer
    clock = next(callback for callback in trainer.callbacks if isinstance(callback, Clock))

    def run_round():
        model.fit_partial(training_rows, min_epochs=1, max_epochs=1)  # goes on from where it was
        return clock.done

    a_step = run_round()["seconds"] / WARM_UP
    trainer.limit_train_batches = max(2, round(seconds / a_step))
    return run_round


def _evaluation(model: BERT4RecModel, log: pd.DataFrame, count: int):
    known, held_out = dataset_of(log[log["from_end"] >= 1]), log[log["from_end"] == 0]
    held_out = held_out[: count or None]
    users = held_out[Columns.User].to_numpy()

    def run_round():
        started = time.perf_counter()
        recommended = model.recommend(users, known, k=10, filter_viewed=True)
        calc_metrics(METRICS, recommended, held_out)
        return {"seconds": time.perf_counter() - started, "users": len(users)}

    return run_round


def _recommendation(model: BERT4RecModel, histories: str):
    """From a file to a file."""

    def run_round():
        started = time.perf_counter()
        log = read_log(histories)
        users = log[Columns.User].unique()
        recommended = model.recommend(users, dataset_of(log), k=10, filter_viewed=True)
        with tempfile.TemporaryFile() as file:
            recommended.to_csv(file)  # Parquet would need pyarrow
        return {"seconds": time.perf_counter() - started, "users": len(users)}

    return run_round


if __name__ == "__main__":
    contestant.main(prepare)
