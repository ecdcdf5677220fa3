"""Which models of a table are done."""

import json
import pathlib

import pytest

from bert4rec_jax import modes, table
from bert4rec_jax.data.preparation import prepare
from bert4rec_jax.errors import UserError
from configs import custom, default, ml1m


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


def test_a_model_is_not_done_that_was_evaluated_otherwise_since_or_has_patience_left(tmp_path):
    config = ml1m.get_config("caser")
    workdir = tmp_path / "caser"
    leave(workdir, config, steps=1800, end="patience")
    parts = json.loads((workdir / "results.json").read_text())
    narrower = config.eval.to_dict() | {"protocols": ["full"]}
    for judged, finished in ((narrower, False), (config.eval.to_dict(), True)):
        (workdir / "results.json").write_text(json.dumps(parts | {"eval": judged}))
        assert modes.is_finished(config, workdir) == finished
    config.train.patience = 0
    assert not modes.is_finished(config, workdir)


@pytest.fixture
def counted(tmp_path):
    """Configs of popularity on two logs, of which one has a user with other items last."""
    configs = []
    for name, odd in (("a", "xyzwv"), ("b", "vwzyx")):
        of_user = ["xyzwv"] * 8 + [odd]
        rows = [f"u{u},{x},{i}\n" for u, items in enumerate(of_user) for i, x in enumerate(items)]
        (tmp_path / f"{name}.csv").write_text("user,item,time\n" + "".join(rows))
        configs.append(custom.get_config("popularity"))
        configs[-1].data.path = str(tmp_path / f"{name}.csv")
        configs[-1].eval.protocols, configs[-1].train.select_by = ("full",), "full/NDCG@10"
    return configs


def test_results_on_other_data_are_neither_shown_nor_written_over(tmp_path, counted, capsys):
    first, second = counted
    table.make_table({"popularity": first}, tmp_path / "t")
    with pytest.raises(UserError, match="holds a run on other data"):
        table.make_table({"popularity": second}, tmp_path / "t")
    workdir = tmp_path / "t" / "popularity"
    before = (workdir / "results.json").read_bytes()
    with pytest.raises(UserError, match="holds a run on other data"):
        modes.train(second, workdir, started=0.0)
    with pytest.raises(UserError, match="holds a run on other data"):
        modes.evaluate(default.get_config(), {"data.path": second.data.path}, workdir)
    assert (workdir / "results.json").read_bytes() == before


def test_a_counted_model_does_not_take_the_folder_of_a_training(tmp_path, counted):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a training, and popularity is counted"):
        modes.train(counted[0], tmp_path / "run", started=0.0)
    assert (tmp_path / "run" / "config.json").read_text() == "{}"


def test_a_folder_of_another_run_is_refused_before_anything_is_trained(tmp_path):
    names = ("lstm", "caser")
    configs = {name: ml1m.get_config(name) for name in names}
    leave(tmp_path / "caser", configs["caser"], steps=4000, end="steps")
    configs["caser"].model.hidden = 128
    with pytest.raises(UserError, match=r"caser holds a run with model\.hidden 64"):
        table.make_table(configs, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["caser"]


def test_what_a_prepared_log_cannot_give_is_refused_before_anything_is_counted(tmp_path, counted):
    data = counted[0].data
    counts = {name: data[name] for name in ("min_item_count", "min_user_count")}
    prepare(pathlib.Path(data.path), tmp_path / "prepared", **counts)
    configs = {name: custom.get_config(name) for name in ("popularity", "markov")}
    for config in configs.values():
        config.data.path = str(tmp_path / "prepared")
    with pytest.raises(UserError, match="prepared: markov counts a whole log in memory"):
        table.make_table(configs, tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_table_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="--models is empty"):
        table.make_table({}, tmp_path)
