"""What is kept of a run, and the tables of what is kept."""

import json

import pytest
from absl.flags import FlagValues
from ml_collections import config_flags

from bert4rec_jax.errors import UserError
from configs import ml1m


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("results")


@pytest.fixture(scope="module")
def tables(load_script):
    return load_script("results_tables").tables


def run(ndcg, *, seconds=600.0, cores=2, cpu="Intel(R) Xeon(R) Processor"):
    sampled = dict.fromkeys(("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR"), 0.5)
    return {
        "dataset": {"name": "ml-1m"},
        "model": {"name": "bert4rec"},
        "train": {
            "steps": 4000,
            "seconds": seconds,
            "cores": cores,
            "cpu": cpu,
            "seed": 0,
            "commit": "abc",
        },
        "valid": {"full": {"NDCG@10": ndcg + 0.01}},
        "test": {"popularity_100": sampled, "full": {"HR@10": 2 * ndcg, "NDCG@10": ndcg}},
    }


def test_seeds_of_one_recipe_are_one_row_and_the_best_stands_last_of_ours(tables):
    runs = {
        "ml-1m_bert4rec_seed0": run(0.16),
        "ml-1m_bert4rec_seed1": run(0.18, seconds=1200.0),
        "ml-1m_caser_seed0": run(0.125),
    }
    rows = [line for line in tables(runs, {}).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[0] for row in cells[2:5]] == ["caser", "bert4rec", "the paper's POP"]
    # Mean and standard deviation (of two: their distance over the root of two), mean minutes.
    assert cells[3][-4:] == [".3400 ± .0283", ".1700 ± .0141", "4,000", "15 on 2 of Intel Xeon"]
    assert cells[2][1:3] == ["1", ".5000"]
    assert cells[4][2] == ".0141"
    assert [row[2] for row in cells if row[0] == "the paper's BERT4Rec, d = 256 §"] == [".2863"]


def test_what_is_kept_has_the_learning_curve_and_no_path_of_the_machine(script, tmp_path):
    one = run(0.2)
    one["train"]["examples_per_second"] = 220.0  # for 600 seconds, in 4,000 steps: 33 a step
    (tmp_path / "results.json").write_text(json.dumps(one))
    config = {"data": {"path": "/home/me/log", "cache": "~"}, "train": {"batch_size": 32}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    points = [
        {"step": 50, "split": "train", "loss": 7.0, "minutes": 0.5},
        {"step": 100, "split": "valid", "minutes": 1.234, "full/NDCG@10": 0.1, "full/MRR": 0.2},
    ]
    lines = "".join(json.dumps(point) + "\n" for point in points)
    (tmp_path / "metrics.jsonl").write_text(lines)
    script.keep(tmp_path, tmp_path / "out" / "kept.json")
    kept = json.loads((tmp_path / "out" / "kept.json").read_text())
    assert kept["curve"] == [{"step": 100, "rows": 3300, "minutes": 1.23, "full/NDCG@10": 0.1}]
    assert kept["config"]["data"] == {"path": "", "cache": ""}
    assert kept["train"]["commit"] == "abc"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["keep", "RUN", "custom_popularity_seed0"], "not DATASET_RECIPE_seedN, DATASET one of ml"),
        (["keep", "RUN", "ml-1m_popularity_seed0"], "RUN: was not judged under popularity_100"),
        (["keep", "RUN", "ml-1m_popularity_seed0", "--plots"], "attention.png: no such file"),
        (["keep", "NOWHERE", "ml-1m_popularity_seed0"], "results.json: not a run's results"),
        (["keep-study", "NOWHERE"], r"NOWHERE: has no \*/results.json"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_is(
    script, tmp_path, monkeypatch, arguments, words
):
    one = run(0.2)
    del one["test"]["popularity_100"]
    (tmp_path / "RUN" / "plots").mkdir(parents=True)
    (tmp_path / "RUN" / "plots" / "validation_by_minutes.png").touch()
    (tmp_path / "RUN" / "results.json").write_text(json.dumps(one))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script, "RESULTS", tmp_path / "results")
    monkeypatch.setattr("sys.argv", ["results.py", *arguments])
    with pytest.raises(UserError, match=words):
        script.main()
    assert not (tmp_path / "results").exists()


