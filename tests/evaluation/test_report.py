import doctest
import json

import numpy as np
import polars as pl
import pytest

from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import published, report


@pytest.mark.parametrize("module", [report, published])
def test_the_docstrings_numbers_hold(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_ranks_have_one_row_a_user_and_protocol(tmp_path):
    path = tmp_path / "ranks.parquet"
    judged = {
        ("valid", "full"): (np.array([0, 2], np.int32), np.array([4, 0], np.int32)),
        ("test", "full"): (np.array([2, 1], np.int32), np.array([7, 8])),
    }
    report.write_ranks(path, ("ann", "bob", "7"), judged)
    table = pl.read_parquet(path)
    assert table.schema == report.RANKS_SCHEMA
    assert table.rows() == [
        ("ann", "full", "valid", 4),
        ("7", "full", "valid", 0),
        ("7", "full", "test", 7),
        ("bob", "full", "test", 8),
    ]
    assert report.read_ranks(path).equals(table)
    assert report.read_ranks(tmp_path).equals(table)


def test_files_that_are_no_ranks_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"ranks.parquet: no such file"):
        report.read_ranks(tmp_path)
    (tmp_path / "ranks.parquet").write_text("no")
    with pytest.raises(UserError, match=r"ranks.parquet: not a file of ranks"):
        report.read_ranks(tmp_path)
    pl.DataFrame({"user": ["u"]}).write_parquet(tmp_path / "ranks.parquet")
    with pytest.raises(UserError, match=r"ranks.parquet: not a file of ranks"):
        report.read_ranks(tmp_path)


RESULTS = {
    "dataset": {"name": "ml-1m", "users": np.int64(6040)},
    "model": {"name": "bert4rec"},
    "train": {"seconds": np.float32(1.5)},
    "valid": {},
    "test": {"popularity_100": {"HR@10": 0.7, "MRR": 0.25}, "full": {"HR@10": 0.28, "MRR": 0.1}},
    "test_interval": {
        "popularity_100": {"HR@10": [0.6912, 0.71], "MRR": [0.24, 0.26]},
        "full": {"HR@10": [0.27, 0.29], "MRR": [0.09, 0.11]},
    },
}


def test_results_are_plain_json(tmp_path):
    path = tmp_path / "new" / "results.json"
    report.write_results(path, RESULTS)
    found = json.loads(path.read_text())
    assert found["dataset"]["users"] == 6040
    assert found["train"]["seconds"] == 1.5
    assert found["test"] == RESULTS["test"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    report.write_results(path, {"test": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write_results(path, {"test": float("nan")})

    def full_disk(frame, file):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full_disk)
    with pytest.raises(OSError, match="no space"):
        report.write_ranks(path, ("a",), {("test", "full"): (np.array([0]), np.array([0]))})
    assert json.loads(path.read_text()) == {"test": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_the_papers_row_stands_beside_its_own_protocol_only():
    lines = report.metrics_table(RESULTS).splitlines()
    assert lines[0] == "bert4rec on ml-1m"
    assert [line.split() for line in lines[1:]] == [
        ["protocol", "metric", "test", "95%", "interval", "paper"],
        ["popularity_100", "HR@10", "0.7000", "0.6912", "..", "0.7100", "0.6970"],
        ["popularity_100", "MRR", "0.2500", "0.2400", "..", "0.2600", "0.4254"],
        ["full", "HR@10", "0.2800", "0.2700", "..", "0.2900"],
        ["full", "MRR", "0.1000", "0.0900", "..", "0.1100"],
    ]


@pytest.mark.parametrize("dataset", [{"name": "ml-1m", "split": "global_time"}, {"name": "mine"}])
def test_the_papers_row_is_left_out_where_the_split_or_the_data_are_others(dataset):
    assert "paper" not in report.metrics_table(RESULTS | {"dataset": dataset})


@pytest.mark.parametrize(
    ("model", "loss", "theirs"),
    [
        ({"name": "sasrec"}, "bce", "0.6629"),
        ({"name": "sasrec"}, "softmax", None),
        ({"name": "gru4rec", "cell": "gru"}, "softmax", "0.6207"),
        ({"name": "gru4rec", "cell": "lstm"}, "softmax", None),
        ({"name": "markov"}, None, None),
    ],
)
def test_the_papers_row_is_of_the_same_kind_of_model(model, loss, theirs):
    text = report.metrics_table(RESULTS | {"model": model, "train": {"loss": loss}})
    assert ("paper" in text) == (theirs is not None)
    assert text.splitlines()[2].split()[-1] == (theirs or "0.7100")


@pytest.mark.parametrize("text", [None, "no", "[]", '{"dataset": {}}'])
def test_results_that_are_none_are_refused(tmp_path, text):
    if text:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results.json: not a run's results"):
        report.read_results(tmp_path)


def test_a_table_without_paper_or_intervals():
    results = RESULTS | {"dataset": {"name": "mine"}, "test_interval": {}}
    lines = report.metrics_table(results).splitlines()
    assert lines[1].split() == ["protocol", "metric", "test"]
    assert lines[2].split() == ["popularity_100", "HR@10", "0.7000"]


def test_the_papers_table_is_consistent_in_itself():
    """Its gains over SASRec, and that figures grow with k, which a slip of the pen would break."""
    gains = {("beauty", "HR@10"): 14.02, ("ml-1m", "NDCG@10"): 10.32, ("ml-20m", "HR@1"): 35.22}
    for (dataset, metric), gain in gains.items():
        ours = published.published_metrics(dataset, "bert4rec")[metric]
        best = published.published_metrics(dataset, "sasrec")[metric]
        assert 100 * (ours / best - 1) == pytest.approx(gain, abs=0.06)
    models = ["popularity", "bpr-mf", "ncf", "fpmc", "gru4rec", "gru4rec+", "caser", "sasrec"]
    for dataset in ("beauty", "steam", "ml-1m", "ml-20m"):
        for model in [*models, "bert4rec"]:
            row = published.published_metrics(dataset, model)
            assert row["HR@1"] <= row["NDCG@5"] <= row["NDCG@10"] <= row["HR@10"]
            assert row["NDCG@5"] <= row["HR@5"] <= row["HR@10"]
            assert row["HR@1"] <= row["MRR"] <= row["HR@10"]
    assert published.published_metrics("ml-1m", "markov") == {}
    assert published.published_metrics("mine", "bert4rec") == {}
