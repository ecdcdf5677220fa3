"""Which config a command line means, and what is said of it."""

import pathlib
import re
import runpy
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from bert4rec_jax import cli
from bert4rec_jax.errors import UserError

# ml_collections loads a config file in a way that Python will give up.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = ROOT / "configs"


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


@pytest.mark.parametrize("name", ["lstm", "sasrec_bce", "cloze"])
def test_a_recipe_that_is_called_otherwise_than_its_model_can_be_named_too(name):
    named = cli.chosen_config(flag_of(f"{CONFIGS}/ml1m.py", f"--config.model.name={name}"))
    assert named == cli.chosen_config(flag_of(f"{CONFIGS}/ml1m.py:{name}"))
    assert named.model.name != name
    # Over the run that it has trained, the model's own name.
    flag = flag_of(f"{CONFIGS}/ml1m.py", f"--config.model.name={name}", "--config.eval.ks=(1, 3)")
    assert cli.settings_of(flag) == {"model.name": named.model.name, "eval.ks": (1, 3)}


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


def test_help_has_the_modes_in_order_and_each_flag_with_its_default():
    modes = list(runpy.run_path(str(ROOT / "main.py"))["MODES"])
    done = subprocess.run(
        [sys.executable, "main.py", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    about, _, flags_ = done.stdout.partition("\nFlags")
    assert re.findall(r"^  (\w+)  +\w", about.partition("\nModes:")[2], re.MULTILINE) == modes
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("| mode |")[2]
    rows = re.findall(r"^\| `(\w+)`(?: \(default\))? \|", readme, re.MULTILINE)
    assert rows[: len(modes)] == modes
    told = dict(re.findall(r"^  --(\w+) +(.+(?:\n {20}.+)*)", flags_, re.MULTILINE))
    assert list(told)[:3] == ["config", "mode", "workdir"]
    for text in list(told.values())[3:]:
        of, colon, _ = text.partition(": ")
        assert not colon or set(of.split(", ")) <= set(modes), text
    assert told["top_k"] == "recommend: items for each user (default 10)"
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("--config.model.hiden=3", """unknown setting 'hiden'; did you mean "hidden" instead of"""),
        ("--config.nope.x=3", "unknown setting 'nope' (see --help"),
        ("--config=no.py", "no.py: No such file or directory (see --help"),
        ("--config=README.md", "README.md, line 6: "),
        ("--config=configs/ml1m.py:none", "model 'none' is unknown; there are bert4rec, "),
        ("--confit=x", "unknown command line flag 'confit'; did you mean config? (see --help"),
        ("evaluate", "unexpected 'evaluate': flags begin with --"),
    ],
)
def test_a_mistake_in_the_command_is_said_in_our_words(argument, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    values, argv = flags.FlagValues(), ["main.py", argument]

    def define():
        config_flags.DEFINE_config_file(
            "config", f"{CONFIGS}/default.py", flag_values=values, sys_argv=argv
        )

    with pytest.raises(UserError) as refused:
        cli.parse(argv, define, values)
    assert str(refused.value).startswith(line)
