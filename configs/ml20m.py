"""MovieLens-20M, the paper's size for the data set (bert_train/bert_config_ml-20m_64.json)."""

import ml_collections

from configs import baselines, default


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "ml-20m"
    config.model.dropout = 0.1
    config.model.attention_dropout = 0.1
    return baselines.apply(config, model)
