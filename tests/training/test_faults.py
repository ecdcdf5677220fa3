"""What a disk does to checkpoints: it is found, said and gone back from; nothing good is lost."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bert4rec_jax.errors import UserError
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.integrity import fingerprints
from bert4rec_jax.training.state import TrainState
from tests.training.test_loop import Run, assert_same

METRIC = "full/NDCG@10"


def state_of(step, width=64):
    table = jax.random.normal(jax.random.key(step), (300, width))
    return TrainState(jnp.int32(step), {"table": table}, {"m": -table})


def opened(folder, **options):
    return Checkpoints(folder / "checkpoints", metric=METRIC, **options)


@pytest.fixture
def saved(tmp_path):
    """A folder with checkpoints 2, the best, and 4."""
    checkpoints = opened(tmp_path)
    for step in (2, 4):
        checkpoints.save(state_of(step), {"standing": {"best": 0.5}}, {METRIC: 1 / step})
    checkpoints.close()
    return tmp_path


def flip(path, at=0.5):
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


def flip_in_a_tensor(folder, item="params"):
    """In the largest file of the item: there the numbers are."""
    flip(max((folder / item).rglob("*"), key=lambda path: path.stat().st_size))


@pytest.mark.parametrize("dtype", ["float32", "int32", "bfloat16"])
def test_every_flipped_bit_shows_and_one_only_in_its_array(dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    before = fingerprints({"a": jnp.asarray(values), "b": jnp.asarray(values)})
    assert before["a"] == before["b"]
    assert before["a"].startswith(f"{dtype}[2,3] ")
    for bit in range(8 * values.nbytes):
        data = bytearray(values.tobytes())
        data[bit // 8] ^= 1 << bit % 8
        other = np.frombuffer(bytes(data), values.dtype).reshape(2, 3)
        after = fingerprints({"a": jnp.asarray(other), "b": jnp.asarray(values)})
        assert after["a"] != before["a"]
        assert after["b"] == before["b"]


def test_two_changes_of_sign_do_not_cancel():
    table = state_of(0).params["table"]
    assert fingerprints([table.at[jnp.array([3, 70]), 5].multiply(-1)]) != fingerprints([table])


def test_fingerprints_do_not_depend_on_how_an_array_is_split():
    table = state_of(0).params["table"]
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split = jax.device_put(table, NamedSharding(mesh, PartitionSpec("data")))
    assert fingerprints([split]) == fingerprints([table])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("params/manifest.ocdbt", empty),
        ("train/_METADATA", lambda path: path.write_bytes(path.read_bytes()[:-9])),
        ("meta/metadata", empty),
        ("meta/metadata", lambda path: path.write_text(path.read_text().replace("10", "11"))),
    ],
)
def test_a_run_goes_back_to_the_last_whole_checkpoint(tmp_path, capsys, file, damage):
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    expected = Run(tmp_path / "whole").fit()
    first = Run(tmp_path / "parts")
    first.fit(stop_after=5)  # 2 windows a step: its meta says 10 examples
    assert {3, 5} == set(first.checkpoints._manager.all_steps())
    damage(tmp_path / "parts" / "checkpoints" / "5" / file)
    second = Run(tmp_path / "parts")
    assert_same(second.fit(), expected)
    assert second.validated == [3, 4, 5]
    err = capsys.readouterr().err
    assert "5 is damaged" in err
    assert "going back to checkpoint 3 (it is now" in err
    assert [path.name for path in (tmp_path / "parts" / "damaged").iterdir()] == ["5-0"]


@pytest.mark.parametrize("item", ["params", "train"])
def test_a_flipped_bit_in_a_tensor_is_found(saved, capsys, item):
    flip_in_a_tensor(saved / "checkpoints" / "4", item)
    state, _ = opened(saved).restore_latest(state_of(0))
    assert_same(state, state_of(2))
    assert "was saved): going back to checkpoint 2" in capsys.readouterr().err
    assert opened(saved).latest_step() == 2


def test_who_only_reads_goes_to_the_next_best_and_moves_nothing(saved, capsys):
    flip_in_a_tensor(saved / "checkpoints" / "2")
    reader = opened(saved, read_only=True)
    assert reader.best_step() == 2
    step, params = reader.restore_best(state_of(0).params)
    assert step == 4
    assert_same(params, state_of(4).params)
    assert "2 is damaged" in capsys.readouterr().err
    assert {path.name for path in saved.iterdir()} == {"checkpoints"}
    assert {"2", "4"} <= {path.name for path in (saved / "checkpoints").iterdir()}


def test_a_reader_starts_over_where_the_training_removes_what_it_reads(saved, monkeypatch, capsys):
    reader, read = opened(saved, read_only=True), Checkpoints.restore_params

    def removed_meanwhile(checkpoints, step, like):
        if step == 2:
            (saved / "checkpoints" / "2").rename(saved / "removed")
        return read(checkpoints, step, like)

    monkeypatch.setattr(Checkpoints, "restore_params", removed_meanwhile)
    step, params = reader.restore_best(state_of(0).params)
    assert step == 4
    assert_same(params, state_of(4).params)
    assert capsys.readouterr().err == ""


def test_without_a_whole_one_the_run_is_refused_and_all_stays(saved):
    for step in ("2", "4"):
        flip_in_a_tensor(saved / "checkpoints" / step)
    with pytest.raises(UserError, match=r"4 is damaged .* no other is whole: restore"):
        opened(saved).restore_latest(state_of(0))
    assert not (saved / "damaged").exists()
    assert opened(saved).latest_step() == 4


def test_damaged_metrics_are_mended_and_the_best_stays_the_best(saved):
    for step, content in (("2", '{"full/NDCG@10": 0.1}'), ("4", "")):
        (saved / "checkpoints" / step / "metrics" / "metrics").write_text(content)
    assert opened(saved, read_only=True).best_step() == 2
    checkpoints = opened(saved)
    assert checkpoints.best_step() == 2
    assert json.loads((saved / "checkpoints/2/metrics/metrics").read_text()) == {METRIC: 0.5}
    for step in (6, 8):
        checkpoints.save(state_of(step), {}, {METRIC: 0.0})
    checkpoints.close()
    assert opened(saved).best_step() == 2


def test_another_shape_is_refused_with_both(saved):
    words = r"float32\[300,64\] for table, and this one float32\[300,32\]"
    with pytest.raises(UserError, match=words):
        opened(saved).restore_latest(state_of(0, width=32))
    with pytest.raises(UserError, match=r"nothing for other, and this one float32\[3\]"):
        opened(saved).restore_params(4, {"other": jnp.zeros(3)})
    assert opened(saved).latest_step() == 4


def test_what_a_killed_process_left_unfinished_is_removed(saved):
    unfinished = saved / "checkpoints" / "6.orbax-checkpoint-tmp"
    (saved / "checkpoints" / "4").rename(unfinished)
    checkpoints = opened(saved)
    assert checkpoints.latest_step() == 2
    checkpoints.save(state_of(4), {}, None)
    checkpoints.close()
    assert not unfinished.exists()
