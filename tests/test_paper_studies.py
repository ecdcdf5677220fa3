"""The variants of the paper's studies."""

import pytest


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("paper_studies")


def configs(script, study, dataset="ml-1m"):
    return script.configs(study, dataset, data="", steps=80, seed=3)


def test_a_variant_differs_from_the_papers_model_in_its_setting_alone(script):
    made = configs(script, "layers")
    assert list(made) == ["L1", "L2", "L3", "L4"]
    for count, config in enumerate(made.values(), start=1):
        assert config.model.layers == count
        assert (config.seed, config.train.steps, config.train.eval_every) == (3, 80, 10)
        assert config.masking.left_to_right_rate == 0
        assert config.model.neighbours == 0


def test_a_length_keeps_the_share_that_is_masked_and_the_overlap_of_windows(script):
    """The original's scripts: budget rho N, windows half of N apart on ml-1m, a tenth on Beauty."""
    made = configs(script, "length")
    assert list(made) == ["N10", "N50", "N100", "N200", "N400"]
    assert [config.masking.budget for config in made.values()] == [2, 10, 20, 40, 80]
    assert [config.masking.stride for config in made.values()] == [5, 25, 50, 100, 200]
    made = configs(script, "length", "beauty")
    assert list(made) == ["N10", "N20", "N30", "N40", "N50"]
    assert [config.masking.stride for config in made.values()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("dataset", ["ml-1m", "beauty"])
def test_the_study_of_our_recipe_says_nothing_twice(script, dataset):
    made = configs(script, "recipe", dataset)
    default = made.pop("default")
    assert len(made) >= 8
    for config in made.values():
        assert config != default
        assert config.model.name == "bert4rec"
    # One rate on both data sets, whatever their defaults, but where a row names its own.
    for name, config in {"default": default, **made}.items():
        rate = float(name.removeprefix("learning_rate_")) if "learning_rate" in name else 0.001
        assert config.optimizer.learning_rate == rate
    # Of two settings that exclude each other the default's own is left out.
    assert len({"dense_layer_before_the_table", "LayerNorm_alone"} & set(made)) == 1
    assert len({"kernels_of_.02", "Xaviers_kernels"} & set(made)) == 1


@pytest.mark.parametrize("dataset", ["ml-1m", "beauty"])
@pytest.mark.parametrize("name", ["gru4rec", "caser", "sasrec", "sasrec_bce"])
def test_the_study_of_another_model_changes_a_setting_of_its_own_each(script, dataset, name):
    made = configs(script, name, dataset)
    default = made.pop("default")
    assert default.train.loss == ("bce" if name == "sasrec_bce" else "softmax")
    assert len(made) >= 5
    for config in made.values():
        assert config != default
        assert config.model.name == name.removesuffix("_bce")
        if config.model.name == "sasrec":  # one rate for both
            assert config.model.attention_dropout == config.model.dropout
