"""A generated log whose best achievable HR@10 is known (bert4rec_jax/data/synthetic.py)."""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "synthetic"
    config.model.max_length = 40
    config.model.dropout = 0.1
    config.model.attention_dropout = 0.1
    config.model.kernel_init = "xavier"
    config.masking.proportion = 0.3
    config.masking.budget = 12
    config.masking.stride = 20
    config.masking.last_only_rate = 0.2
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 300
    config.train.steps = 2400
    config.train.batch_size = 128
    config.train.log_every = 50
    config.train.eval_every = 400
    return config
