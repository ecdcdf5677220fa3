"""RecBole's BERT4Rec as a contestant: its own data loading, training loop and evaluation.

Needs the environment of recbole.txt. What differs from the others and stays so: it trains on every
prefix of every history, so that a row is a prefix and an epoch has many rows a user; half of its
batches mask the last item only; its full ranking leaves the user's history in; its sampled
protocols draw with replacement and exclude only the true item.
"""

import importlib.metadata
import itertools
import os
import pathlib
import tempfile
import time
import warnings

import contestant
import pandas as pd
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.utils import get_dataloader
from recbole.utils import get_model, get_trainer, init_seed

MODES = {"full": "full", "popularity_100": "pop100", "uniform_100": "uni100"}

# It encodes a user's history anew for each of the 101 candidates, so that all users take an hour.
SAMPLED_USERS = 16


def prepare(options):
    warnings.filterwarnings("ignore")
    if options.protocols not in MODES:
        raise SystemExit(f"RecBole has one of --protocols={', '.join(MODES)} at a time")
    torch.set_num_threads(options.threads)
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        write_log(options.data, pathlib.Path(folder) / "log")
        config = Config(model="BERT4Rec", dataset="log", config_dict=settings(options, folder))
        init_seed(config["seed"], config["reproducibility"])
        train_data, _, test_data = data_preparation(config, create_dataset(config))
        model = get_model("BERT4Rec")(config, train_data._dataset).to(config["device"])
        os.chdir(folder)  # its trainer leaves TensorBoard events where it stands
        trainer = get_trainer(config["MODEL_TYPE"], "BERT4Rec")(config, model)
        os.chdir(here)
    packages = ("recbole", "torch")
    ready = {"versions": {name: importlib.metadata.version(name) for name in packages}}
    if options.task == "train":
        ready["note"] = f"a row is a prefix of a history: {len(train_data._dataset)} an epoch"
        return ready, _training(trainer, train_data, options.seconds_per_round)
    note, users = "ranks the history too", options.users
    if options.protocols != "full":
        note, users = "drawn with replacement, history not excluded", SAMPLED_USERS
    if not users:
        return ready | {"note": note}, _evaluation(trainer, test_data)
    few = test_data._dataset.copy(test_data._dataset.inter_feat[:users])
    few = get_dataloader(config, "test")(config, few, test_data._sampler)
    return ready | {"note": f"{users} users a round; {note}"}, _evaluation(trainer, few)


def write_log(path: str, folder: pathlib.Path) -> None:
    """RecBole's own format of a log; the time is the place in the history."""
    log = pd.read_csv(path, sep=" ", names=["user", "item"], usecols=[0, 1], dtype=str)
    log["time"] = log.groupby("user", sort=False).cumcount()
    folder.mkdir()
    header = ["user_id:token", "item_id:token", "timestamp:float"]
    log.to_csv(folder / f"{folder.name}.inter", sep="\t", index=False, header=header)


def settings(options, folder: str) -> dict:
    return {
        "data_path": folder,
        "checkpoint_dir": folder,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "seed": options.seed,
        "n_layers": options.layers,
        "n_heads": options.heads,
        "hidden_size": options.hidden,
        "inner_size": 4 * options.hidden,
        "hidden_dropout_prob": options.dropout,
        "attn_dropout_prob": options.attention_dropout,
        "mask_ratio": options.proportion,
        "MAX_ITEM_LIST_LENGTH": options.max_length,
        "train_batch_size": options.batch_size,
        "eval_batch_size": options.batch_size,  # users, or candidates under a sampled protocol
        "train_neg_sample_args": None,  # the loss is the softmax over all items
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "mode": MODES[options.protocols],
        },
        "metrics": ["Hit", "NDCG", "MRR"],
        "topk": [1, 5, 10],
        "show_progress": False,
        "state": "ERROR",
    }


def _training(trainer, train_data, seconds: float):
    endless = itertools.chain.from_iterable(itertools.repeat(train_data))

    def run(steps: int) -> dict:
        rows = items = 0

        def batches():
            nonlocal rows, items
            for batch in itertools.islice(endless, steps):
                rows += len(batch)
                items += int(batch["item_length"].sum())
                yield batch

        started = time.perf_counter()
        loss = trainer._train_epoch(batches(), epoch_idx=0)
        passed = time.perf_counter() - started
        return {
            "seconds": passed, "rows": rows, "items": items, "steps": steps, "loss": loss / steps,
        }  # fmt: skip

    steps = contestant.steps_per_round(lambda: run(1), seconds, warm_up=1)
    return lambda: run(steps)


def _evaluation(trainer, test_data):
    def run_round():
        started = time.perf_counter()
        trainer.evaluate(test_data, load_best_model=False)
        return {"seconds": time.perf_counter() - started, "users": len(test_data._dataset)}

    return run_round


if __name__ == "__main__":
    contestant.main(prepare)
