"""Steam as the paper's authors prepared it."""

import ml_collections

from configs import baselines, default


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "steam"
    config.model.max_length = 50
    config.model.dropout = 0.1
    config.model.attention_dropout = 0.1
    config.masking.proportion = 0.4
    config.masking.budget = 20
    config.masking.stride = 25
    config.train.steps = 800_000
    return baselines.apply(config, model)
