"""The program as its user runs it: one process a command, on a tiny log."""

import json
import signal
import time

import polars as pl
import pytest

from tests.command.program import TINY, losses, run, start


def test_a_run_leaves_what_the_contract_says(trained):
    workdir, done = trained
    results = json.loads((workdir / "results.json").read_text())
    assert {"dataset", "model", "train", "valid", "test", "test_interval"} <= results.keys()
    dataset = results["dataset"]
    assert (dataset["users"], dataset["items"]) == (40, 150)
    assert dataset["actions"] == sum(5 + user % 12 for user in range(40))
    assert dataset["canonical"] is None
    assert results["model"]["name"] == "bert4rec"
    assert results["train"]["steps"] == 12
    for split in ("valid", "test"):
        assert set(results[split]) == {"popularity_100", "uniform_100", "full"}
        for metrics in results[split].values():
            assert set(metrics) == {"HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR"}
            assert metrics["HR@1"] <= metrics["NDCG@10"] <= metrics["HR@10"] <= 1
    ranks = pl.read_parquet(workdir / "ranks.parquet")
    assert len(ranks) == 40 * 3 * 2
    full = ranks.filter(split="test", protocol="full")["rank"]
    assert results["test"]["full"]["HR@10"] == pytest.approx((full < 10).mean())
    assert json.loads((workdir / "config.json").read_text())["model"]["hidden"] == 8
    assert sorted(losses(workdir)) == list(range(1, 13))
    assert "40 users, 150 items" in done.stderr
    assert "NDCG@10" in done.stdout


def test_evaluate_prints_the_same_figures_in_a_new_process(trained, log, cache):
    workdir, done = trained
    before = json.loads((workdir / "results.json").read_text())
    again = run(cache, "--mode=evaluate", f"--workdir={workdir}", f"--config.data.path={log}")
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert json.loads((workdir / "results.json").read_text()) == before


def test_sigterm_in_the_middle_and_the_same_command_again(trained, log, cache, workdir):
    """The steps after the restart are those of the run that was never stopped, bit for bit."""
    command = (*TINY, f"--config.data.path={log}", f"--workdir={workdir}")
    process = start(cache, *command)
    metrics = workdir / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "SIGTERM: saved step" in err or "step 12/12" in err
    done = run(cache, *command)
    assert done.returncode == 0, done.stderr
    assert losses(workdir) == losses(trained[0])
    assert done.stdout == trained[1].stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--config=configs/ml1m.py", "--config.data.path=nowhere.txt"), "nowhere.txt"),
        (("--config=configs/none.py",), "configs/none.py"),
        (("--config.model.hiden=3",), "hiden"),
        (("--config.model.hidden=many",), "hidden"),
        (("--config.model.heads=7",), "not divisible by model.heads 7"),
        (("--mode=fly",), "fly"),
        (("--wordir=x",), "wordir"),
        (("train",), "unexpected 'train'"),
        (("--mode=evaluate", "--workdir=nowhere"), "nowhere"),
        (("--config.mesh.data=3",), "mesh.data 3 but this machine has 1 devices"),
        (("--config=configs/ml1m.py:none",), "'none' is unknown; there are bert4rec"),
        (("--config=configs/ml1m.py", "--mode=table", "--models=caser,none"), "'none' is unknown"),
        (("--config=configs/ml1m.py:caser", "--mode=table"), "leave out"),
        (("--mode=table", "--models="), "--models is empty"),
        (("--mode=finetune",), "--from is empty"),
        (("--mode=finetune", "--from=."), "config.json: not a run's config"),
        (("--distributed", "--mode=export"), "start --mode=export alone"),
        (("--distributed", "--coordinator=here"), "must be HOST:PORT"),
        (
            ("--distributed", "--coordinator=h:1", "--processes=2", "--process_id=2"),
            "--process_id=2 must be from 0 to 1",
        ),
    ],
)
def test_a_mistake_is_one_line_and_code_2(cache, tmp_path, arguments, words):
    workdir = () if any("--workdir" in a for a in arguments) else (f"--workdir={tmp_path / 'w'}",)
    done = run(cache, *arguments, *workdir)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_another_model_in_the_same_workdir_is_refused(trained, log, cache):
    workdir, _ = trained
    before = sorted(p.name for p in workdir.rglob("*"))
    arguments = (*TINY, f"--config.data.path={log}", f"--workdir={workdir}")
    done = run(cache, *arguments, "--config.model.hidden=16")
    assert done.returncode == 2
    assert "model.hidden 8, and now it is 16" in done.stderr
    assert sorted(p.name for p in workdir.rglob("*")) == before
    for mode in ("train", "evaluate"):
        counted = run(cache, *arguments, f"--mode={mode}", "--config.model.name=popularity")
        assert counted.returncode == 2
    assert sorted(p.name for p in workdir.rglob("*")) == before


def test_compare_sets_two_runs_side_by_side(trained, cache, tmp_path):
    workdir, _ = trained
    same = run(cache, "--mode=compare", f"--runs={workdir},{workdir}")
    assert same.returncode == 0, same.stderr
    lines = [line.split() for line in same.stdout.splitlines()[1:]]
    assert len(lines) == 3 * 6
    assert all(line[2] == line[3] and line[4] == "+0.0000" for line in lines)
    alone = run(cache, "--mode=compare", f"--runs={workdir}")
    assert (alone.returncode, alone.stderr.count("\n")) == (2, 1)
    absent = run(cache, "--mode=compare", f"--runs={workdir},{tmp_path}")
    assert absent.returncode == 2
    assert str(tmp_path) in absent.stderr


def test_a_split_at_a_moment(log, cache, workdir):
    """Each of the 40 walks has rows at times 0..4 at least; those of 7 and more are cut at 6."""
    command = (*TINY, f"--config.data.path={log}", f"--workdir={workdir}")
    command += ("--config.data.split=global_time", "--config.data.split_time=6.0")
    command += ("--config.model.name=popularity",)
    done = run(cache, *command)
    assert done.returncode == 0, done.stderr
    ranks = pl.read_parquet(workdir / "ranks.parquet")
    tested = ranks.filter(split="test", protocol="full")["user"].to_list()
    assert tested == [f"u{user}" for user in range(40) if 5 + user % 12 > 6]


def test_a_table_goes_on_with_the_models_that_are_not_done(log, cache, tmp_path):
    command = (*TINY, f"--config.data.path={log}", f"--workdir={tmp_path}", "--mode=table")
    command += ("--models=popularity,caser",)
    process = start(cache, *command)
    metrics = tmp_path / "caser" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out == ""
    assert "SIGTERM: saved step" in err or "step 12/12" in err
    assert not (tmp_path / "table.json").exists()

    done = run(cache, *command)
    assert done.returncode == 0, done.stderr
    assert "popularity (1 of 2): finished before" in done.stderr
    table = json.loads((tmp_path / "table.json").read_text())
    assert list(table["models"]) == ["popularity", "caser"]
    for name, model in table["models"].items():
        results = json.loads((tmp_path / name / "results.json").read_text())
        assert model["test"] == results["test"]
        assert f"{model['test']['popularity_100']['MRR']:.4f}" in done.stdout
        assert f"{model['test']['full']['NDCG@10']:.4f}" in (tmp_path / "table.md").read_text()
    assert table["models"]["caser"]["train"]["steps"] == 12

    again = run(cache, *command)
    assert again.stdout == done.stdout
    assert "caser (2 of 2): finished before" in again.stderr
