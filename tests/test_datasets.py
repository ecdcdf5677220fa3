"""Where a run's data come from, and who is judged."""

import os
import signal

import numpy as np
import polars as pl
import pytest

from bert4rec_jax import cli, datasets, preparing
from bert4rec_jax.data.preparation import prepare
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.inputs import SeenItems
from bert4rec_jax.evaluation.negatives import draw_negatives
from bert4rec_jax.experiment import Experiment
from configs import custom, synthetic


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"i{i}") for u in range(30) for i in rng.permutation(140)[: 5 + u % 4]]
    pl.DataFrame(rows, ["user", "item"], orient="row").write_parquet(folder / "log.parquet")
    prepare(folder / "log.parquet", folder / "prepared", min_item_count=0, min_user_count=5)
    return folder


def config_of(path, **settings):
    config = custom.get_config()
    config.data.path = str(path)
    config.update_from_flattened_dict(settings)
    return config


def test_a_prepared_log_and_the_log_are_the_same_data(log):
    plain = datasets.load(config_of(log / "log.parquet"))
    prepared = datasets.load(config_of(log / "prepared"))
    assert prepared.identity == plain.identity
    assert prepared.statistics == plain.statistics
    for name in ("offsets", "train_ends"):
        np.testing.assert_array_equal(getattr(prepared, name), getattr(plain, name))
    for name in ("valid", "test"):
        one, other = getattr(prepared.split, name), getattr(plain.split, name)
        np.testing.assert_array_equal(one.users, other.users)
        np.testing.assert_array_equal(one.ends, other.ends)


def test_a_sample_is_judged_as_its_users_are_in_the_whole(log):
    whole = datasets.load(config_of(log / "log.parquet"))
    some = datasets.load(config_of(log / "log.parquet", **{"eval.users": 8}))
    prepared = datasets.load(config_of(log / "prepared", **{"eval.users": 8}))
    assert len(some.split.test.users) == len(prepared.split.test.users) == 8
    assert [some.log.users[u] for u in some.split.test.users] == list(prepared.log.users)
    np.testing.assert_array_equal(some.train_ends, whole.train_ends)
    drawn = [
        draw_negatives(
            data.log, SeenItems(data.log), data.split.test, protocol="popularity_100", seed=0
        )
        for data in (whole, some, prepared)
    ]
    np.testing.assert_array_equal(drawn[0][some.split.test.users], drawn[1])
    np.testing.assert_array_equal(drawn[1], drawn[2])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data.min_user_count": 6}, r"was prepared with data\.min_user_count 5, and now it is 6"),
        ({"data.split": "global_time"}, r"a prepared log holds no times"),
        ({"model.name": "markov"}, r"markov counts a whole log in memory"),
    ],
)
def test_what_a_prepared_log_cannot_give_is_said(log, settings, words):
    with pytest.raises(UserError, match=words):
        datasets.load(config_of(log / "prepared", **settings))


def test_a_sample_of_nobody_who_can_be_judged_is_refused(tmp_path):
    rows = [("a", x) for x in "xyz"] + [(f"u{i}", "x") for i in range(99)]
    pl.DataFrame(rows, ["user", "item"], orient="row").write_parquet(tmp_path / "log.parquet")
    settings = {"eval.users": 1, "data.min_user_count": 1}
    with pytest.raises(UserError, match=r"none of the 1 users drawn .* raise eval\.users"):
        datasets.load(config_of(tmp_path / "log.parquet", **settings))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_preparation_and_leaves_nothing(
    log, monkeypatch, tmp_path, capsys, number
):
    def stage(name, total):
        os.kill(os.getpid(), number)
        return lambda done: None

    monkeypatch.setattr(datasets, "Stage", stage)
    # A shell ignores SIGINT on behalf of what it runs in the background.
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}[number]
    before = signal.signal(number, usual)
    config = config_of(log / "log.parquet")
    try:
        code = cli.reporting(lambda: preparing.prepare(config, str(tmp_path / "made")))
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert code == 128 + number
    assert list(tmp_path.iterdir()) == []
    line = f"{number.name}: stopped before the end; unfinished output is removed\n"
    assert capsys.readouterr().err == line


def test_a_stride_beyond_the_length_of_a_window_leaves_no_item_out():
    config = synthetic.get_config()
    config.model.max_length, config.masking.stride = 4, 100
    experiment = Experiment(config)
    batches = experiment.batches
    trained = {
        start + place
        for start, length in zip(batches.starts.tolist(), batches.lengths.tolist(), strict=True)
        for place in range(length)
    }
    data = experiment.data
    expected = {
        place
        for offset, end in zip(data.offsets.tolist(), data.train_ends.tolist(), strict=False)
        for place in range(offset, offset + end)
    }
    assert trained == expected
    assert any(end > 4 for end in data.train_ends)
