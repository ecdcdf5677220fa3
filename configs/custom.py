"""Your own log: `--config=configs/custom.py --config.data.path=FILE`.

Columns are found by their usual names; `--config.data.user_column=NAME` and its like name others.
"""

import ml_collections

from configs import baselines, default


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.update_from_flattened_dict(baselines.CUSTOM)
    return baselines.apply(config, model)
