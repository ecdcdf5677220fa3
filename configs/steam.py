"""Steam as the paper's authors prepared it.

The recipe adds to the paper what configs/ml1m.py does; it has not been run on these data.
`configs/steam.py:paper` is the original code's (run_steam.sh, bert_config_steam_256.json): d = 256
with 8 heads, 800,000 updates at 1e-4.
`configs/steam.py:NAME` is another model; configs/baselines.py has the names.
"""

import ml_collections

from configs import baselines, default

# The authors' script for these data is of the larger model.
_OWN = {
    "paper": {
        "model.hidden": 256,
        "model.heads": 8,
        "model.dropout": 0.2,
        "model.attention_dropout": 0.2,
        "train.steps": 800_000,
    }
}


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "steam"
    config.model.max_length = 50
    config.model.dropout = 0.1
    config.model.attention_dropout = 0.1
    config.masking.proportion = 0.4
    config.masking.budget = 20
    config.masking.stride = 25
    return baselines.recipe(config, model, _OWN, steps=100_000)  # at most 45 epochs; not tuned
