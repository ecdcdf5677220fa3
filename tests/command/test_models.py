"""Every other model through the same modes. In this process, to save time."""

import contextlib
import io
import json
import time

import numpy as np
import pytest
from jax import export as jax_export

from bert4rec_jax import Recommender, exporting, modes, outputs, provenance
from bert4rec_jax.errors import UserError
from configs import custom, default
from tests.command.program import SETTINGS


@pytest.fixture(scope="module", params=["popularity", "markov", "sasrec", "gru4rec", "caser"])
def another(request, log, tmp_path_factory):
    """(model, work directory, what was printed) of a run with each of the other models."""
    workdir = tmp_path_factory.mktemp("another") / request.param
    config = custom.get_config(request.param)
    config.update_from_flattened_dict(SETTINGS | {"data.path": str(log), "mesh.data": 1})
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert modes.train(config, workdir, started=time.monotonic())
    return request.param, workdir, out.getvalue()


def test_every_model_is_trained_and_evaluated(another, capsys, monkeypatch):
    model, workdir, printed = another
    results = json.loads((workdir / "results.json").read_text())
    assert results["model"]["name"] == model
    assert results["train"]["steps"] == (0 if model in ("popularity", "markov") else 12)
    assert set(results["test"]) == {"popularity_100", "uniform_100", "full"}
    assert (workdir / "ranks.parquet").exists()
    assert (workdir / "report.html").exists()
    # Judged elsewhere it is still of the machine that trained it; counts are what that one counts.
    elsewhere = {"commit": "another", "cpu": "another", "cores": 1, "python": "3"}
    monkeypatch.setattr(provenance, "machine", lambda: elsewhere)
    modes.evaluate(default.get_config(), {}, workdir)
    assert capsys.readouterr().out == printed
    trained = json.loads((workdir / "results.json").read_text())["train"]
    assert (trained == results["train"]) == (model not in ("popularity", "markov"))
    if model == "markov":  # on a ring, the last item says all: ties aside, the next is certain
        assert results["test"]["full"]["HR@10"] > 0.9


def test_a_stop_while_it_is_evaluated_says_that_the_training_is_saved(another, capsys, monkeypatch):
    model, workdir, _ = another
    if model in ("popularity", "markov"):
        return

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "report_run", stopped)
    config = modes.saved_config(default.get_config(), workdir)
    with pytest.raises(KeyboardInterrupt):
        modes.train(config, workdir, started=time.monotonic())
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"{workdir}: the training is saved; the same command evaluates it"


def test_every_model_with_parameters_exports_what_it_scores_live(another, tmp_path):
    model, workdir, _ = another
    folder = tmp_path / "exported"
    if model == "markov":
        with pytest.raises(UserError) as refused:
            exporting.export(workdir, folder)
        assert str(refused.value).startswith(f"{workdir}: markov keeps no parameters")
        assert "\n" not in str(refused.value)
        assert list(tmp_path.iterdir()) == []
        return
    exporting.export(workdir, folder)
    assert (folder / "embeddings.npy").exists() == (model != "popularity")
    recommender = Recommender.load(workdir)
    items = recommender.vocab.items
    ids = np.zeros((3, 8), np.int32)
    for row, places in zip(ids, (range(3), [5], range(20, 28)), strict=True):
        row[: len(places)] = np.array(places) + 1
    histories = [[items[i - 1] for i in row if i] for row in ids]
    live = recommender.recommend(histories, k=len(items), with_seen=True)
    exported = jax_export.deserialize((folder / "scores.jax_export").read_bytes()).call(ids)
    for scores, row in zip(np.asarray(exported), live, strict=True):
        expected = {scored.item: scored.score for scored in row}
        np.testing.assert_allclose(scores, [expected[i] for i in items], rtol=1e-4, atol=1e-4)
