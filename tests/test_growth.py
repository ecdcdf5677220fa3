"""More rows for more items."""

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax.growth import NOISE, grow

PARAMS = {
    "item_embedding": jnp.array([[1.0, 0.0], [3.0, 4.0]]),
    "output_bias": jnp.array([0.5, -0.25]),
    "dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)},
}


def like(items):
    return PARAMS | {
        "item_embedding": jax.ShapeDtypeStruct((items, 2), jnp.float32),
        "output_bias": jax.ShapeDtypeStruct((items,), jnp.float32),
    }


def test_old_rows_stay_and_new_ones_are_near_the_mean_each_different_with_the_least_bias():
    grown = grow(PARAMS, like(102), key=jax.random.key(0))
    table = np.asarray(grown["item_embedding"])
    assert (table[:2] == PARAMS["item_embedding"]).all()
    assert (np.abs(table[2:] - [2, 2]) <= 2 * NOISE).all()
    assert len(np.unique(table[2:], axis=0)) == 100
    assert grown["output_bias"].tolist() == [0.5, *[-0.25] * 101]
    assert (grown["dense"]["kernel"] == PARAMS["dense"]["kernel"]).all()


def test_as_many_items_change_nothing():
    same = grow(PARAMS, like(2), key=jax.random.key(0))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), same, PARAMS))
