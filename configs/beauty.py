"""Amazon Beauty as the paper's authors prepared it: users are filtered, items are not.

    python main.py --config=configs/beauty.py

gave, at commit f58d061 in 76 to 85 minutes on one of 2 CPU cores, other programs at work beside it,
popularity_100 HR@10 .3151 and NDCG@10 .2046, full HR@10 .0582 and NDCG@10 .0340, the mean of seeds
0, 1 and 2 (results/README.md has their spread and the learning curve). The paper: popularity_100
.3025 and .1862. Validation is .0409, .0424, .0428 and .0433 after a half, three quarters, nine
tenths and all of the updates (the mean of the seeds); twice the updates bring seed 0 from .0433 to
.0431 (commit 06c5ab7).

    python main.py --config=configs/beauty.py --config.data.train_on_valid=True

trains on the validation items too, as the original does: .3486, .2297, .0671 and .0402 (seeds 0 to
2, commit 7b02ac7, an H100).

    python main.py --config=configs/beauty.py:cloze

is the paper's model and task, trained faster as in configs/ml1m.py: .2901, .1665, .0325 and .0167
(seeds 0 to 2, commits 7b02ac7 and 44361da, in 4 to 7 minutes on a shared H100).
`configs/beauty.py:paper` is the recipe of the original code (run_beauty.sh): 400,000 updates at
1e-4. `configs/beauty.py:NAME` is another model with its own settings; configs/baselines.py has the
names.
"""

import ml_collections

from configs import baselines, default

# Model -> its own settings on these data.
_OWN = {
    # Most items are rare: nearly all rows are read left to right, where every item is asked for,
    # and few are masked; small kernels at first, so that a position is what its items' embeddings
    # say; and much dropout and decay.
    "bert4rec": {
        "model.dropout": 0.45,
        "model.kernel_init": "bert",
        "masking.proportion": 0.15,
        "masking.budget": 8,
        "masking.left_to_right_rate": 0.9,
        "optimizer.weight_decay": 0.1,
    },
    "cloze": {"train.steps": 30_000, "train.eval_every": 1000},
    # What validation chose of SASRec's trials (results/): the data set's dropout and much decay;
    # with one sampled item, of which an update learns less, less dropout and many updates.
    "sasrec": {"model.kernel_init": "bert", "optimizer.weight_decay": 0.1},
    "sasrec_bce": {
        "model.dropout": 0.2,
        "optimizer.b2": 0.999,
        "train.steps": 100_000,
        "train.eval_every": 5000,
    },
    # Validation .0373, with half of the rate .0353; without decay .0345, and .0288 with an eighth
    # of the rate.
    "gru4rec": {
        "optimizer.learning_rate": 8e-3,
        "optimizer.weight_decay": 0.1,
        "train.steps": 16_000,
        "train.eval_every": 1000,
    },
    # Validation .0296, as in a run of 8,000 updates with a decay of .5: more may be better still.
    # .0278 with .2, .0249 with .1, and without .0226 (.0217 with half, .0221 with twice the rate).
    "caser": {
        "optimizer.learning_rate": 4e-3,
        "optimizer.weight_decay": 0.3,
        "train.steps": 16_000,
        "train.eval_every": 1000,
    },
}


def get_config(model: str = "bert4rec") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "beauty"
    config.model.max_length = 50
    config.model.dropout = 0.5
    config.masking.proportion = 0.6
    config.masking.budget = 30
    config.masking.stride = 5
    return baselines.recipe(config, model, _OWN, steps=8_000, eval_every=500)
