"""What each study of `paper_tables.py` varies, and what the paper has of it."""

import importlib

CONFIGS = {"ml-1m": "ml1m", "beauty": "beauty"}

KERNELS = {
    "kernels of .02": {"model.kernel_init": "bert"},
    "Xavier's kernels": {"model.kernel_init": "xavier"},
}
# Study -> variant -> settings over the config's.
STUDIES = {
    "hidden": {f"d = {d}": {"model.hidden": d} for d in (16, 32, 64, 128, 256)},
    "proportion": {
        f"rho = {rho}": {"masking.proportion": rho} for rho in (0.1, 0.2, 0.4, 0.6, 0.8)
    },
    "length": {f"N = {n}": {"model.max_length": n} for n in (10, 20, 30, 40, 50, 100, 200, 400)},
    "layers": {f"L = {count}": {"model.layers": count} for count in (1, 2, 3, 4)},
    "heads": {f"h = {count}": {"model.heads": count} for count in (1, 2, 4, 8)},
    "ablation": {
        "default": {},
        "no PE": {"model.without": "positions"},
        "no PFFN": {"model.without": "feed_forward"},
        "no LN": {"model.without": "layer_norm"},
        "no RC": {"model.without": "residual"},
        "no dropout": {"model.dropout": 0.0, "model.attention_dropout": 0.0},
    },
    "recipe": {
        "default": {},
        "no rows left to right": {"masking.left_to_right_rate": 0.0},
        "half of the rows left to right": {"masking.left_to_right_rate": 0.5},
        "9 of 10 rows left to right": {"masking.left_to_right_rate": 0.9},
        "no neighbours": {"model.neighbours": 0},
        "dense layer before the table": {"model.projection": True},
        "LayerNorm alone": {"model.projection": False},
        "last item alone in 1 of 11": {"masking.last_only_rate": 1 / 11},
        "dropout .1": {"model.dropout": 0.1},
        "dropout .3": {"model.dropout": 0.3},
        "cosine": {"optimizer.schedule": "cosine"},
        "learning rate .0005": {"optimizer.learning_rate": 5e-4},
        "learning rate .002": {"optimizer.learning_rate": 2e-3},
        "learning rate .004": {"optimizer.learning_rate": 4e-3},
        "learning rate .008": {"optimizer.learning_rate": 8e-3},
        "sampled softmax": {"train.loss": "sampled_softmax"},
        "gBCE": {"train.loss": "gbce"},
        "no weight decay": {"optimizer.weight_decay": 0.0},
        **KERNELS,
    },
}
# Settings that all models have which the paper compares with; a study each, with what is its own.
TRIALS = {
    "default": {},
    "dropout .1": {"model.dropout": 0.1},
    "dropout .2": {"model.dropout": 0.2},
    "dropout .35": {"model.dropout": 0.35},
    "dropout .5": {"model.dropout": 0.5},
    "learning rate .0005": {"optimizer.learning_rate": 5e-4},
    "learning rate .001": {"optimizer.learning_rate": 1e-3},
    "learning rate .002": {"optimizer.learning_rate": 2e-3},
    "learning rate .004": {"optimizer.learning_rate": 4e-3},
    "learning rate .008": {"optimizer.learning_rate": 8e-3},
    "learning rate .016": {"optimizer.learning_rate": 16e-3},
    "weight decay .1": {"optimizer.weight_decay": 0.1},
}
BASELINES = {
    "gru4rec": TRIALS | {"two layers": {"model.layers": 2}},
    "caser": TRIALS | {f"{n} items at once": {"model.window": n} for n in (3, 9)},
    "sasrec": TRIALS | KERNELS,
    "sasrec_bce": TRIALS | KERNELS,
}
STUDIES |= BASELINES
# Study -> whose settings it changes, if they are not the paper's model's.
MODELS = {"recipe": "bert4rec", **{name: name for name in BASELINES}}
# Study -> what all of its variants have which do not say otherwise: the rate that was the default
# of both data sets when most of them were trained.
BASE = {"recipe": {"optimizer.learning_rate": 1e-3}}
LENGTHS = {"ml-1m": (10, 50, 100, 200, 400), "beauty": (10, 20, 30, 40, 50)}

# NDCG@10 under popularity_100, d = 64: Tables 4 and 5. Figures 3 and 4 give no numbers.
PAPER = {
    "ml-1m": {
        "N = 10": 0.4631, "N = 50": 0.4743, "N = 100": 0.4758, "N = 200": 0.4759,
        "N = 400": 0.4715, "default": 0.4759, "no PE": 0.2155, "no PFFN": 0.4544,
        "no LN": 0.4334, "no RC": 0.4643, "no dropout": 0.4553, "L = 1": 0.4412,
        "L = 2": 0.4759, "L = 3": 0.4864, "L = 4": 0.4898, "h = 1": 0.4568, "h = 2": 0.4759,
        "h = 4": 0.4770, "h = 8": 0.4743,
    },
    "beauty": {
        "N = 10": 0.1826, "N = 20": 0.1875, "N = 30": 0.1837, "N = 40": 0.1833,
        "N = 50": 0.1832, "default": 0.1832, "no PE": 0.1741, "no PFFN": 0.1803,
        "no LN": 0.1642, "no RC": 0.1619, "no dropout": 0.1658, "L = 1": 0.1782,
        "L = 2": 0.1832, "L = 3": 0.1859, "L = 4": 0.1834, "h = 1": 0.1853, "h = 2": 0.1832,
        "h = 4": 0.1830, "h = 8": 0.1823,
    },
}  # fmt: skip


def configs(study: str, dataset: str, *, data: str, steps: int, seed: int) -> dict:
    """Variant, as a folder is called -> its config.

    Variants that say what the data set's config says already are left out, but for the default.
    """
    made = {}
    module = importlib.import_module(f"configs.{CONFIGS[dataset]}")
    for variant, settings in STUDIES[study].items():
        if study == "length" and settings["model.max_length"] not in LENGTHS[dataset]:
            continue
        config = module.get_config(MODELS.get(study, "cloze"))
        config.update_from_flattened_dict(BASE.get(study, {}))
        if study in MODELS and settings and _has(config, settings):
            continue
        config.data.path, config.seed = data, seed
        config.train.steps = steps
        config.train.eval_every = max(1, steps // 8)
        # The budget is rho N, and windows overlap as much as before, as the original's scripts do.
        overlap = config.masking.stride / config.model.max_length
        config.update_from_flattened_dict(settings)
        length = config.model.max_length
        config.masking.budget = max(1, round(config.masking.proportion * length))
        config.masking.stride = max(1, round(overlap * length))
        made[folder_of(variant)] = config.lock()
    return made


def _has(config, settings: dict) -> bool:
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(settings)
    return changed == config


def folder_of(variant: str) -> str:
    return variant.replace(" = ", "").replace(" ", "_").replace("'", "")
