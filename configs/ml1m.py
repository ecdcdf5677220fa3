"""MovieLens-1M, the paper's size: d = 64, L = 2, h = 2, N = 200."""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "ml-1m"
    config.data.min_item_count = 5
    config.optimizer.learning_rate = 1e-3
    config.train.steps = 20_000
    return config
