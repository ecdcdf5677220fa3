"""Amazon Beauty as the paper's authors prepared it: users are filtered, items are not."""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "beauty"
    config.model.max_length = 50
    config.model.dropout = 0.5
    config.masking.proportion = 0.6
    config.masking.budget = 30
    config.masking.stride = 5
    return config
