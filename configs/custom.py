"""Your own log: `--config=configs/custom.py --config.data.path=FILE`.

Columns are found by their usual names; `--config.data.user_column=NAME` and its like name others.
"""

import ml_collections

from configs import baselines, default


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "custom"
    config.model.kernel_init = "xavier"
    config.optimizer.learning_rate = 1e-3
    config.train.steps = 20_000
    return baselines.apply(config, model)
