import doctest
import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import compare
from bert4rec_jax.evaluation.report import write_ranks

USERS = tuple(f"u{i}" for i in range(200))
EVERYONE = np.arange(200)


def write(folder, ranks, *, users=USERS, rows=EVERYONE, protocols=("full",), split="test"):
    folder.mkdir()
    judged = {(split, protocol): (rows, ranks) for protocol in protocols}
    write_ranks(folder / "ranks.parquet", users, judged)
    return folder


@pytest.fixture
def better_and_worse():
    rng = np.random.default_rng(0)
    worse = rng.integers(0, 40, size=200)
    return np.maximum(worse - rng.integers(0, 12, size=200), 0), worse


def test_the_docstrings_numbers_hold():
    result = doctest.testmod(compare)
    assert result.attempted
    assert not result.failed


def test_figures_and_tests_are_those_of_the_paired_users(tmp_path, better_and_worse):
    better, worse = better_and_worse
    order = np.random.default_rng(1).permutation(200)
    first = write(tmp_path / "a", worse)
    # The second run has its users in another order.
    second = write(tmp_path / "b", better[order], rows=order)
    rows = {row.metric: row for row in compare.compare_runs(first, second)}
    assert list(rows) == ["HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR"]
    hit = rows["HR@10"]
    assert (hit.first, hit.second) == ((worse < 10).mean(), (better < 10).mean())
    assert hit.difference == pytest.approx(hit.second - hit.first)
    expected = stats.ttest_rel(1 / (better + 1), 1 / (worse + 1))
    assert rows["MRR"].p == pytest.approx(expected.pvalue, rel=1e-9)
    assert rows["MRR"].low < rows["MRR"].difference < rows["MRR"].high
    assert rows["MRR"].low > 0
    assert all(row.p <= row.p_holm <= 1 for row in rows.values())


def test_the_interval_of_a_difference_is_that_of_paired_users(tmp_path):
    """Ranks that differ widely between users but hardly between runs: pairing narrows it."""
    ranks = np.tile([0, 99], 100)
    changed = ranks.copy()
    changed[1] = 0
    first, second = write(tmp_path / "a", ranks), write(tmp_path / "b", changed)
    row = compare.compare_runs(first, second, ks=(10,))[0]
    assert row.difference == pytest.approx(1 / 200)
    # The one who differs is drawn about Poisson(1) times; unpaired, the bounds would be +-0.1.
    assert row.low == 0
    assert 2 / 200 <= row.high <= 5 / 200


def test_equal_runs_do_not_differ(tmp_path, better_and_worse):
    ranks, _ = better_and_worse
    for row in compare.compare_runs(write(tmp_path / "a", ranks), write(tmp_path / "b", ranks)):
        assert (row.difference, row.low, row.high, row.p, row.p_holm) == (0, 0, 0, 1, 1)


@pytest.mark.parametrize("differences", [[], [2.0], [0.0, 0.0]])
def test_nothing_to_go_by_is_no_evidence(differences):
    assert compare.paired_t_test(np.array(differences)) == 1


def test_the_same_difference_for_everyone_is_certain():
    assert compare.paired_t_test(np.array([0.5, 0.5, 0.5])) == 0


def test_holm_worked_out_by_hand():
    corrected = compare.holm(np.array([0.5, 0.001, 0.02, 0.8, 0.01]))
    # Sorted: .001 x 5, .01 x 4, .02 x 3, .5 x 2, .8 x 1 but no less than the one before.
    np.testing.assert_allclose(corrected, [1, 0.005, 0.06, 1, 0.04])


