"""One step on four devices, whatever mesh they make, is the step on one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert4rec_jax import mesh, shards
from bert4rec_jax.data.batching import Batches
from bert4rec_jax.encoder import Encoder
from bert4rec_jax.losses import LOSSES
from bert4rec_jax.masking import cloze, mask_counts
from bert4rec_jax.mixture import mixed, mixed_counts, rows_at_most
from bert4rec_jax.optimizer import learning_rate_schedule, make_optimizer
from bert4rec_jax.training.state import init_state
from bert4rec_jax.training.step import Budget, make_train_step

ITEMS, LENGTH = 30, 12
LENGTHS = np.array([12, 3, 1, 7, 5, 5, 2, 9, 4, 1, 1, 6, 12, 3], np.int32)
STARTS = np.concatenate([[0], np.cumsum(LENGTHS)[:-1]]).astype(np.int32)
LOG = np.random.default_rng(0).integers(1, ITEMS + 1, LENGTHS.sum()).astype(np.int32)
COUNTS = mask_counts(LENGTH, proportion=0.4, budget=4)
CLOZE = functools.partial(cloze, counts=jnp.asarray(COUNTS), mask_id=ITEMS + 1, last_only_rate=0.2)
MIXED = functools.partial(mixed, cloze=CLOZE, rate=0.4)


def only_cloze(key, row, place):
    return CLOZE(key, row)


@functools.cache  # compiling is what takes the time here
def run(
    devices: int,
    *,
    steps: int = 40,
    packed: bool = True,
    dropout: float = 0.0,
    rows: int = 8,
    descent=False,
    make_task=only_cloze,
    counts=tuple(COUNTS),
    budgets=None,
    loss=LOSSES["softmax"],
    split: int = 1,
    encoder=Encoder,
):
    """(state, sums of each step, programs compiled), from the same seeds.

    `devices` share a batch, and for each of those `split` the item table.
    """
    model = encoder(
        items=ITEMS, max_length=LENGTH, hidden=8, dropout=dropout, attention_dropout=dropout
    )
    optimizer = make_optimizer(
        learning_rate_schedule(learning_rate=0.01, warmup_steps=1, steps=100)
    )
    if descent:
        optimizer = optax.sgd(1.0)
    where = mesh.make_mesh(devices, split)
    init = functools.partial(init_state, model=model, optimizer=optimizer, shards=split)
    axes = shards.item_axes(jax.eval_shape(init, jax.random.key(0)), split)
    state = mesh.init_in_place(init, where, jax.random.key(0), axes=axes)
    # 14 windows in one step: ragged mask counts, and devices with little or nothing.
    batches = Batches(STARTS, LENGTHS, LENGTH, 14, rows, seed=0, packed=packed)
    step = make_train_step(
        model=model,
        optimizer=optimizer,
        make_task=make_task,
        loss=loss,
        budgets=budgets or [Budget(rows // devices, batches.most_predictions(np.array(counts)))],
        key=jax.random.key(1),
    )
    mapped = mesh.map_over_devices(
        step, where, in_axes=(axes, None, "data", "data"), out_axes=(axes, None), donate=(0,)
    )
    log = mesh.put_copied(LOG, where)
    sums = []
    for i in range(steps):
        state, found = mapped(state, log, *mesh.put_split(batches(i), where))
        sums.append(jax.device_get(found))
    return jax.device_get(state), sums, mapped._cache_size()


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_four_devices_do_what_one_does():
    """Same masks, so the same loss, gradients (their norm, and where they lead) and counts."""
    one, one_sums, _ = run(1)
    four, four_sums, _ = run(4)
    assert_close(one_sums[:3], four_sums[:3], rtol=1e-5)
    # Rounding differs, and Adam's division lets it grow from step to step.
    assert_close(one_sums, four_sums, rtol=1e-2)
    assert one.step == four.step == 40


def test_four_devices_have_the_gradients_of_one():
    """Of the very first step: one update of plain descent at rate 1 is the gradient itself."""
    one, _, _ = run(1, steps=1, descent=True)
    four, _, _ = run(4, steps=1, descent=True)
    assert_close(one.params, four.params, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("devices", "split"), [(2, 2), (1, 4)])
def test_a_split_table_has_the_loss_and_gradients_of_the_whole_one(devices, split):
    """Over 4 devices 30 rows are 8, 8, 8 and 6: nothing ever stands in the two that are padding."""
    one, one_sums, _ = run(1, steps=1, descent=True)
    four, four_sums, _ = run(devices, steps=1, descent=True, split=split)
    assert_close(one_sums, four_sums, rtol=1e-5)
    cut = shards.cut_rows(four.params, ITEMS)
    assert_close(one.params, cut, rtol=1e-5, atol=1e-7)
    assert len(four.params["item_embedding"]) == (32 if split == 4 else 30)
    assert not any(four.params[n][ITEMS:].any() for n in ("item_embedding", "output_bias"))


def test_four_devices_read_the_same_rows_left_to_right():
    options = {"make_task": MIXED, "counts": tuple(mixed_counts(LENGTH)), "steps": 3}
    assert_close(run(1, **options)[1], run(4, **options)[1], rtol=1e-5)


def test_what_the_last_block_spares_changes_nothing():
    """Positions that nothing is asked of: left out of the last block, or computed all the same."""
    few = run(1, steps=1, descent=True)
    all_of_them = run(1, steps=1, descent=True, budgets=(Budget(8, LENGTH),))
    assert_close(few[1], all_of_them[1], rtol=1e-5)
    assert_close(few[0].params, all_of_them[0].params, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("devices", [1, 4])
def test_rows_that_ask_little_are_told_from_those_that_ask_much(devices):
    """Of any two rows one is read left to right at most, whatever the device."""
    options = {"make_task": MIXED, "counts": tuple(mixed_counts(LENGTH))}
    options |= {"steps": 1, "descent": True}
    rows, cloze_most = 8 // devices, 5
    ahead = rows_at_most(rows, 0.4)
    apart = run(
        devices, budgets=(Budget(ahead, LENGTH), Budget(rows - ahead, cloze_most)), **options
    )
    together = run(1, budgets=(Budget(8, LENGTH),), **options)
    assert_close(apart[1], together[1], rtol=1e-5)
    assert_close(apart[0].params, together[0].params, rtol=1e-4, atol=1e-6)


def test_packed_rows_do_what_unpacked_rows_do():
    _, packed_sums, _ = run(1)
    _, plain_sums, _ = run(1, packed=False, rows=14)
    for a, b in zip(packed_sums[:3], plain_sums[:3], strict=True):
        assert a["weight"] == b["weight"]
        assert a["examples"] == b["examples"] == 14
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
        np.testing.assert_allclose(a["grad_norm"], b["grad_norm"], rtol=1e-4)


def test_the_step_compiles_once():
    assert run(1)[2] == 1


@pytest.mark.parametrize("devices", [1, 4])
def test_a_run_repeats_itself(devices):
    first, second = run(devices, dropout=0.3), run.__wrapped__(devices, dropout=0.3)
    assert_close(first[:2], second[:2], rtol=0)


def test_an_update_is_left_out_whole_where_one_device_has_no_finite_gradient():
    """As if it had not been, but for the step's number: the batch is behind."""
    dropout_key = jax.random.split(jax.random.fold_in(jax.random.key(1), 0))[1]
    third = jax.random.fold_in(jax.random.fold_in(dropout_key, 2), 0)  # its loss's key

    def loss(key, *arguments):
        hit = (jax.random.key_data(key) == jax.random.key_data(third)).all()
        return LOSSES["softmax"](key, *arguments) * jnp.where(hit, jnp.nan, 1.0)

    before, _, _ = run(4, steps=0)
    after, (sums,), _ = run(4, steps=1, loss=loss)
    assert sums["skipped"] == 1
    assert not np.isfinite(sums["grad_norm"])
    assert after.step == before.step + 1 == 1
    assert_close(after[1:], before[1:], rtol=0)
    assert run(4)[1][0]["skipped"] == 0


