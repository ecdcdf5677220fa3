import json

import pytest

from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import models_table

METRICS = ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR")


def results(
    offset, model="bert4rec", *, protocols=("popularity_100", "full"), seconds=90.0, **dataset
):
    figures = {p: {m: offset + 0.01 * i for i, m in enumerate(METRICS)} for p in protocols}
    name, cell = {"sasrec_bce": ("sasrec", "gru"), "lstm": ("gru4rec", "lstm")}.get(
        model, (model, "gru")
    )
    train = {"steps": 0, "seed": 3, "device": "cpu", "devices": 1, "jax": "1"}
    train["loss"] = "bce" if model == "sasrec_bce" else "softmax"
    if seconds:
        train |= {"steps": 4000, "seconds": seconds}
    return {
        "dataset": {
            "name": "ml-1m", "users": 6040, "items": 3416, "actions": 999611, "digest": "d34d" * 16,
            "test_digest": "4469" * 16, "canonical": "ml-1m", "split": "leave_one_out",
            "trained_on_valid": False,
        } | dataset,
        "model": {"name": name, "cell": cell, "parameters": 9},
        "train": train,
        "valid": {},
        "test": figures,
        "test_interval": {
            p: {m: [v - 0.01, v + 0.02] for m, v in found.items()} for p, found in figures.items()
        },
        "breakdown": {},
    }  # fmt: skip


def test_the_papers_row_stands_below_ours_where_it_has_one():
    table = models_table.summary(
        {
            "popularity": results(0.1, "popularity", seconds=None),
            "sasrec": results(0.2, "sasrec"),
            "sasrec_bce": results(0, "sasrec_bce"),
        }
    )
    lines = models_table.screen(table).splitlines()
    assert lines[0] == "ml-1m: popularity_100, and full where the column says so"
    assert lines[1].split() == [
        "model", "HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR",
        "full", "HR@10", "full", "NDCG@10", "steps", "minutes",
    ]  # fmt: skip
    ours = "0.1000 0.1100 0.1200 0.1300 0.1400 0.1500 0.1200 0.1400"
    assert lines[2].split() == ["popularity", "ours", *ours.split(), "0", "-"]
    paper = "0.0141 0.0715 0.1358 0.0416 0.0621 0.0627"
    assert lines[3].split() == ["-", "paper", *paper.split(), "-", "-", "-", "-"]
    # Only the one with the original's loss has a row of the paper's.
    assert [line.split()[0] for line in lines[4:]] == ["sasrec", "sasrec_bce", "-"]
    assert lines[5].split()[-2:] == ["4,000", "1.5"]
    assert "0.2351" in lines[6]


def test_markdown_has_intervals_too_and_says_what_the_figures_are_of():
    text = models_table.markdown(models_table.summary({"caser": results(0.3, "caser")}))
    lines = text.splitlines()
    assert lines[0] == "# ml-1m: all models"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:7]]
    assert {len(row) for row in cells} == {2 + 8 + 2}
    assert cells[2][:3] == ["caser", "ours", "0.3000"]
    assert cells[3][:3] == ["", "95% interval", "0.2900–0.3200"]
    assert cells[4][:3] == ["", "paper", "0.2194"]
    assert lines[7] == ""
    assert "6,040 users, 3,416 items" in text
    assert "canonical ml-1m; data digest d34dd34dd34d" in text
    assert "1 x cpu, JAX 1, seed 3" in text
    assert "Table 2" in text


@pytest.mark.parametrize("dataset", [{"name": "custom"}, {"split": "global_time"}])
def test_the_paper_is_left_out_where_it_says_nothing(dataset):
    table = models_table.summary({"bert4rec": results(0.3, **dataset)})
    assert table["models"]["bert4rec"]["paper"] == {}
    assert "paper" not in models_table.markdown(table).lower()


@pytest.mark.parametrize(
    ("protocol", "title", "note"),
    [
        ("popularity_100", "ml-1m: popularity_100", "among 100 drawn by popularity"),
        ("full", "ml-1m: full where the column says so", "Columns called full"),
    ],
)
def test_columns_are_those_that_every_model_has_and_no_others_are_spoken_of(protocol, title, note):
    table = models_table.summary(
        {"caser": results(0.3), "lstm": results(0.2, protocols=(protocol,))}
    )
    lines = models_table.screen(table).splitlines()
    assert lines[0] == title
    assert ("full" in lines[1], "HR@5" in lines[1]) == (protocol == "full", protocol != "full")
    text = models_table.markdown(table)
    assert note in text
    assert ("by popularity" in text, "called full" in text) == (
        protocol != "full",
        protocol == "full",
    )


def test_the_summary_is_what_the_results_hold():
    parts = results(0.3, "gru4rec")
    table = models_table.summary({"gru4rec": parts})
    assert json.loads(json.dumps(table)) == table
    found = table["models"]["gru4rec"]
    assert all(found[key] == parts[key] for key in ("model", "train", "test", "test_interval"))
    assert found["paper"]["HR@10"] == 0.6207


@pytest.mark.parametrize("change", [{"digest": "aa"}, {"test_digest": "b"}, {"split": "global"}])
def test_models_judged_on_other_data_are_refused(change):
    with pytest.raises(UserError, match=r"caser and lstm were judged on other data \("):
        models_table.summary({"caser": results(0.3), "lstm": results(0.2, **change)})
