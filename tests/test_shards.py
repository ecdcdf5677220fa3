"""The item table over several devices: lookups, the top k, ranks, and checkpoints of any mesh."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert4rec_jax import Recommender, mesh, shards
from bert4rec_jax.evaluation.scorers import Scorer
from bert4rec_jax.losses import LOSSES, softmax_cross_entropy
from bert4rec_jax.training.checkpoint import Checkpoints
from bert4rec_jax.training.state import TrainState
from bert4rec_jax.vocab import Vocabulary
from tests import ranking_reference as reference
from tests.ranking_cases import PROTOCOLS, make_ranker, random_negatives


def over(where, function, *, in_axes, out_axes=None):
    return mesh.map_over_devices(function, where, in_axes=in_axes, out_axes=out_axes)


def test_rows_and_their_gradients_are_those_of_the_whole_table():
    """5 rows over 4 devices: 2, 2, 1 and none. Row 3 is taken twice, and weighs 1 + 10."""
    table, rows = np.arange(10, dtype=np.float32).reshape(5, 2), np.array([3, 0, 4, 3])

    def look_up(table):
        def weighted(table):
            taken = shards.take_rows(table, rows)
            return (taken * jnp.array([1.0, 2.0, 3.0, 10.0])[:, None]).sum(), taken

        gradient, taken = jax.grad(weighted, has_aux=True)(table)
        return taken, gradient

    padded = shards.pad_rows({"item_embedding": table}, 4)["item_embedding"]
    assert padded.shape == (8, 2)
    taken, gradient = over(
        mesh.make_mesh(1, 4), look_up, in_axes=("model",), out_axes=(None, "model")
    )(padded)
    np.testing.assert_array_equal(taken, [[6, 7], [0, 1], [8, 9], [6, 7]])
    np.testing.assert_array_equal(gradient[:, 0], [2, 0, 0, 11, 3, 0, 0, 0])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_top_k_is_that_of_all_shards(k):
    """Two rows a device, k of 1, of all that a device has, and of more than it has. Equal scores
    stay in the order of rows, and padding comes last."""
    scores = np.array([[3, 9, 9, 1, 5, -np.inf, -np.inf, -np.inf]], np.float32)
    mapped = over(
        mesh.make_mesh(1, 4), lambda x: shards.top_k(x.T, k), in_axes=("model",), out_axes=None
    )
    best, rows = mapped(scores.T)
    assert rows.tolist() == [[1, 2, 4, 0, 3][:k]]
    assert best.tolist() == [[9, 9, 5, 3, 1][:k]]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_and_its_gradients_are_those_of_the_whole_table(name):
    """5 rows over 4 devices: 2, 2, 1 and none, a shard of padding altogether."""
    items = 5
    keys = jax.random.split(jax.random.key(1), 3)
    hidden = jax.random.normal(keys[0], (13, 8))
    labels = jax.random.randint(keys[1], (13,), 1, items + 1)
    tables = {
        "item_embedding": jax.random.normal(keys[2], (items, 8)),
        "output_bias": jnp.linspace(-1.0, 1.0, items),
    }
    options = {} if name == "softmax" else {"items": items}
    options |= {} if name in ("softmax", "bce") else {"negatives": 7}
    options |= {"calibration": 0.75} if name == "gbce" else {}

    def loss(hidden, tables):
        table, bias = tables["item_embedding"], tables["output_bias"]
        bias = shards.bar_padding(bias, items)
        weights = jnp.ones(13).at[5].set(0.0)
        return LOSSES[name](jax.random.key(0), hidden, table, bias, labels, weights, **options)

    gradients = jax.value_and_grad(loss, (0, 1))
    axes = shards.item_axes(tables, 4)
    split = over(
        mesh.make_mesh(1, 4), gradients, in_axes=(None, axes), out_axes=(None, (None, axes))
    )
    value, (d_hidden, d_tables) = split(hidden, shards.pad_rows(tables, 4))
    assert not any(x[items:].any() for x in d_tables.values())
    found = value, (d_hidden, shards.cut_rows(d_tables, items))
    for a, b in zip(
        jax.tree.leaves(found), jax.tree.leaves(jax.jit(gradients)(hidden, tables)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_neither_the_table_nor_its_scores_are_ever_gathered():
    """No array of the compiled lookup, loss and gradients has as many rows as the catalogue."""

    def loss(table, rows):
        hidden = shards.take_rows(table, rows)
        bias = shards.bar_padding(jnp.zeros_like(table[:, 0]), 1009)
        return softmax_cross_entropy(hidden, table, bias, rows + 1, jnp.ones(len(rows)))

    mapped = over(
        mesh.make_mesh(1, 4), jax.value_and_grad(loss), in_axes=("model", None),
        out_axes=(None, "model"),
    )  # fmt: skip
    table, rows = jnp.ones((1012, 8)), jnp.arange(16)
    text = mapped.lower(table, rows).compile().as_text()
    assert re.search(r"\[253,8\]", text)
    assert not re.search(r"[\[,](1009|1012)[\],]", text)
    np.testing.assert_allclose(mapped(table, rows)[0], 16 * np.log(1009), rtol=1e-5)


def table_scorer(items):
    """Scores are rows of a table [n, n] times that of the last item: lookups and scores split."""

    def encode(params, ids, length):
        last = jnp.take_along_axis(ids, length[:, None] - 1, axis=1)[:, 0]
        return shards.take_rows(params["item_embedding"], last - 1)

    def item_table(params):
        return params["item_embedding"], shards.bar_padding(params["output_bias"], items)

    return Scorer(encode, item_table, append_mask=False)


@pytest.mark.parametrize("shape", [(2, 2), (1, 4)])
def test_ranks_and_recommendations_are_those_of_one_device(shape):
    """19 items, whole numbers, so that scores are exact and ties are ties; k beyond a shard."""
    rng = np.random.default_rng(3)
    sequences = reference.random_log(rng, users=13, items=19, longest=9)
    cases, scorer = reference.last_items(sequences), table_scorer(19)
    params = {
        "item_embedding": rng.integers(-2, 3, (19, 3)).astype(np.float32),
        "output_bias": rng.integers(-2, 3, 19).astype(np.float32),
    }
    negatives = random_negatives(rng, sequences, cases)
    where = mesh.make_mesh(*shape)
    padded = shards.pad_rows(params, shape[1])
    axes = shards.item_axes(params, shape[1])
    options = {
        "map_over_devices": functools.partial(
            over, where, in_axes=(axes, "data"), out_axes="data"
        ),
        "sharing": shape,
    }  # fmt: skip
    one = make_ranker(sequences, scorer, batch_size=8)
    split = make_ranker(sequences, scorer, batch_size=8, **options)
    expected = one.ranks(params, cases, negatives), one.top_k(params, cases, 12)
    found = split.ranks(padded, cases, negatives), split.top_k(padded, cases, 12)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    for protocol in PROTOCOLS[:2]:
        alone = make_ranker(sequences, scorer, (protocol,), batch_size=8, **options)
        np.testing.assert_array_equal(
            alone.ranks(padded, cases, negatives)[protocol], expected[0][protocol]
        )


def test_a_recommender_shares_its_table():
    """Items barred and similar are those of the names, wherever their rows lie."""
    items = tuple("abcdefg")
    params = {
        "item_embedding": np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32),
        "output_bias": np.zeros(7, np.float32),
    }
    axes = {"model": shards.item_axes(params, 4), "barred": "model"}
    options = {"vocab": Vocabulary(items), "counts": np.arange(8), "max_length": 3}
    one = Recommender(table_scorer(7), jax.tree.map(jnp.asarray, params), **options)
    split = Recommender(
        table_scorer(7),
        shards.pad_rows(params, 4),
        item_shards=4,
        map_over_devices=functools.partial(over, mesh.make_mesh(1, 4), in_axes=(axes, None)),
        **options,
    )
    for wanted in ({}, {"allow": ["a", "b", "f", "g"]}, {"deny": ["g", "c"], "with_seen": True}):
        found, expected = (
            r.recommend([["a", "b"], ["g"], []], k=7, **wanted) for r in (split, one)
        )
        assert [[x.item for x in row] for row in found] == [[x.item for x in r] for r in expected]
    assert [x.item for x in split.similar_items("a")] == [x.item for x in one.similar_items("a")]


def test_a_checkpoint_of_any_mesh_restores_on_any_other(tmp_path):
    """7 rows: 4 + 4 as saved, and 2 + 2 + 2 + 2, 3 + 3 + 3 or 7 as restored; the moments too."""
    rows = np.arange(1, 15, dtype=np.float32).reshape(7, 2)

    def state(count):
        params = shards.pad_rows({"item_embedding": jnp.asarray(rows), "w": jnp.ones(3)}, count)
        return TrainState(
            jnp.int32(5), params, optax.scale_by_adam().init(params)._replace(mu=params)
        )

    def made(shape):
        axes = shards.item_axes(jax.eval_shape(lambda: state(shape[1])), shape[1])
        return mesh.init_in_place(lambda: state(shape[1]), mesh.make_mesh(*shape), axes=axes)

    checkpoints = Checkpoints(tmp_path, metric="x")
    checkpoints.save(made((2, 2)), {}, None)
    checkpoints.wait()
    for shape, stored in (((1, 4), 8), ((1, 3), 9), ((1, 1), 7)):
        like = made(shape)
        found = checkpoints.restore(5, like=jax.tree.map(jnp.zeros_like, like))
        for one in (found.params, found.opt_state.mu):
            table = one["item_embedding"]
            assert table.sharding.is_equivalent_to(like.params["item_embedding"].sharding, 2)
            np.testing.assert_array_equal(table, np.pad(rows, [(0, stored - 7), (0, 0)]))
            np.testing.assert_array_equal(one["w"], np.ones(3))
        assert shards.count_parameters(found.params, 7) == 7 * 2 + 3
    checkpoints.close()