def test_minutes_on_other_cores_are_not_averaged_together(tables):
    runs = {
        "ml-1m_bert4rec_seed0": run(0.16, cores=2),
        "ml-1m_bert4rec_seed1": run(0.18, seconds=1200.0, cores=1),
    }
    assert "| 10 on 2 of Intel Xeon, 20 on 1 of Intel Xeon |" in tables(runs, {})


def test_minutes_on_other_cpus_are_not_averaged_together(tables):
    runs = {
        "ml-1m_bert4rec_seed0": run(0.16),
        "ml-1m_bert4rec_seed1": run(0.18, seconds=1200.0, cpu="AMD EPYC"),
    }
    assert "| 10 on 2 of Intel Xeon, 20 on 2 of AMD EPYC |" in tables(runs, {})


def test_minutes_on_a_gpu_name_it_and_are_not_averaged_with_a_cpus(tables):
    runs = {"ml-1m_bert4rec_seed0": run(0.16), "ml-1m_bert4rec_seed1": run(0.18, seconds=180.0)}
    runs["ml-1m_bert4rec_seed1"]["train"] |= {"device": "NVIDIA H100 80GB HBM3", "cores": 16}
    assert "| 10 on 2 of Intel Xeon, 3 on NVIDIA H100 |" in tables(runs, {})


def test_the_easier_test_is_a_table_of_its_own_beside_the_figures_published_under_it(tables):
    runs = {"ml-1m_a_seed0": run(0.16), "ml-1m_a_seed1": run(0.18), "ml-1m_b_seed0": run(0.1)}
    assert "easier_test" not in tables(runs, {})
    runs["ml-1m_a_seed0"]["easier_test"] = {"HR@10": 0.7, "NDCG@10": 0.5}
    runs["ml-1m_a_seed1"]["easier_test"] = {"HR@10": 0.8, "NDCG@10": 0.5}
    text = tables(runs, {})
    assert "| a | 2 | .7500 ± .0707 | .5000 ± .0000 |" in text
    assert "| RecTools BERT4Rec, d = 256 § |  | .7151 | .5020 |" in text


# ml_collections loads a config file in a way that Python will give up.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_row_has_the_command_that_trains_it_and_its_commits(tables):
    config = ml1m.get_config("sasrec").to_dict()
    config["model"] |= {"dropout": 0.25, "attention_dropout": 0.25}
    del config["model"]["window"]  # a run from before that setting: no difference
    runs = {f"ml-1m_sasrec-dropout.25_seed{i}": run(0.2) | {"config": config} for i in (0, 1)}
    runs["ml-1m_sasrec-dropout.25_seed1"]["train"] |= {"seed": 1, "commit": "def"}
    counted = run(0.1) | {"config": ml1m.get_config("paper").to_dict()}
    del counted["train"]["seconds"]
    text = tables(runs | {"ml-1m_markov_seed0": counted}, {})
    flags = "--config.model.attention_dropout=0.25 --config.model.dropout=0.25"
    command = f"--config=configs/ml1m.py:sasrec {flags}"
    assert f"| 0, 1 | abc, def | `{command}` |" in text
    parsed, arguments = FlagValues(), ["main.py", *command.split(), "--config.seed=1"]
    config_flags.DEFINE_config_file("config", flag_values=parsed, sys_argv=arguments)
    parsed(arguments)
    assert parsed.config.seed == 1
    assert parsed.config.model.to_dict() == ml1m.get_config("sasrec").model.to_dict() | {
        "dropout": 0.25,
        "attention_dropout": 0.25,
    }
    assert "| markov | 0 | abc | `--config=configs/ml1m.py:markov` |" in text


