"""Training on the validation items too. In this process, to save time."""

import json
import time

from bert4rec_jax import finetuning, loading, modes
from bert4rec_jax.data import catalogue
from bert4rec_jax.evaluation import html
from bert4rec_jax.evaluation.judge import Judge
from configs import custom, default
from tests.command.program import SETTINGS


def test_a_validation_on_training_items_neither_stops_nor_chooses(log, tmp_path, monkeypatch):
    """Each is worse than the one before, and patience would end it at the second."""
    scores = iter([0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr(Judge, "validate", lambda *_: {"full/NDCG@10": next(scores)})
    monkeypatch.setattr(html, "write_report", lambda *_, **__: None)  # for time only
    config = custom.get_config()
    config.update_from_flattened_dict(
        {
            **SETTINGS, "data.path": str(log), "data.train_on_valid": True, "mesh.data": 1,
            "train.eval_every": 3, "train.patience": 1, "train.select_by": "full/NDCG@10",
            "eval.protocols": ("full",),
        }
    )  # fmt: skip
    assert modes.train(config, tmp_path, started=time.monotonic())
    trained = json.loads((tmp_path / "results.json").read_text())["train"]
    assert (trained["steps"], trained["best_step"], trained["end"]) == (12, 12, "steps")
    assert next(scores, None) is None
    assert loading.load(tmp_path).step == 12
    monkeypatch.setattr(modes, "train", lambda *_, **__: True)  # what matters is where it begins
    scores, later = iter([0.1]), tmp_path / "later"
    options = {"retire": "", "started": time.monotonic()}
    assert finetuning.finetune(
        default.get_config(), {"data.path": str(log)}, tmp_path, later, **options
    )
    assert catalogue.read_origin(later)["step"] == 12
