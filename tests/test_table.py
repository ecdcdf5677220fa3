"""Which models of a table are done."""

import json

import pytest

from bert4rec_jax import modes, table
from bert4rec_jax.errors import UserError
from configs import ml1m


def leave(workdir, config, *, steps, end):
    """A work directory as far as the table looks into it."""
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_text(json.dumps(config.to_dict()))
    parts = {"dataset": {}, "model": {}, "test": {}, "train": {"steps": steps, "end": end}}
    (workdir / "results.json").write_text(json.dumps(parts))


@pytest.mark.parametrize(
    ("steps", "end", "asked", "finished"),
    [
        (4000, "steps", 4000, True),
        (4000, "steps", 3000, True),
        (4000, "steps", 5000, False),  # more are asked for than there were
        (1800, "patience", 4000, True),
        (1800, "unfinished", 4000, False),  # --mode=evaluate of a run that was stopped
        (0, "counted", 4000, True),
    ],
)
def test_a_model_is_done_when_training_it_would_do_nothing(tmp_path, steps, end, asked, finished):
    config = ml1m.get_config("caser")
    leave(tmp_path / "caser", config, steps=steps, end=end)
    config.train.steps = asked
    assert modes.is_finished(config, tmp_path / "caser") == finished


def test_a_model_is_not_done_without_results_or_with_those_of_another_evaluation(tmp_path):
    config = ml1m.get_config("caser")
    assert not modes.is_finished(config, tmp_path / "caser")
    leave(tmp_path / "caser", config, steps=4000, end="steps")
    config.eval.protocols = ("full",)
    assert not modes.is_finished(config, tmp_path / "caser")


def test_a_folder_of_another_run_is_refused_before_anything_is_trained(tmp_path):
    names = ("lstm", "caser")
    configs = {name: ml1m.get_config(name) for name in names}
    leave(tmp_path / "caser", configs["caser"], steps=4000, end="steps")
    configs["caser"].model.hidden = 128
    with pytest.raises(UserError, match=r"caser holds a run with model\.hidden 64"):
        table.make_table(configs, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["caser"]


def test_a_table_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="--models is empty"):
        table.make_table({}, tmp_path)