def test_a_loss_draws_its_own_on_each_device():
    """With one key for all, the draws of four would sum to four times the first one's."""

    def loss(key, hidden, *_):
        return jax.random.uniform(key) + 0 * hidden.sum()

    (first,), (all_four,) = (run(devices, steps=1, loss=loss)[1] for devices in (1, 4))
    assert abs(all_four["loss"] - 4 * first["loss"]) > 0.1


class Draws(Encoder):
    """Says in place of every hidden state what its dropout key draws first."""

    def __call__(self, ids, *inputs, train=False, asked=None, **options):
        hidden = super().__call__(ids, *inputs, train=train, asked=asked, **options)
        return 0 * hidden + (jax.random.uniform(self.make_rng("dropout")) if train else 0)

    def transform(self, hidden):
        return hidden


def test_dropout_differs_between_devices_and_steps():
    def loss(key, hidden, *_):
        return hidden.reshape(-1)[0]

    one, four = (run(devices, steps=2, loss=loss, encoder=Draws)[1] for devices in (1, 4))
    assert 0 < one[0]["loss"] < 1
    assert abs(one[0]["loss"] - one[1]["loss"]) > 0.01
    assert abs(four[0]["loss"] - 4 * one[0]["loss"]) > 0.1


def test_training_learns():
    _, sums, _ = run(1)
    first, last = (s["loss"] / s["weight"] for s in (sums[0], sums[-1]))
    assert last < first - 0.3
