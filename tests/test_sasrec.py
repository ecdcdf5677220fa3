"""SASRec against a plain numpy reference, history by history."""

import jax
import numpy as np

from bert4rec_jax.masking import Row
from bert4rec_jax.next_item import next_item
from bert4rec_jax.sasrec import SASRec
from tests import reference
from tests.left_to_right import (
    IDS,
    ITEMS,
    LENGTH,
    POSITIONS,
    SEGMENTS,
    WIDTH,
    LeftToRight,
    encode,
    histories,
)

SIZES = {"items": ITEMS, "max_length": LENGTH, "hidden": WIDTH, "layers": 2, "heads": 2}


def attention(block, queries, x, heads):
    """Position by position: softmax over the positions up to its own."""
    q, k, v = (reference.dense(block[name], y) for name, y in (("q", queries), ("k", x), ("v", x)))
    size = x.shape[1] // heads
    out = np.zeros_like(x)
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for i in range(len(x)):
            similarity = k[: i + 1, own] @ q[i, own] / np.sqrt(size)
            out[i, own] = reference.softmax(similarity) @ v[: i + 1, own]
    return out


def encode_history(params, items, *, layers, heads):
    """The forward pass of the authors' model.py, items [length] -> hidden before the last norm."""
    width = params["item_embedding"].shape[1]
    x = params["item_embedding"][items - 1] * np.sqrt(width)
    x = x + params["position_embedding"][: len(items)]
    for layer in range(layers):
        block = params[f"block_{layer}"]
        queries = reference.layer_norm(block["attention_norm"], x)
        x = queries + attention(block, queries, x, heads)
        x = reference.layer_norm(block["feed_forward_norm"], x)
        inner = np.maximum(reference.dense(block["feed_forward_in"], x), 0)
        x = x + reference.dense(block["feed_forward_out"], inner)
    return x


class TestSASRec(LeftToRight):
    model = SASRec(**SIZES, dropout=0.0, attention_dropout=0.0)
    dropping = SASRec(**SIZES, dropout=0.5, attention_dropout=0.5)

    def test_forward_is_the_references(self, params):
        hidden = encode(self.model, params)
        exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
        for row, part in histories():
            expected = encode_history(exact, IDS[row, part], layers=2, heads=2)
            np.testing.assert_allclose(hidden[row, part], expected, rtol=1e-4, atol=1e-4)
            transformed = self.model.apply(
                {"params": params}, hidden[row, part], method="transform"
            )
            wanted = reference.layer_norm(exact["output_norm"], expected)
            np.testing.assert_allclose(transformed, wanted, rtol=1e-4, atol=1e-4)

    def test_scores_are_products_with_the_unscaled_input_embedding(self, params):
        table, bias = self.model.apply({"params": params}, method="item_table")
        np.testing.assert_array_equal(table, params["item_embedding"])
        np.testing.assert_array_equal(bias, np.zeros(ITEMS))

    def test_each_dropout_acts_by_itself(self, params):
        plain = encode(self.model, params)
        for rates in ((0.5, 0.0), (0.0, 0.5)):
            model = SASRec(**SIZES, dropout=rates[0], attention_dropout=rates[1])
            dropped = encode(model, params, train=True, rngs={"dropout": jax.random.key(0)})
            assert np.abs(dropped - plain).max() > 0.1

    def test_initial_tables_are_tensorflows(self):
        """Glorot's uniform law, sqrt(6 / (n + d)), whose deviation is its bound over sqrt(3)."""
        model = SASRec(items=500, max_length=LENGTH)
        tree = jax.jit(model.init)(jax.random.key(0), IDS, SEGMENTS, POSITIONS)["params"]
        bound = np.sqrt(6 / (500 + 64))
        assert np.abs(tree["item_embedding"]).max() <= bound
        np.testing.assert_allclose(np.std(tree["item_embedding"]), bound / np.sqrt(3), rtol=0.02)

    def test_with_berts_initial_values_items_start_as_large_as_positions(self):
        """A normal of 0.02 cut at two deviations, which leaves 0.02 * 0.8796, whatever the rows."""
        model = SASRec(items=5000, max_length=LENGTH, kernel_init="bert")
        tree = jax.jit(model.init)(jax.random.key(0), IDS, SEGMENTS, POSITIONS)["params"]
        for table in ("item_embedding", "position_embedding"):
            assert np.abs(tree[table]).max() <= 0.04
            np.testing.assert_allclose(np.std(tree[table]), 0.02 * 0.8796, rtol=0.05)

    def test_the_last_place_of_a_full_window_never_learns(self, params):
        """Why the evaluator shows one item fewer than a window holds."""
        ids = np.arange(LENGTH, dtype=np.int32)[None] % ITEMS + 1
        places = np.arange(LENGTH, dtype=np.int32)[None]
        lengths = np.full_like(places, LENGTH)
        row = Row(*(x[0] for x in (ids, places * 0 + 1, places, lengths, lengths)))
        weights = next_item(jax.random.key(0), row).weights[None, :, None]

        def loss(params):
            variables = {"params": params}
            hidden = self.model.apply(variables, ids, places * 0 + 1, places)
            return (weights * self.model.apply(variables, hidden, method="transform") ** 3).sum()

        gradient = np.abs(jax.jit(jax.grad(loss))(params)["position_embedding"]).max(axis=1)
        assert (gradient[:-1] > 1e-4).all()
        assert gradient[-1] == 0

    def test_the_attention_it_shows_is_causal_and_sums_to_1(self, params):
        _, kept = self.model.apply(
            {"params": params}, IDS, SEGMENTS, POSITIONS, mutable=["intermediates"]
        )
        for block in ("block_0", "block_1"):
            (probabilities,) = kept["intermediates"][block]["attention"]
            assert probabilities.shape == (2, 2, LENGTH, LENGTH)
            own = np.swapaxes(probabilities, 1, 2)[SEGMENTS > 0]  # [items, heads, N]
            np.testing.assert_allclose(own.sum(axis=-1), 1, rtol=1e-5)
            assert (np.triu(probabilities[0], 1)[:, :4] == 0).all()
