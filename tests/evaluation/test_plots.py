import doctest
import io

import matplotlib
import matplotlib.image
import numpy as np
import polars as pl
import pytest

from bert4rec_jax.evaluation import illustrations, plots, sections

GROUPS = {"head": {"HR@10": 0.5, "NDCG@10": 0.25}, "tail": {}}
DRAWN = {
    "loss": lambda: plots.training_loss([50, 100], [8.0, 7.0]),
    "one validation": lambda: plots.validation(
        [100], {"full": [0.1]}, metric="NDCG@10", xlabel="steps", best=None
    ),
    "five protocols": lambda: plots.validation(
        [1, 2], {f"p{i}": [0.1 * i, 0.2] for i in range(5)}, metric="MRR", xlabel="steps", best=2,
        second=("windows", 128.0),
    ),
    "all ranks equal": lambda: plots.rank_histogram(np.zeros(5, np.int32), title="full", index=0),
    "ranks": lambda: plots.rank_histogram(np.arange(54_542), title="full", index=5),
    "a group of none": lambda: plots.breakdown(GROUPS, metrics=("HR@10", "NDCG@10")),
    "one head": lambda: plots.attention_maps(np.eye(15, dtype=np.float32)[None, None]),
    "many heads": lambda: plots.attention_maps(np.full((3, 8, 4, 4), 0.25, np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("module", [plots, sections])
def test_the_docstrings_numbers_hold(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_are_valid_and_the_same_each_time(name):
    png = DRAWN[name]()
    pixels = matplotlib.image.imread(io.BytesIO(png))
    assert pixels.ndim == 3
    assert pixels.std() > 0.01
    assert DRAWN[name]() == png


def test_drawing_leaves_no_state_behind():
    before = dict(matplotlib.rcParams)
    DRAWN["loss"]()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("last", [1, 2, 3, 9, 10, 11, 100, 101, 3416, 54_542])
def test_bins_cover_every_place_once(last):
    bins = plots.place_bins(last)
    covered = [place for first, end in bins for place in range(first, end + 1)]
    assert covered == list(range(1, last + 1))


def drawn_with(monkeypatch, name):
    """What plots.<name> is called with, instead of drawing."""
    calls = []

    def record(*args, **kwargs):
        calls.append((args, kwargs))
        return b""

    monkeypatch.setattr(plots, name, record)
    return calls


def test_curves_show_every_protocol_against_steps_windows_and_minutes(monkeypatch):
    calls = drawn_with(monkeypatch, "validation")
    # 30 windows a second for two minutes, 60 for one: 7,200 windows in 90 steps.
    train = [
        {"step": 60, "loss": 8.0, "examples_per_second": 30.0, "minutes": 2.0},
        {"step": 90, "loss": 7.5, "examples_per_second": 60.0, "minutes": 3.0},
    ]
    valid = [
        {"step": 60, "minutes": 2.0, "full/NDCG@10": 0.1, "full/HR@10": 0.4, "u/NDCG@10": 0.3},
        {"step": 90, "minutes": 3.0, "full/NDCG@10": 0.2, "full/HR@10": 0.5, "u/NDCG@10": 0.4},
    ]
    illustrations.curves(train, valid, 90)
    (by_step, step_options), (by_minute, minute_options) = calls
    lines = {"full": [0.1, 0.2], "u": [0.3, 0.4]}
    assert by_step == ([60, 90], lines)
    assert by_minute == ([2.0, 3.0], lines)
    assert (step_options["best"], minute_options["best"]) == (90, 3.0)
    label, ratio = step_options["second"]
    assert "windows" in label
    assert ratio * 90 == pytest.approx(7200)
    # A run that went on with other protocols.
    del valid[1]["u/NDCG@10"]
    illustrations.curves(train, valid, 90)
    assert calls[-1][0] == ([2.0, 3.0], {"full": [0.1, 0.2]})


def test_histograms_take_test_ranks_only(monkeypatch):
    calls = drawn_with(monkeypatch, "rank_histogram")
    table = pl.DataFrame(
        {
            "protocol": ["full", "u", "full", "u", "full"],
            "split": ["valid", "test", "test", "test", "test"],
            "rank": [9, 1, 2, 3, 4],
        }
    )
    made = illustrations.ranks(table)
    assert [args[0].tolist() for args, _ in calls] == [[1, 3], [2, 4]]
    assert [figure.name for figure in made] == ["ranks_u", "ranks_full"]


def test_the_attention_caption_counts_what_lies_outside():
    values = np.full((1, 2, 3, 3), 0.1, np.float32)
    values[0, 1, -1] = [0.2, 0.3, 0.4]
    (figure,) = illustrations.attention(values, "bert4rec")
    assert "last 3 positions" in figure.caption
    assert "30% to 90%" in figure.caption
    assert "MASK" in figure.caption
    assert "MASK" not in illustrations.attention(values, "sasrec")[0].caption
