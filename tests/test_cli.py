"""Which config a command line means."""

import pathlib

import pytest
from absl import flags
from ml_collections import config_flags

from bert4rec_jax import cli
from bert4rec_jax.errors import UserError

# ml_collections loads a config file in a way that Python will give up.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


def flag_of(file, *settings):
    arguments = ["main.py", f"--config={file}", *settings]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
    values(arguments)
    return values["config"]


def test_a_model_by_name_comes_with_its_own_settings_and_the_command_line_is_above_them():
    settings = ("--config.optimizer.b2=0.9", "--config.eval.ks=(1, 3)")
    chosen = cli.chosen_config(flag_of(f"{CONFIGS}/ml1m.py:sasrec", *settings))
    name = "--config.model.name=sasrec"
    named = cli.chosen_config(flag_of(f"{CONFIGS}/ml1m.py", *settings, name))
    assert named == chosen
    assert named.is_locked
    assert named.model.heads == 1
    assert (named.optimizer.b2, named.eval.ks) == (0.9, (1, 3))


def test_a_name_behind_the_file_stays_though_the_model_is_named_too():
    config = cli.chosen_config(flag_of(f"{CONFIGS}/ml1m.py:lstm", "--config.model.name=gru4rec"))
    assert (config.model.name, config.model.cell) == ("gru4rec", "lstm")


def test_a_file_without_names_is_taken_as_it_is():
    config = cli.chosen_config(flag_of(f"{CONFIGS}/default.py", "--config.model.name=sasrec"))
    assert (config.model.name, config.model.heads) == ("sasrec", 2)
    with pytest.raises(UserError, match=r"default\.py has no settings for caser"):
        cli.configs_of(flag_of(f"{CONFIGS}/default.py"), ["caser"])


def test_configs_of_many_models():
    flag = flag_of(f"{CONFIGS}/ml1m.py", "--config.train.steps=7")
    configs = cli.configs_of(flag, ["caser", "lstm"])
    assert [config.model.name for config in configs.values()] == ["caser", "gru4rec"]
    assert {config.train.steps for config in configs.values()} == {7}
    with pytest.raises(UserError, match="'no' is unknown"):
        cli.configs_of(flag, ["caser", "no"])


@pytest.mark.parametrize("words", [("ml1m.py:caser",), ("ml1m.py", "--config.model.name=caser")])
def test_one_model_and_many_at_once_are_refused(words):
    file, *settings = words
    with pytest.raises(UserError, match="--models chooses the models"):
        cli.configs_of(flag_of(f"{CONFIGS}/{file}", *settings), ["caser"])
