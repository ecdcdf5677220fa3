"""MovieLens-1M, the paper's size: d = 64, L = 2, h = 2, N = 200.

`configs/ml1m.py:paper` is the recipe of the original code to the letter (ORIGINAL: run_ml-1m.sh):
400,000 updates of 256 windows at 1e-4. The default differs in what makes training fast at this
width: kernels scaled to it, ten times the learning rate, half the batch.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "fast") -> ml_collections.ConfigDict:
    if recipe not in ("fast", "paper"):
        raise ValueError(f"configs/ml1m.py:{recipe} is unknown; there are fast and paper")
    config = default.get_config()
    config.data.name = "ml-1m"
    config.data.min_item_count = 5
    if recipe == "fast":
        config.model.kernel_init = "xavier"
        config.optimizer.learning_rate = 1e-3
        config.train.batch_size = 128
        config.train.steps = 12_000
        config.train.eval_every = 500
    return config
