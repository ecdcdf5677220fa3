"""The encoder, its loss and its gradients against the float64 reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax.caser import Caser
from bert4rec_jax.encoder import PARTS, Encoder
from bert4rec_jax.losses import LOSSES
from bert4rec_jax.masking import Row, Task
from bert4rec_jax.training.step import Budget, objective_sums
from tests import reference

ITEMS, LENGTH, LAYERS, HEADS = 7, 6, 2, 2
SIZES = {"layers": LAYERS, "heads": HEADS, "mask_id": ITEMS + 1}
MODEL = Encoder(
    items=ITEMS, max_length=LENGTH, hidden=8, layers=LAYERS, heads=HEADS,
    dropout=0.0, attention_dropout=0.0,
)  # fmt: skip

# Two rows: one history and padding; two histories packed. 8 is MASK.
IDS = np.array([[3, 8, 5, 1, 0, 0], [2, 8, 7, 8, 4, 0]], np.int32)
SEGMENTS = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 2, 2, 0]], np.int32)
POSITIONS = np.array([[0, 1, 2, 3, 0, 0], [0, 1, 2, 0, 1, 0]], np.int32)
LABELS = np.array([[3, 4, 5, 1, 0, 0], [2, 6, 7, 1, 4, 0]], np.int32)
WEIGHTS = (IDS == ITEMS + 1).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    """Parameters ten times as large as the initial ones, so that nothing is nearly linear."""

    def everything(module, ids):
        return module.transform(module(ids, ids, ids))

    init = jax.jit(functools.partial(MODEL.init, method=everything))
    tree = init(jax.random.key(0), jnp.asarray(IDS))["params"]
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(0)
    drawn = [rng.normal(1.0 if x.ndim == 1 else 0.0, 0.4, x.shape) for x in leaves]
    return jax.tree.unflatten(structure, [jnp.asarray(x, jnp.float32) for x in drawn])


def in_float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


@functools.partial(jax.jit, static_argnames=("model", "train"))
def apply(model, params, ids, segments, positions, **options):
    return model.apply({"params": params}, ids, segments, positions, **options)


def encode(params, ids=IDS, segments=SEGMENTS, positions=POSITIONS, model=MODEL, **options):
    return np.asarray(apply(model, params, ids, segments, positions, **options))


@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_forward_is_the_references(params, neighbours):
    if neighbours:
        weights = np.random.default_rng(1).normal(1.0, 0.4, (2 * neighbours, 8))
        params = params | {"neighbour_weights": jnp.asarray(weights, jnp.float32)}
    hidden = encode(params, model=MODEL.clone(neighbours=neighbours))
    for row in range(len(IDS)):
        expected = reference.encode(
            in_float64(params), IDS[row], POSITIONS[row], SEGMENTS[row], **SIZES
        )
        real = SEGMENTS[row] > 0
        np.testing.assert_allclose(hidden[row][real], expected[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("without", PARTS)
def test_an_ablation_is_the_references(params, without):
    model = MODEL.clone(without=without)
    hidden = encode(params, model=model)
    for row in range(len(IDS)):
        expected = reference.encode(
            in_float64(params), IDS[row], POSITIONS[row], SEGMENTS[row], without=without, **SIZES
        )
        real = SEGMENTS[row] > 0
        np.testing.assert_allclose(hidden[row][real], expected[real], rtol=1e-4, atol=1e-5)


def test_scores_are_the_references(params):
    hidden = encode(params)[0, 1]
    table, bias = MODEL.apply({"params": params}, method="item_table")
    transformed = MODEL.apply({"params": params}, hidden, method="transform")
    expected = reference.logits(in_float64(params), np.asarray(hidden, np.float64))
    np.testing.assert_allclose(transformed @ table.T + bias, expected, rtol=1e-4, atol=1e-5)
    assert expected.shape == (ITEMS,)  # PAD and MASK have no score


def sums(params, **replaced):
    rows = Row(jnp.asarray(LABELS), jnp.asarray(SEGMENTS), jnp.asarray(POSITIONS), None, None)
    task = Task(jnp.asarray(IDS), jnp.asarray(LABELS), jnp.asarray(WEIGHTS))
    return objective_sums(
        params,
        rows,
        task._replace(**replaced),
        model=MODEL,
        loss=LOSSES["softmax"],
        budgets=[Budget(len(IDS), 2)],
        key=jax.random.key(0),  # of no dropout here
    )


def test_without_projection_the_output_is_the_norm_alone(params):
    hidden = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    model = MODEL.clone(projection=False)
    found = model.apply({"params": params}, hidden, method="transform")
    expected = reference.layer_norm(in_float64(params["output_norm"]), hidden)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def everything(module, ids):
        return module.transform(module(ids, ids, ids))

    made = model.init(jax.random.key(0), jnp.asarray(IDS), method=everything)["params"]
    assert "output_dense" not in made


def test_loss_is_the_references_and_a_ratio_of_sums(params):
    loss_sum, weight_sum = sums(params)
    expected = reference.loss(
        in_float64(params), (IDS, POSITIONS, SEGMENTS), LABELS, WEIGHTS, **SIZES
    )
    np.testing.assert_allclose(loss_sum, expected[0], rtol=1e-5)
    assert float(weight_sum) == expected[1] == 3


def test_gradients_are_the_references_finite_differences(params):
    gradients = jax.jit(jax.grad(lambda p: sums(p)[0]))(params)
    exact = in_float64(params)

    def loss():
        return reference.loss(exact, (IDS, POSITIONS, SEGMENTS), LABELS, WEIGHTS, **SIZES)[0]

    checked = 0
    rng = np.random.default_rng(1)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        leaf = functools.reduce(lambda tree, entry: tree[entry.key], path, exact)
        flat = rng.choice(leaf.size, size=min(4, leaf.size), replace=False)
        places = [np.unravel_index(i, leaf.shape) for i in flat]
        expected = reference.numerical_gradient(loss, leaf, places)
        found = [float(gradient[place]) for place in places]
        # float32 sums of a gradient's terms; those near zero cancel.
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4, err_msg=str(path))
        checked += len(places)
    assert checked > 80


def test_asked_positions_get_what_they_get_among_all(params):
    asked = np.array([[3, 0, 3]] * len(IDS), np.int32)
    expected = np.take_along_axis(encode(params), asked[:, :, None], axis=1)
    some = encode(params, asked=asked)
    np.testing.assert_allclose(some, expected, rtol=1e-5, atol=1e-6)


def test_a_packed_history_gives_what_it_gives_alone(params):
    packed = encode(params)[1]
    alone = np.zeros((1, LENGTH), np.int32)
    alone[0, :2] = IDS[1, 3:5]
    segments, positions = (alone > 0).astype(np.int32), np.arange(LENGTH, dtype=np.int32)[None]
    hidden = encode(params, alone, segments, positions)[0]
    np.testing.assert_allclose(hidden[:2], packed[3:5], rtol=1e-4, atol=1e-5)


def test_what_stands_at_padding_does_not_matter(params):
    other = np.where(SEGMENTS == 0, 4, IDS)
    real = SEGMENTS > 0
    np.testing.assert_array_equal(encode(params, other)[real], encode(params)[real])


def test_attention_goes_to_both_sides(params):
    changed = IDS.copy()
    changed[0, 3] = 2  # the last item of the first row
    moved = np.abs(encode(params, changed) - encode(params))[0].max(axis=1)
    assert (moved[:4] > 1e-4).all()


def test_a_row_of_padding_has_finite_gradients(params):
    def loss(params):
        zeros = jnp.zeros((1, LENGTH), jnp.int32)
        return MODEL.apply({"params": params}, zeros, zeros, zeros).sum()

    assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.jit(jax.grad(loss))(params)))


def test_dropout_acts_in_training_only(params):
    model = MODEL.clone(dropout=0.5, attention_dropout=0.5)
    np.testing.assert_array_equal(encode(params, model=model), encode(params))

    def train(key):
        return encode(params, model=model, train=True, rngs={"dropout": jax.random.key(key)})

    assert np.abs(train(0) - encode(params)).max() > 0.1
    assert np.abs(train(0) - train(1)).max() > 0.1
    np.testing.assert_array_equal(train(0), train(0))


def test_bfloat16_stays_near_float32(params):
    model = MODEL.clone(dtype=jnp.bfloat16)
    hidden = apply(model, params, IDS, SEGMENTS, POSITIONS)
    assert hidden.dtype == jnp.bfloat16
    real = SEGMENTS > 0
    # LayerNorm's outputs are some units large and keep 8 bits; two blocks round many times.
    np.testing.assert_allclose(
        np.asarray(hidden, np.float32)[real], encode(params)[real], atol=0.15
    )


@pytest.mark.parametrize("kind", [Encoder, Caser])
def test_gradients_of_a_frequent_item_add_up_in_float32(kind):
    """Of 2,000 equal rows: in bfloat16 a sum stands still at some 256 times what is added."""
    options = {"neighbours": 0} if kind is Encoder else {}
    exact = kind(items=3, max_length=2, hidden=8, dropout=0.0, **options)
    ids, ones = np.full((2000, 2), 2, np.int32), np.ones((2000, 2), np.int32)
    places = np.tile(np.arange(2, dtype=np.int32), (2000, 1))
    tree = jax.jit(exact.init)(jax.random.key(0), ids[:1], ones[:1], places[:1])["params"]
    tree = jax.tree.map(lambda x: 30 * x, tree)
    direction = jnp.arange(8.0)

    def gradient(model):
        def total(tree):
            return jnp.sum(model.apply({"params": tree}, ids, ones, places) @ direction)

        return jax.jit(jax.grad(total))(tree)["item_embedding"][1]

    found, expected = gradient(exact.clone(dtype=jnp.bfloat16)), gradient(exact)
    assert np.linalg.norm(expected) > 1
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def test_initial_values_are_berts():
    """Normal of deviation 0.02 cut at 0.04; biases 0, LayerNorm 1 and 0."""
    model = Encoder(items=500, max_length=LENGTH)
    tree = jax.jit(model.init)(jax.random.key(0), IDS, SEGMENTS, POSITIONS)["params"]
    table = np.asarray(tree["item_embedding"])
    assert np.abs(table).max() <= 0.04
    # A normal cut at two deviations has 0.8796 of its deviation.
    np.testing.assert_allclose(table.std(), 0.02 * 0.8796, rtol=0.01)
    block = tree["block_0"]
    assert (np.asarray(block["qkv"]["bias"]) == 0).all()
    assert (np.asarray(block["attention_norm"]["scale"]) == 1).all()