def test_training_on_validation_items_is_said_and_has_no_validation_curve(tables):
    curve = [{"step": 100, "rows": 3200, "minutes": 1.2, "full/NDCG@10": 0.1}]
    honest = run(0.16) | {"curve": curve}
    config = ml1m.get_config("caser")
    config.data.train_on_valid = True
    other = run(0.18) | {"curve": curve, "config": config.to_dict()}
    text = tables({"ml-1m_a_seed0": honest, "ml-1m_caser_seed0": other}, {})
    assert "| caser § | 1 |" in text
    assert "| a | 1 |" in text
    assert "a, validation, first seed:" in text
    assert "caser, validation, first seed:" not in text


def test_a_study_is_a_table_beside_the_papers_figures(tables):
    interval = {"popularity_100": {"NDCG@10": [0.48, 0.52]}}
    study = {name: run(0.1) | {"test_interval": interval} for name in ("default", "no_PE", "no_LN")}
    text = tables({}, {"ml-1m_ablation_2000": study})
    assert "ml-1m, ablation: 4,000 updates, seed 0" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[4:6] for row in rows[1:]] == [["0.1000", "0.1100"]] * 3  # test, validation
    assert [(row[0], row[6]) for row in rows[1:]] == [
        ("| default", "0.4759"),
        ("| no PE", "0.2155"),
        ("| no LN", "0.4334"),
    ]


def test_a_study_may_have_two_words(tables):
    interval = {"popularity_100": {"NDCG@10": [0.48, 0.52]}}
    text = tables(
        {}, {"beauty_sasrec_bce_8000": {"default": run(0.1) | {"test_interval": interval}}}
    )
    assert "beauty, sasrec_bce: 4,000 updates, seed 0" in text


def test_what_a_study_tried_and_did_not_keep_stands_last_with_its_commit(tables):
    interval = {"popularity_100": {"NDCG@10": [0.48, 0.52]}}
    study = {name: run(0.1) | {"test_interval": interval} for name in ("a_whim", "default")}
    text = tables({}, {"ml-1m_recipe_4000": study})
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:] == ["| default", "| a whim (of abc)"]


def test_a_default_has_how_far_it_had_come_beside_its_recipe_in_other_numbers_of_updates(tables):
    def trained(seed, values, *, steps=4000, dropout=0.2):
        config = ml1m.get_config().to_dict()
        config["train"] |= {"steps": steps, "eval_every": steps // 4}
        config["model"] |= {"dropout": dropout}
        points = [(i + 1) * steps // 4 for i in range(4)]
        curve = [
            {"step": step, "rows": 32 * step, "minutes": 1.0, "full/NDCG@10": value}
            for step, value in zip(points, values, strict=True)
        ]
        one = run(0.2) | {"config": config, "curve": curve}
        one["train"] |= {"seed": seed, "steps": steps}
        return one

    runs = {
        "ml-1m_bert4rec_seed0": trained(0, [0.1, 0.15, 0.14, 0.16]),
        "ml-1m_bert4rec_seed1": trained(1, [0.12, 0.13, 0.15, 0.14]),
        "ml-1m_bert4rec-8000-steps_seed1": trained(1, [0.1, 0.1, 0.17, 0.16], steps=8000),
        "ml-1m_bert4rec-8000-steps_seed3": trained(3, [0.1, 0.1, 0.1, 0.5], steps=8000),
        "ml-1m_bert4rec-short_seed7": trained(7, [0.1, 0.11, 0.1, 0.1], steps=2000),
        "ml-1m_bert4rec-dropout.1_seed0": trained(0, [0.2, 0.2, 0.2, 0.2], dropout=0.1),
    }
    lines = tables(runs, {}).splitlines()
    header = next(i for i, line in enumerate(lines) if "| three quarters |" in line)
    # The best so far of each seed, then their mean: (.15 + .13) / 2, twice (.15 + .15) / 2, and
    # (.16 + .15) / 2; beside the runs of twice the updates the default's own over their seeds.
    others = "8,000: .1700 (seed 1; .1500); 2,000: .1100 (seed 7)"
    figures = f".1400 | .1500 | .1500 | .1550 | {others}"
    assert lines[header + 2 : header + 4] == [f"| bert4rec | 2 | 4,000 | {figures} |", ""]
