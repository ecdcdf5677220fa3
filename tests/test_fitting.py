"""A run from a frame."""

import pathlib
import runpy
import sys

import polars as pl
import pytest

from bert4rec_jax import Recommender, fitting
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import html
from configs import custom

ROOT = pathlib.Path(__file__).parents[1]
FRAME = pl.DataFrame({"who": [1, 1, 2], "what": ["a", "b", "a"], "when": [1, 2, 3], "x": [0, 0, 0]})
COLUMNS = {"user": "who", "item": "what", "time": "when"}


def test_the_settings_are_those_of_custom_with_ones_own_over_them():
    assert fitting.config_of({}).to_dict() == custom.get_config().to_dict()
    found = fitting.config_of({"seed": 3, "model": {"name": "sasrec", "hidden": 8}})
    expected = custom.get_config("sasrec")
    expected.seed, expected.model.hidden = 3, 8
    assert found.to_dict() == expected.to_dict()
    lstm = fitting.config_of({"model": {"name": "lstm"}})
    assert lstm.to_dict() == custom.get_config("lstm").to_dict()


WRONG = [
    ({"modle": {}}, "there is no 'modle'; did you mean model?"),
    ({"model": {"hiden": 3}}, "there is no 'hiden'; did you mean hidden?"),
    ({"model": {"hidden": "x"}}, ""),
    ({"model": {"name": "none"}}, "model 'none' is unknown"),
    ({"model": 3}, "model 3 must be a dict of its settings"),
    ({"model": "sasrec"}, "model 'sasrec' must be a dict of its settings"),
    ({"data": {"path": "log.csv"}}, "data.path is for the frame itself"),
    ({"model": {"name": "markov"}}, "markov keeps no parameters"),
]


@pytest.mark.parametrize(("settings", "words"), WRONG)
def test_a_wrong_setting_is_one_line_and_leaves_nothing(settings, words, tmp_path):
    with pytest.raises(UserError, match="settings: ") as error:
        fitting.fit(FRAME, COLUMNS, tmp_path / "new", settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


class Other:
    """A frame of another library, which hands its columns over as Arrow does."""

    def __arrow_c_stream__(self, schema=None):
        return FRAME.__arrow_c_stream__(schema)


@pytest.mark.parametrize("frame", [FRAME, FRAME.lazy(), FRAME.to_dict(as_series=False), Other()])
def test_frames_of_any_kind(frame):
    log = fitting.as_log(frame, COLUMNS)
    assert log.columns == ["user", "item", "time"]
    assert log.rows() == [(1, "a", 1), (1, "b", 2), (2, "a", 3)]
    assert fitting.as_log(frame, COLUMNS | {"time": None}).columns == ["user", "item"]


def test_a_wrong_column_and_no_frame():
    with pytest.raises(UserError, match="no column 'ts' among who, what, when, x: set time="):
        fitting.as_log(FRAME, COLUMNS | {"time": "ts"})
    with pytest.raises(UserError, match="a int is no frame for Polars"):
        fitting.as_log(3, COLUMNS)


def test_the_quickstart_learns_the_ring(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["quickstart.py", str(tmp_path)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    config_of = fitting.config_of  # these two for time only
    monkeypatch.setattr(
        fitting, "config_of", lambda settings: config_of({**settings, "mesh": {"data": 1}})
    )
    monkeypatch.setattr(html, "write_report", lambda *_, **__: None)
    names = runpy.run_path(str(ROOT / "examples" / "quickstart.py"))
    assert capsys.readouterr().out.splitlines()[-3].startswith("film 10 ")
    with pytest.raises(UserError, match="holds a run on another frame"):
        Recommender.fit(
            names["frame"][1:], user="person", item="film", time="seen_on", workdir=tmp_path
        )
