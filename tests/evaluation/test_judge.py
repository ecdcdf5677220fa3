"""The parts of results.json that come from ranks."""

import jax
import numpy as np
import polars as pl
import pytest

from bert4rec_jax.data import sequences
from bert4rec_jax.evaluation.judge import Judge
from bert4rec_jax.evaluation.scorers import popularity_scorer

PROTOCOLS = ("popularity_100", "uniform_100", "full")


@pytest.fixture(scope="module")
def log():
    """60 users of 4 to 13 items out of 200, the low numbers more often."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{int(200 * rng.random() ** 2)}", time)
        for user in range(60)
        for time in range(4 + user % 10)
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return sequences.build(frame, name="made up")


def judge_of(log, **options):
    split = sequences.leave_one_out(log)
    scorer, params = popularity_scorer(log.counts)
    defaults = {"max_length": 8, "seed": 0, "protocols": PROTOCOLS, "ks": (1, 5, 10)}
    defaults |= {"negatives": "", "batch_size": 16, "map_over_devices": jax.jit}
    return Judge(scorer, log, split, **(defaults | options)), params


def test_the_parts_agree_with_each_other(log):
    judge, params = judge_of(log)
    parts, ranks = judge.report(params)
    assert set(ranks) == {(split, p) for split in ("valid", "test") for p in PROTOCOLS}
    for protocol in PROTOCOLS:
        test = ranks["test", protocol][1]
        assert parts["test"][protocol]["HR@10"] == np.mean(test < 10)
        for split in ("valid", "test"):
            low, high = parts[f"{split}_interval"][protocol]["HR@10"]
            assert low <= parts[split][protocol]["HR@10"] <= high
    by_length = parts["breakdown"]["history_length"].values()
    assert sum(group["users"] for group in by_length) == 60
    whole = sum(group["users"] * group["HR@10"] for group in by_length) / 60
    np.testing.assert_allclose(whole, parts["test"]["full"]["HR@10"])
    assert 0 < parts["recommendations"]["coverage@10"] <= 1
    assert judge.validate(params)["full/MRR"] == parts["valid"]["full"]["MRR"]


def test_where_everybody_has_seen_everything_nothing_is_recommended():
    frame = pl.DataFrame({"user": list("aaaabbbb"), "item": list("xyzxzyxy"), "time": range(8)})
    judge, params = judge_of(sequences.build(frame, name="small"), protocols=("full",))
    parts, _ = judge.report(params)
    assert parts["recommendations"] == {"coverage@10": 0.0}


def test_no_file_of_negatives_is_asked_for_where_none_are_drawn(log, tmp_path):
    path = tmp_path / "negatives.parquet"
    judge, params = judge_of(log, negatives=str(path), protocols=("full",))
    assert set(judge.report(params)[1]) == {("valid", "full"), ("test", "full")}
    assert not path.exists()


def test_other_cut_offs(log):
    judge, params = judge_of(log, ks=(3, 20), protocols=("full",))
    assert set(judge.validate(params)) == {
        "full/HR@3", "full/HR@20", "full/NDCG@3", "full/NDCG@20", "full/MRR",
    }  # fmt: skip


def test_negatives_are_written_once_and_read_back(log, tmp_path):
    path = tmp_path / "negatives.parquet"
    drawn, params = judge_of(log)
    expected = drawn.report(params)[1]
    writing, _ = judge_of(log, negatives=str(path))
    written = writing.report(params)[1]
    # Another seed would draw others; the file is what counts.
    reading, _ = judge_of(log, negatives=str(path), seed=7)
    read = reading.report(params)[1]
    for key, (_, ranks) in expected.items():
        np.testing.assert_array_equal(written[key][1], ranks)
        np.testing.assert_array_equal(read[key][1], ranks)
    other, _ = judge_of(log, seed=7)
    assert any((other.report(params)[1][key][1] != expected[key][1]).any() for key in expected)
