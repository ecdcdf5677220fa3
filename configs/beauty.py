"""Amazon Beauty as the paper's authors prepared it: users are filtered, items are not.

`configs/beauty.py:NAME` is another model with its own settings; configs/baselines.py has the names.
`configs/beauty.py:paper` is the recipe of the original code (run_beauty.sh): 400,000 updates at
1e-4. The default differs from it as in configs/ml1m.py.
"""

import ml_collections

from configs import baselines, default

_STEPS = {"bert4rec": 16_000, "sasrec_bce": 8_000}


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "beauty"
    config.model.max_length = 50
    config.model.dropout = 0.5
    config.masking.proportion = 0.6
    config.masking.budget = 30
    config.masking.stride = 5
    if model == "paper":
        return config
    config.model.kernel_init = "xavier"
    config.optimizer.learning_rate = 1e-3
    config.train.steps = _STEPS.get(model, 4_000)
    config.train.eval_every = 1000 if model == "bert4rec" else 250
    return baselines.apply(config, model)
