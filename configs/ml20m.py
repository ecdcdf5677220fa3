"""MovieLens-20M, the paper's size for the data set (bert_train/bert_config_ml-20m_64.json).

The recipe adds to the paper what configs/ml1m.py does; it has not been run on these data.
`configs/ml20m.py:paper` is the original code's (run_ml-20m.sh): 400,000 updates at 1e-4.
`configs/ml20m.py:NAME` is another model; configs/baselines.py has the names.
"""

import ml_collections

from configs import baselines, default


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "ml-20m"
    config.model.dropout = 0.1
    config.model.attention_dropout = 0.1
    config.masking.budget = 20  # run_ml-20m.sh
    return baselines.recipe(config, model, steps=200_000)  # not tuned