def test_protocols_are_compared_one_by_one_and_validation_is_left_alone(tmp_path):
    ranks = np.arange(200)
    runs = []
    for name in "ab":
        run = write(tmp_path / name, ranks, protocols=("full", "uniform_100"))
        test = pl.read_parquet(run / "ranks.parquet")
        valid = test.with_columns(split=pl.lit("valid"), rank=pl.lit(0, pl.Int32))
        pl.concat([valid, test]).write_parquet(run / "ranks.parquet")
        runs.append(run)
    rows = compare.compare_runs(*runs, ks=(10,))
    assert [(row.protocol, row.metric) for row in rows] == [
        ("full", "HR@10"),
        ("full", "NDCG@10"),
        ("full", "MRR"),
        ("uniform_100", "HR@10"),
        ("uniform_100", "NDCG@10"),
        ("uniform_100", "MRR"),
    ]
    assert rows[0].first == 10 / 200
    assert {row.first for row in compare.compare_runs(*runs, split="valid")} == {1}


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    ranks = np.arange(200)
    run = write(tmp_path / "a", ranks)
    fewer = write(tmp_path / "fewer", ranks[:199], rows=EVERYONE[:199])
    with pytest.raises(UserError, match=r"differ in users: .*a has 200, .*fewer has 199, and 1 "):
        compare.compare_runs(run, fewer)
    others = write(tmp_path / "others", ranks, users=(*USERS[:-1], "stranger"))
    with pytest.raises(UserError, match=r"differ in users: .* and 2 of them"):
        compare.compare_runs(run, others)
    protocols = write(tmp_path / "protocols", ranks, protocols=("full", "uniform_100"))
    with pytest.raises(UserError, match=r"differ in protocols: .* has full, .* full, uniform_100;"):
        compare.compare_runs(run, protocols)
    valid = write(tmp_path / "valid", ranks, split="valid")
    with pytest.raises(UserError, match=r"valid: no ranks of the test split"):
        compare.compare_runs(run, valid)
    with pytest.raises(UserError, match=r"missing: no such file"):
        compare.compare_runs(run, tmp_path / "missing")


def test_the_same_users_with_other_true_items_are_refused(tmp_path):
    """As after another split, or another order of equal times: the users alone do not show it."""
    ranks, runs = np.arange(200), []
    for digest in ("a", "b"):
        runs.append(write(tmp_path / digest, ranks))
        parts = {"dataset": {"test_digest": digest}, "model": {}, "train": {}, "test": {}}
        (runs[-1] / "results.json").write_text(json.dumps(parts))
    with pytest.raises(UserError, match="the runs differ in test items"):
        compare.compare_runs(*runs)
    with pytest.raises(UserError, match="the runs differ in test items"):
        compare.compare_runs(runs[0], runs[1] / "ranks.parquet")
    assert compare.compare_runs(runs[0], runs[0])


def test_the_cut_offs_are_those_of_the_runs(tmp_path):
    run = write(tmp_path / "a", np.arange(200))
    test = {"full": {"HR@3": 0.1, "NDCG@3": 0.1, "HR@50": 0.1, "NDCG@50": 0.1, "MRR": 0.1}}
    parts = {"dataset": {}, "model": {}, "train": {}, "test": test}
    (run / "results.json").write_text(json.dumps(parts))
    rows = {row.metric: row.first for row in compare.compare_runs(run, run)}
    assert list(rows) == ["HR@3", "HR@50", "NDCG@3", "NDCG@50", "MRR"]
    assert (rows["HR@3"], rows["HR@50"]) == (3 / 200, 50 / 200)


def test_the_table_has_a_line_a_metric(tmp_path, better_and_worse):
    better, worse = better_and_worse
    rows = compare.compare_runs(
        write(tmp_path / "a", worse), write(tmp_path / "b", better), ks=(10,)
    )
    lines = compare.format_comparison(rows, names=("gru4rec", "bert4rec")).splitlines()
    header = "protocol metric gru4rec bert4rec difference 95% interval p p (Holm)"
    assert " ".join(lines[0].split()) == header
    assert [line.split()[:2] for line in lines[1:]] == [
        ["full", "HR@10"],
        ["full", "NDCG@10"],
        ["full", "MRR"],
    ]
    assert f"{rows[0].difference:+.4f}" in lines[1]
