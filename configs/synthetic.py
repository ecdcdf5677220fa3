"""A generated log whose best achievable HR@10 is known (bert4rec_jax/data/synthetic.py).

    python main.py

reaches, with seed 0 on 2 CPU cores (Python 3.11, jax 0.10.2, commit 271200c), full HR@10 .8563
where .8808 is the best possible. `configs/synthetic.py:cloze` is the paper's model.
"""

import ml_collections

from configs import baselines, default


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "synthetic"
    config.model.max_length = 32  # shorter than most histories, so that windows slide
    config.model.dropout = 0.05
    config.model.attention_dropout = 0.0
    config.model.kernel_init = "xavier"
    config.masking.proportion = 0.3
    config.masking.budget = 10
    config.masking.stride = 4
    config.masking.last_only_rate = 0.2
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 300
    config.optimizer.bias_correction = True
    config.train.steps = 3000
    config.train.batch_size = 128
    config.train.eval_every = 500
    if model == "bert4rec":
        config.train.steps, config.train.eval_every = 1500, 250
    return baselines.apply(config, model)
