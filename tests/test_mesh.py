"""The mesh and what is said of a bad one."""

import types

import jax
import numpy as np
import pytest

from bert4rec_jax import mesh
from bert4rec_jax.errors import UserError


def test_zero_takes_all_devices():
    assert mesh.make_mesh(0).size == jax.device_count() == 4


def test_more_devices_than_there_are():
    with pytest.raises(UserError, match=r"mesh\.data 5 but this machine has 4 devices"):
        mesh.make_mesh(5)


def test_a_mesh_that_does_not_fit_names_its_numbers():
    assert dict(mesh.make_mesh(0, 2).shape) == {"data": 2, "model": 2}
    assert dict(mesh.make_mesh(1, 3).shape) == {"data": 1, "model": 3}
    with pytest.raises(UserError, match=r"mesh\.data 4 x mesh\.model 2 but .* has 4 devices"):
        mesh.make_mesh(4, 2)
    with pytest.raises(UserError, match=r"mesh\.model 3 does not divide the 4 devices"):
        mesh.make_mesh(0, 3)


def test_an_uneven_batch_names_both_numbers():
    with pytest.raises(UserError, match=r"train\.batch_size 30 is not divisible by 4 devices"):
        mesh.check_divisible("train.batch_size", 30, mesh.make_mesh(4))
    mesh.check_divisible("train.batch_size", 32, mesh.make_mesh(4))


def test_split_and_copied_arrays_lie_where_they_should():
    where = mesh.make_mesh(4)
    split = mesh.put_split(np.arange(8), where)
    copied = mesh.put_copied(np.arange(8), where)
    assert [s.data.tolist() for s in split.addressable_shards] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [s.data.tolist() for s in copied.addressable_shards] == [list(range(8))] * 4


def test_gradients_of_copies_are_summed_once():
    """loss = sum over 8 rows of w * x: its gradient is the sum of x, not four times that."""
    where = mesh.make_mesh(4)

    def gradient(w, x):
        def loss(w):
            return mesh.sum_over_devices((mesh.copy_per_device(w) * x).sum())

        return jax.grad(loss)(w)

    mapped = mesh.map_over_devices(gradient, where, in_axes=(None, "data"), out_axes=None)
    assert float(mapped(np.float32(2), np.arange(8, dtype=np.float32))) == 28


def test_a_process_reads_the_rows_of_its_own_devices():
    """Two processes with two devices each; this one, 0, has the second and the fourth."""
    devices = [types.SimpleNamespace(process_index=process) for process in (1, 0, 1, 0)]
    one = types.SimpleNamespace(shape={mesh.DATA: 4}, devices=np.array(devices))
    assert mesh.own_rows(8, one).tolist() == [2, 3, 6, 7]


def test_two_processes_that_share_a_table_both_read_the_rows():
    devices = [types.SimpleNamespace(process_index=process) for process in (0, 1, 2, 3)]
    one = types.SimpleNamespace(shape={mesh.DATA: 2}, devices=np.array(devices).reshape(2, 2))
    assert mesh.own_rows(8, one).tolist() == [0, 1, 2, 3]


def test_all_devices_of_several_processes_take_part(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"mesh\.data 2 but these 2 processes have 4 devices, and"):
        mesh.make_mesh(2)


def test_the_highest_of_one_process_is_its_own():
    assert mesh.highest(np.array([3, 0, -7], np.int32)).tolist() == [3, 0, -7]
