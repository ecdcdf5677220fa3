"""Caser against explicit loops over windows, filters and offsets."""

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.caser import Caser, last_items
from tests import reference
from tests.left_to_right import (
    IDS,
    ITEMS,
    LENGTH,
    WIDTH,
    LeftToRight,
    encode,
    histories,
    random_params,
)

WINDOW, HORIZONTAL, VERTICAL = 3, 4, 2
SIZES = {
    "items": ITEMS, "max_length": LENGTH, "hidden": WIDTH, "window": WINDOW,
    "horizontal": HORIZONTAL, "vertical": VERTICAL,
}  # fmt: skip


def encode_window(params, window):
    """The authors' forward pass of one window [L, d], the user left out -> [d]."""
    features = []
    for height in range(1, WINDOW + 1):
        kernel = params[f"horizontal_kernel_{height}"]
        for f in range(HORIZONTAL):
            answers = [
                (window[at : at + height] * kernel[:, :, f]).sum()
                + params["horizontal_bias"][height - 1, f]
                for at in range(WINDOW - height + 1)
            ]
            features.append(max(max(0.0, answer) for answer in answers))
    for f in range(VERTICAL):
        for dimension in range(WIDTH):
            sums = sum(
                params["vertical_kernel"][i, f] * window[i, dimension] for i in range(WINDOW)
            )
            features.append(sums + params["vertical_bias"][f])
    return np.maximum(reference.dense(params["output_dense"], np.array(features)), 0)


class TestCaser(LeftToRight):
    model = Caser(**SIZES, dropout=0.0)
    dropping = Caser(**SIZES, dropout=0.5)
    reach = WINDOW

    def test_forward_is_the_loops(self, params):
        hidden = encode(self.model, params)
        exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
        for row, part in histories():
            embedded = exact["item_embedding"][IDS[row, part] - 1]
            padded = np.concatenate([np.zeros((WINDOW - 1, WIDTH)), embedded])
            for i in range(len(embedded)):
                expected = encode_window(exact, padded[i : i + WINDOW])
                found = hidden[row, part][i]
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_the_table_is_one_of_its_own(self, params):
        table, bias = self.model.apply({"params": params}, method="item_table")
        np.testing.assert_array_equal(table, params["output_embedding"])
        np.testing.assert_array_equal(bias, params["output_bias"])


def test_a_window_as_long_as_the_row_or_of_one_item():
    for window in (1, LENGTH):
        model = Caser(**SIZES | {"window": window})
        assert encode(model, random_params(model)).shape == (*IDS.shape, WIDTH)


def test_windows_by_hand():
    """A history of three items and one of two, with a row's padding behind."""
    x = jnp.array([[[1.0], [2.0], [3.0], [4.0], [5.0], [9.0]]])
    positions = jnp.array([[0, 1, 2, 0, 1, 0]])
    assert last_items(x, positions, 3)[0, :, :, 0].tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [0, 0, 4],
        [0, 4, 5],
        [0, 0, 9],
    ]
