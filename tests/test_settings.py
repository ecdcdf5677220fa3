"""Settings that make no sense are refused by name."""

import dataclasses

import pytest

from bert4rec_jax import settings
from bert4rec_jax.errors import UserError
from bert4rec_jax.models import NAMES, fields_of
from bert4rec_jax.training.loop import LoopOptions
from configs import baselines, beauty, custom, default, ml1m, ml20m, steam, synthetic


@pytest.mark.parametrize("module", [default, synthetic, ml1m, ml20m, beauty, steam, custom])
def test_the_shipped_configs_pass(module):
    settings.check(module.get_config())


@pytest.mark.parametrize("name", baselines.MODELS)
@pytest.mark.parametrize("module", [synthetic, ml1m, ml20m, beauty, steam, custom])
def test_the_shipped_configs_pass_for_every_model(module, name):
    config = module.get_config(name)
    settings.check(config)
    assert config.model.name in NAMES
    assert config.data == module.get_config().data


def test_every_model_has_settings_of_its_own():
    assert set(NAMES) <= baselines.MODELS.keys()
    assert {baselines.MODELS[name]["model.name"] for name in baselines.MODELS} == set(NAMES)
    assert ml1m.get_config("lstm").model.cell == "lstm"
    assert ml1m.get_config("sasrec_bce").train.loss == "bce"
    # SASRec has one rate for both, another on each data set and with each loss.
    assert beauty.get_config("sasrec").model.attention_dropout == 0.5
    assert beauty.get_config("sasrec_bce").model.attention_dropout == 0.2
    assert ml1m.get_config("sasrec_bce").model.attention_dropout == 0.2
    config = ml1m.get_config("sasrec")
    assert config.model.attention_dropout == 0.1
    config.model.dropout = 0.3
    assert config.model.attention_dropout == 0.3
    config.model.attention_dropout = 0.2
    assert config.model.dropout == 0.3


def test_the_default_is_bert4rec_and_paper_its_original_recipe():
    for module, steps in ((ml1m, 400_000), (beauty, 400_000), (ml20m, 400_000), (steam, 800_000)):
        assert module.get_config() == module.get_config("bert4rec")
        paper = module.get_config("paper")
        assert (paper.model.name, paper.model.neighbours) == ("bert4rec", 0)
        assert paper.masking.left_to_right_rate == 0
        budgets = {
            ml1m: 40,
            beauty: 30,
            ml20m: 20,
            steam: 20,
        }  # max_predictions_per_seq of run_*.sh
        assert paper.masking.budget == budgets[module]
        assert (paper.train.steps, paper.optimizer.learning_rate) == (steps, 1e-4)
        assert paper.train.patience == 0
        model = paper.model  # the script of Steam alone trains d = 256
        assert (model.hidden, model.heads) == ((256, 8) if module is steam else (64, 2))
        dropouts = {ml1m: (0.2, 0.2), beauty: (0.5, 0.2), ml20m: (0.1, 0.1), steam: (0.2, 0.2)}
        assert (model.dropout, model.attention_dropout) == dropouts[module]


def test_a_model_without_settings_is_refused_with_those_that_have():
    with pytest.raises(ValueError, match="'fast' is unknown; there are bert4rec, cloze, sasrec"):
        ml1m.get_config("fast")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("model.dropout", 1.0, r"model\.dropout 1\.0 must be in \[0, 1\)"),
        ("model.hidden", 0, r"model\.hidden 0 must be positive"),
        ("model.heads", 3, r"model\.hidden 64 is not divisible by model\.heads 3"),
        ("model.name", "bert", r"model\.name 'bert' must be one of bert4rec, sasrec"),
        ("model.without", "norm", r"'norm' must be empty or one of positions, feed_forward, layer"),
        ("model.dtype", "float16", r"float32 or bfloat16"),
        ("masking.proportion", 0.0, r"masking\.proportion 0\.0 must be in \(0, 1\]"),
        ("optimizer.schedule", "step", r"linear, cosine, constant"),
        ("train.steps", -1, r"train\.steps -1 must be positive"),
        ("masking.mask_rate", 0.0, r"masking\.mask_rate 0\.0 must be in \(0, 1\]"),
        (
            "data.split_time",
            6.0,
            r"split_time 6 says nothing with data\.split 'leave_one_out'",
        ),
        ("mesh.model", 0, r"mesh\.model 0 must be positive"),
        ("eval.ks", (), r"eval\.ks \(\) must be"),
        ("data.path", "no/such/file", r"data\.path no/such/file: no such file"),
    ],
)
def test_a_bad_value_is_named(name, value, words):
    config = default.get_config()
    section, key = name.split(".")
    config[section][key] = value
    with pytest.raises(UserError, match=words):
        settings.check(config)


