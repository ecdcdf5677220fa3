"""Your own log: `--config=configs/custom.py --config.data.path=FILE`.

Columns are found by their usual names; `--config.data.user_column=NAME` and its like name others.
The model is that of configs/ml1m.py; `configs/custom.py:cloze` is the paper's. On ml-100k, with
--config.train.steps=1200 --config.train.batch_size=64 --config.train.eval_every=200 and seed 0,
validation full NDCG@10 is .1324, and .0978 with `:cloze` (at commit 7b02ac7, where the settings of
baselines.BEYOND were given on the command line).
"""

import ml_collections

from configs import baselines, default


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.update_from_flattened_dict(baselines.CUSTOM)
    return baselines.apply(config, model)
