"""What every left-to-right model promises; a test class inherits these and names its model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert4rec_jax import mesh, shards
from bert4rec_jax.data.batching import Batches
from bert4rec_jax.losses import LOSSES
from bert4rec_jax.next_item import next_counts, next_item
from bert4rec_jax.optimizer import learning_rate_schedule, make_optimizer
from bert4rec_jax.training.state import init_state
from bert4rec_jax.training.step import Budget, make_train_step

ITEMS, LENGTH, WIDTH = 7, 8, 6
# Two rows: one history and padding; two histories packed, the second one longer than a window of 3.
IDS = np.array([[3, 6, 5, 1, 0, 0, 0, 0], [2, 3, 7, 5, 4, 1, 6, 0]], np.int32)
SEGMENTS = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 2, 2, 2, 2, 2, 0]], np.int32)
POSITIONS = np.array([[0, 1, 2, 3, 0, 0, 0, 0], [0, 1, 0, 1, 2, 3, 4, 0]], np.int32)
REAL = SEGMENTS > 0


@functools.cache
def random_params(model):
    """Parameters larger than the initial ones, so that nothing is nearly linear."""
    init = functools.partial(init_state, model=model, optimizer=optax.identity())
    tree = jax.eval_shape(init, jax.random.key(0)).params
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(0)
    drawn = [jnp.asarray(rng.normal(0.2, 0.5, x.shape), jnp.float32) for x in leaves]
    return jax.tree.unflatten(structure, drawn)


@functools.partial(jax.jit, static_argnames=("model", "train"))
def apply(model, params, ids, segments, positions, **options):
    return model.apply({"params": params}, ids, segments, positions, **options)


def encode(model, params, ids=IDS, segments=SEGMENTS, positions=POSITIONS, **options):
    return np.asarray(apply(model, params, ids, segments, positions, **options))


def histories():
    """(row, slice of the row) of the three histories."""
    return [(0, slice(0, 4)), (1, slice(0, 2)), (1, slice(2, 7))]


class LeftToRight:
    """`model` has no dropout; `dropping` is the same model with much; `reach` is how many items
    back it looks."""

    model = None
    dropping = None
    reach = LENGTH

    @pytest.fixture
    def params(self):
        return random_params(self.model)

    def test_a_change_reaches_later_positions_of_its_history_only(self, params):
        before = encode(self.model, params)
        for row, place in np.argwhere(REAL):
            changed = IDS.copy()
            changed[row, place] = IDS[row, place] % ITEMS + 1
            moved = np.abs(encode(self.model, params, changed) - before).max(axis=2) > 1e-6
            expected = np.zeros_like(moved)
            same = np.flatnonzero(SEGMENTS[row] == SEGMENTS[row, place])
            expected[row, [i for i in same if place <= i < place + self.reach]] = True
            np.testing.assert_array_equal(moved & REAL, expected)

    def test_a_packed_history_gives_what_it_gives_alone(self, params):
        packed = encode(self.model, params)
        for row, part in histories():
            alone = np.zeros((1, LENGTH), np.int32)
            length = part.stop - part.start
            alone[0, :length] = IDS[row, part]
            positions = np.where(alone > 0, np.arange(LENGTH, dtype=np.int32)[None], 0)
            hidden = encode(self.model, params, alone, (alone > 0).astype(np.int32), positions)
            np.testing.assert_allclose(hidden[0, :length], packed[row, part], rtol=1e-4, atol=1e-5)

    def test_the_evaluators_positions_give_the_same(self, params):
        """It counts positions on through the padding."""
        positions = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), IDS[:1].shape)
        hidden = encode(self.model, params, IDS[:1], SEGMENTS[:1], positions)
        expected = encode(self.model, params)[0, :4]
        np.testing.assert_allclose(hidden[0, :4], expected, rtol=1e-5, atol=1e-6)

    def test_what_stands_at_padding_does_not_matter(self, params):
        other = np.where(REAL, IDS, 4)
        np.testing.assert_array_equal(
            encode(self.model, params, other)[REAL], encode(self.model, params)[REAL]
        )

    def test_scores_have_a_row_an_item(self, params):
        variables = {"params": params}
        hidden = self.model.apply(variables, IDS, SEGMENTS, POSITIONS)
        assert hidden.shape == (*IDS.shape, WIDTH)
        table, bias = self.model.apply(variables, method="item_table")
        transformed = self.model.apply(variables, hidden[0, 1], method="transform")
        assert transformed.shape == (WIDTH,)
        assert (table.shape, bias.shape) == ((ITEMS, WIDTH), (ITEMS,))
        np.testing.assert_allclose(
            self.model.apply(variables, hidden, method="transform")[0, 1], transformed, rtol=1e-5
        )

    def test_asked_positions_get_what_they_get_among_all(self, params):
        asked = np.array([[3, 0, 3]] * len(IDS), np.int32)
        expected = np.take_along_axis(encode(self.model, params), asked[:, :, None], axis=1)
        some = encode(self.model, params, asked=asked)
        np.testing.assert_allclose(some, expected, rtol=1e-5, atol=1e-6)

    def test_a_row_of_padding_has_finite_gradients(self, params):
        def loss(params):
            zeros = jnp.zeros((1, LENGTH), jnp.int32)
            hidden = self.model.apply({"params": params}, zeros, zeros, zeros)
            return self.model.apply({"params": params}, hidden, method="transform").sum()

        assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.jit(jax.grad(loss))(params)))

    def test_dropout_acts_in_training_only(self, params):
        plain = encode(self.model, params)
        np.testing.assert_array_equal(encode(self.dropping, params), plain)

        def train(model, key):
            return encode(model, params, train=True, rngs={"dropout": jax.random.key(key)})

        np.testing.assert_array_equal(train(self.model, 0), plain)
        assert np.abs(train(self.dropping, 0) - plain).max() > 0.1
        assert np.abs(train(self.dropping, 0) - train(self.dropping, 1)).max() > 0.1
        np.testing.assert_array_equal(train(self.dropping, 0), train(self.dropping, 0))

    def test_bfloat16_stays_near_float32(self, params):
        half = self.model.clone(dtype=jnp.bfloat16)
        hidden = apply(half, params, IDS, SEGMENTS, POSITIONS)
        assert hidden.dtype == jnp.bfloat16
        plain = encode(self.model, params)[REAL]
        distance = np.abs(np.asarray(hidden, np.float32)[REAL] - plain).max()
        assert distance < 0.05 * np.abs(plain).max()

    def test_four_devices_do_what_one_does_and_it_learns(self):
        """Next items of walks round a ring, three steps apart: the step as it stands.

        The four are a mesh of 2 x 2, over which 7 rows are 4 and 3.
        """
        one, four = train(self.model, 1), train(self.model, 2, split=2)
        np.testing.assert_allclose(one[:3], four[:3], rtol=1e-4)
        assert one[0] > 1.5
        assert one[-1] < 0.3


def train(model, devices, split=1, steps=40):
    """Mean losses of a few steps on a small log."""
    lengths = np.array([8, 3, 1, 7, 5, 5, 2, 8, 4, 1, 1, 6], np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32)
    log = np.concatenate([(s + 3 * np.arange(n)) % ITEMS + 1 for s, n in enumerate(lengths)])
    optimizer = make_optimizer(
        learning_rate_schedule(learning_rate=0.02, warmup_steps=1, steps=2 * steps)
    )
    where = mesh.make_mesh(devices, split)
    init = functools.partial(init_state, model=model, optimizer=optimizer, shards=split)
    axes = shards.item_axes(jax.eval_shape(init, jax.random.key(0)), split)
    state = mesh.init_in_place(init, where, jax.random.key(0), axes=axes)
    rows = 8
    batches = Batches(starts, lengths, LENGTH, len(lengths), rows, seed=0)
    step = make_train_step(
        model=model,
        optimizer=optimizer,
        make_task=lambda key, row, place: next_item(key, row),
        loss=LOSSES["softmax"],
        budgets=[Budget(rows // devices, batches.most_predictions(next_counts(LENGTH)))],
        key=jax.random.key(1),
    )
    mapped = mesh.map_over_devices(
        step, where, in_axes=(axes, None, "data", "data"), out_axes=(axes, None), donate=(0,)
    )
    log = mesh.put_copied(log.astype(np.int32), where)
    losses = []
    for i in range(steps):
        state, sums = mapped(state, log, *mesh.put_split(batches(i), where))
        assert float(sums["weight"]) == (lengths - 1).sum()
        losses.append(float(sums["loss"]) / float(sums["weight"]))
    return losses
