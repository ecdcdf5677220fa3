"""--mode=export of the tiny run, and the folder used where this package is not."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from bert4rec_jax import Recommender, exporting
from bert4rec_jax.errors import UserError
from tests.command.program import ROOT

WITHOUT_US = "import sys\nsys.modules['bert4rec_jax'] = None\n"


def python_of(page: pathlib.Path) -> str:
    """The one block of Python on a page."""
    return re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "ml1m-exported"  # as docs/export.md calls it
    exporting.export(trained[0], folder)
    return folder


def test_the_page_and_the_folders_own_readme_recommend_what_the_model_does(trained, exported):
    recommender = Recommender.load(trained[0])
    items = recommender.vocab.items
    found = recommender.recommend([items[:3], items[5:6]], k=10)
    expected = [[scored.item for scored in row] for row in found]
    page = python_of(ROOT / "docs" / "export.md")
    assert python_of(exported / "README.md") == page.replace("ml1m-exported", ".")
    assert recommended_by(page, exported) == expected
    # Longer than the model's input: what is cut off has been had all the same.
    longer = page.replace("items[:3]", "items[:140]")
    assert longer != page
    found = recommender.recommend([items[:140], items[5:6]], k=10)
    assert recommended_by(longer, exported) == [[scored.item for scored in row] for row in found]


def recommended_by(code, exported):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_US + code],
        cwd=exported.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_folder_says_what_it_holds(trained, exported):
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["input"] == {"dtype": "int32", "shape": ["b", 8], "padding": 0}
    assert manifest["scores"]["shape"] == ["b", 150]
    there = {path.name for path in exported.iterdir()}
    assert {*manifest["files"], "manifest.json", "README.md"} == there
    assert np.load(exported / "embeddings.npy").shape == (150, 8)
    assert json.loads((exported / "items.json").read_text()) == list(
        Recommender.load(trained[0]).vocab.items
    )


def test_a_folder_that_is_taken_stays_as_it_is(trained, exported, tmp_path):
    before = sorted(exported.iterdir())
    with pytest.raises(UserError, match="exists already"):
        exporting.export(trained[0], exported)
    assert sorted(exported.iterdir()) == before
    with pytest.raises(UserError, match="not a run's config"):
        exporting.export(tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
