"""The recurrent models against loops in numpy and Flax's own cells."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax import gru4rec
from bert4rec_jax.gru4rec import GRU4Rec
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

SIZES = {"items": ITEMS, "max_length": LENGTH, "hidden": WIDTH, "layers": 2}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def run_gru(layer, x):
    h, out = np.zeros(WIDTH), []
    for item in x:
        a = np.split(reference.dense(layer["input"], item), 3)
        b = np.split(h @ layer["recurrent_kernel"], 3)
        reset, update = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        h = update * h + (1 - update) * np.tanh(a[2] + reset * b[2])
        out.append(h)
    return np.array(out)


def run_lstm(layer, x):
    h, c, out = np.zeros(WIDTH), np.zeros(WIDTH), []
    for item in x:
        gates = reference.dense(layer["input"], item) + h @ layer["recurrent_kernel"]
        write, forget, candidate, output = np.split(gates, 4)
        c = sigmoid(forget) * c + sigmoid(write) * np.tanh(candidate)
        h = sigmoid(output) * np.tanh(c)
        out.append(h)
    return np.array(out)


class Recurrent(LeftToRight):
    loop = None

    def test_forward_is_the_loops(self, params):
        hidden = encode(self.model, params)
        exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
        for row, part in histories():
            x = exact["item_embedding"][IDS[row, part] - 1]
            for layer in range(2):
                x = type(self).loop(exact[f"recurrent_{layer}"], x)
            np.testing.assert_allclose(hidden[row, part], x, rtol=1e-4, atol=1e-5)
            transformed = self.model.apply(
                {"params": params}, hidden[row, part], method="transform"
            )
            wanted = reference.dense(exact["output_dense"], x)
            np.testing.assert_allclose(transformed, wanted, rtol=1e-4, atol=1e-5)

    def test_the_table_is_the_input_embedding(self, params):
        table, bias = self.model.apply({"params": params}, method="item_table")
        np.testing.assert_array_equal(table, params["item_embedding"])
        np.testing.assert_array_equal(bias, params["output_bias"])


class TestGRU(Recurrent):
    model = GRU4Rec(**SIZES, dropout=0.0)
    dropping = GRU4Rec(**SIZES, dropout=0.5)
    loop = run_gru


class TestLSTM(Recurrent):
    model = GRU4Rec(**SIZES, cell="lstm", dropout=0.0)
    dropping = GRU4Rec(**SIZES, cell="lstm", dropout=0.5)
    loop = run_lstm


@pytest.mark.parametrize(
    ("step", "cell", "gates", "vectors"),
    [(gru4rec.gru, nn.GRUCell, "rzn", 1), (gru4rec.lstm, nn.LSTMCell, "ifgo", 2)],
)
def test_a_step_is_that_of_flaxs_cell(step, cell, gates, vectors):
    """Flax adds a bias within the GRU's reset gate, which starts at 0 and is 0 here."""
    cell = cell(features=5)
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (3, 4))
    state = [jax.random.normal(key, (3, 5)) for key in keys[1 : 1 + vectors]]
    # Flax carries an LSTM's state as (c, h).
    carry = state[0] if vectors == 1 else (state[1], state[0])
    variables = cell.init(keys[3], carry, x)
    kernels = variables["params"]
    inputs = jnp.concatenate([x @ kernels[f"i{gate}"]["kernel"] for gate in gates], axis=1)
    product = jnp.concatenate([state[0] @ kernels[f"h{gate}"]["kernel"] for gate in gates], axis=1)
    found = step(state, inputs, product)
    carry, h = cell.apply(variables, carry, x)
    np.testing.assert_allclose(found[0], h, rtol=1e-5, atol=1e-6)
    if vectors == 2:
        np.testing.assert_allclose(found[1], carry[0], rtol=1e-5, atol=1e-6)


def test_recurrent_kernels_start_orthogonal_gate_by_gate():
    tree = GRU4Rec(**SIZES).init(jax.random.key(0), IDS, SEGMENTS, POSITIONS)["params"]
    gates = np.split(np.asarray(tree["recurrent_0"]["recurrent_kernel"]), 3, axis=1)
    for gate in gates:
        np.testing.assert_allclose(gate @ gate.T, np.eye(WIDTH), atol=1e-5)
    assert np.abs(gates[0] - gates[1]).max() > 0.1