def test_a_training_needs_the_metric_that_it_selects_by_and_nothing_else_does():
    config = default.get_config()
    for name in ("full/NDCG@7", "NDCG@10", "full_with_history/NDCG@10"):
        config.train.select_by = name
        settings.check(config)
        with pytest.raises(UserError, match="not PROTOCOL/METRIC"):
            settings.check_training(config)
    config.eval.ks = ("ten",)  # is refused as by `check`, and not compared with a number
    with pytest.raises(UserError, match=r"eval\.ks .* must be positive whole numbers"):
        settings.check_training(config)
    config.eval.ks = (10,)
    config.model.name = "popularity"  # no checkpoint is chosen of what is counted
    settings.check_training(config)
    config.model.name, config.train.select_by = "caser", "popularity_100/MRR"
    settings.check_training(config)


def test_a_model_without_a_table_has_none_to_split():
    config = default.get_config()
    config.mesh.model, config.model.name = 2, "markov"
    with pytest.raises(UserError, match=r"mesh\.model 2 splits an item table, and markov has none"):
        settings.check(config)


def test_heads_divide_the_width_of_a_model_that_has_them():
    config = default.get_config()
    config.model.hidden, config.model.heads = 65, 2
    for name in ("gru4rec", "caser", "popularity"):
        config.model.name = name
        settings.check(config)
    config.model.name = "sasrec"
    with pytest.raises(UserError, match=r"model\.hidden 65 is not divisible by model\.heads 2"):
        settings.check(config)


def test_a_negative_seed_is_refused():
    config = default.get_config()
    config.seed = -1
    with pytest.raises(UserError, match="seed -1 must be not negative"):
        settings.check(config)


def meta(**changes):
    config = default.get_config()
    config.update_from_flattened_dict(changes)
    return {"config": config.to_dict(), "vocabulary": "v" * 64, "data": "d" * 64}


def test_a_run_goes_on_with_more_steps_or_other_devices(tmp_path):
    settings.check_same_run(meta(**{"train.steps": 9, "mesh.data": 2}), meta(), tmp_path)


def test_a_setting_that_is_newer_than_the_run_is_no_difference(tmp_path):
    old = meta()
    del old["config"]["model"]["window"]
    settings.check_same_run(meta(), old, tmp_path)


def test_another_model_or_other_data_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.hidden 64, and now it is 32"):
        settings.check_same_run(meta(**{"model.hidden": 32}), meta(), tmp_path)
    with pytest.raises(UserError, match="data digest eeee"):
        settings.check_same_run(meta(), meta() | {"data": "e" * 64}, tmp_path)


def test_every_setting_of_the_models_and_of_training_is_read():
    """Parts of these sections are picked by name: nothing would refuse one that nobody reads."""
    config = default.get_config()
    assert set(config.model) == {"name", "smoothing"}.union(*map(fields_of, NAMES))
    loop = {field.name for field in dataclasses.fields(LoopOptions)}
    batches_and_loss = {"batch_size", "packed", "loss", "negatives", "calibration"}
    assert set(config.train) == loop | batches_and_loss
