"""The tiny run goes on with a later log: its users go on to items that nobody had had."""

import hashlib
import json
import pathlib
import shutil

import polars as pl
import pytest

from bert4rec_jax import Recommender, finetuning, modes
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import html
from configs import default

NEW_ITEMS = [f"n{i}" for i in range(5)]


class StopsAfterThree(modes.StopRequest):
    """SIGTERM before the fourth step."""

    asked = 0

    def __bool__(self):
        self.asked += 1
        self.signal = "SIGTERM" if self.asked > 3 else None
        return self.signal is not None


@pytest.fixture(scope="module")
def later(log, tmp_path_factory):
    """The rows of the log without those of i149; what users have next, and a stranger, is new."""
    old = pl.read_csv(log).filter(pl.col("item") != "i149")
    new = [(f"u{u}", NEW_ITEMS[(u + step) % 5], 50 + step) for u in range(40) for step in (0, 1)]
    new += [("stranger", item, 60 + i) for i, item in enumerate(NEW_ITEMS)]
    path = tmp_path_factory.mktemp("later") / "later.csv"
    pl.concat([old, pl.DataFrame(new, schema=old.schema, orient="row")]).write_csv(path)
    return path


def finetune(origin, workdir, later, *, retire="", **settings):
    overrides = {"data.path": str(later), "train.steps": 8, "mesh.data": 1, **settings}
    overrides["eval.protocols"] = ("full",)
    return finetuning.finetune(
        default.get_config(), overrides, origin, workdir, retire=str(retire), started=0.0
    )


@pytest.fixture(scope="module")
def grown(trained, later, tmp_path_factory):
    """(the run before, the one grown from it, digests of the former's files before and after).

    It is stopped in the middle, and gone on with by the same call. In this process, to save time.
    """
    folder = tmp_path_factory.mktemp("runs")
    (old, _), new, retire = trained, folder / "new", folder / "retire.txt"
    retire.write_text("i3\nn4\n")
    before = contents(old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "write_report", lambda *_, **__: None)  # for time only
        with patch.context() as stopping:
            stopping.setattr(modes, "StopRequest", StopsAfterThree)
            assert not finetune(old, new, later, retire=retire)
        assert steps(new) == [1, 2, 3]
        assert finetune(old, new, later, retire=retire)
    return old, new, before, contents(old)


def contents(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def steps(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["split"] == "train"]


def test_old_ids_stay_and_new_items_come_behind_while_the_run_before_is_untouched(grown):
    old, new, before, after = grown
    assert before == after
    ids = pl.read_parquet(new / "items.parquet")
    assert ids["item"][:150].to_list() == pl.read_parquet(old / "items.parquet")["item"].to_list()
    assert sorted(ids["item"][150:]) == NEW_ITEMS
    assert ids.filter(item="i149")["rows"].item() == 0
    assert set(ids.filter("retired")["item"]) == {"i3", "n4"}
    results = json.loads((new / "results.json").read_text())
    assert (results["dataset"]["items"], results["dataset"]["users"]) == (155, 41)
    assert (results["finetuned"]["items"], results["finetuned"]["items_added"]) == (150, 5)
    assert steps(new) == list(range(1, 9))


@pytest.mark.parametrize("given", [None, 5])
def test_steps_are_a_tenth_of_a_trainings_and_then_stay(grown, later, given):
    old, new, *_ = grown
    overrides = {"data.path": str(later)} | ({} if given is None else {"train.steps": given})

    def steps_from(origin):
        config = finetuning._config(default.get_config(), overrides, origin, origin / "next")
        return config.train.steps

    trained_for = json.loads((old / "config.json").read_text())["train"]["steps"]
    assert steps_from(old) == (given or max(1, round(trained_for / 10)))
    assert steps_from(new) == (given or 8)


def test_what_is_retired_is_never_recommended_though_it_is_in_histories(grown):
    recommender = Recommender.load(grown[1])
    for row in recommender.recommend([["i2", "i3", "n4"], []], k=155, with_seen=True):
        assert {scored.item for scored in row} == set(recommender.vocab.items) - {"i3", "n4"}
    allowed = recommender.recommend([["n0"]], k=5, allow=["i3", "i4"])
    assert [scored.item for scored in allowed[0]] == ["i4"]
    assert len(recommender.similar_items("i4", k=155)) == 152


def test_the_result_is_a_run_like_any_other_wherever_it_lies(grown, later, tmp_path):
    moved = shutil.copytree(grown[1], tmp_path / "moved")
    figures = json.loads((moved / "results.json").read_text())
    modes.evaluate(default.get_config(), {}, moved)
    assert json.loads((moved / "results.json").read_text()) == figures
    # The protocol that chose the checkpoint is not needed to judge it.
    modes.evaluate(default.get_config(), {"eval.protocols": ("uniform_100",)}, moved)
    assert set(json.loads((moved / "results.json").read_text())["test"]) == {"uniform_100"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"origin": "nowhere"}, r"nowhere/config\.json: not a run's config"),
        ({"origin": ""}, "--from is empty"),
        ({"data.path": ""}, r"give --config\.data\.path"),
        ({"model.hidden": 16}, "model.hidden 8, which 16 cannot go on from"),
        (
            {"data.split": "global_time"},
            "nothing later would be learnt",
        ),
        ({"retire": "README.md"}, "none of its .* items is one that the model knows"),
    ],
)
def test_a_mistake_leaves_nothing_behind(grown, later, tmp_path, settings, words):
    origin = pathlib.Path(settings.pop("origin", grown[0]))
    with pytest.raises(UserError, match=words):
        finetune(origin, tmp_path / "new", later, **settings)
    assert not (tmp_path / "new").exists()


def test_folders_of_other_runs_are_refused(grown, later, tmp_path):
    old, new, *_ = grown
    with pytest.raises(UserError, match="the run before stays as it is"):
        finetune(old, old, later)
    with pytest.raises(UserError, match="was grown from another run"):
        finetune(new, shutil.copytree(new, tmp_path / "new"), later)
    other = shutil.copytree(old, tmp_path / "other")
    shutil.copy(new / "items.parquet", other)
    with pytest.raises(UserError, match=r"other: items\.parquet .* is not the catalogue that was"):
        finetune(other, tmp_path / "newer", later)
    assert not (tmp_path / "newer").exists()
    with pytest.raises(UserError, match="holds a run already"):
        finetune(old, shutil.copytree(old, tmp_path / "old"), later)
