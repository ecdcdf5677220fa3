"""A small model with random parameters, as a Recommender."""

import jax
import jax.numpy as jnp
import numpy as np

from bert4rec_jax import Recommender
from bert4rec_jax.encoder import Encoder
from bert4rec_jax.evaluation.scorers import Scorer, encoder_scorer
from bert4rec_jax.training.state import init_params
from bert4rec_jax.vocab import Vocabulary

N = 30
LENGTH = 8  # with MASK: seven items of a history are seen
ITEMS = tuple(f"i{i}" for i in range(1, N + 1))
COUNTS = np.array([0, *range(100, 100 - N, -1)])
MODEL = Encoder(items=N, max_length=LENGTH, hidden=8, layers=1, heads=2)


def random_params(seed: int):
    shapes = jax.eval_shape(lambda key: init_params(key, model=MODEL), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.6, x.shape), x.dtype), shapes)


def recommender(seed: int = 0, **changes) -> Recommender:
    options = {
        "scorer": encoder_scorer(MODEL, append_mask=True),
        "params": random_params(seed),
        "vocab": Vocabulary(ITEMS),
        "counts": COUNTS,
        "max_length": LENGTH,
        "step": seed,
    }
    return Recommender(**options | changes)


def without_attention() -> Recommender:
    """Scores that are the counts, as the popularity baseline's."""

    def scores(params, items, length):
        return jnp.broadcast_to(params, (len(items), N))

    scorer = Scorer(None, None, append_mask=False, scores=scores)
    return recommender(scorer=scorer, params=jnp.asarray(COUNTS[1:], jnp.float32), step=None)
