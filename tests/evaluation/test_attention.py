import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert4rec_jax.data.sequences import Cases, Sequences
from bert4rec_jax.encoder import Encoder
from bert4rec_jax.evaluation import attention
from bert4rec_jax.evaluation.attention import attention_of_cases, average_attention
from bert4rec_jax.vocab import Vocabulary
from tests import reference

ITEMS, LENGTH, LAST, LAYERS, HEADS = 9, 7, 4, 2, 2
MODEL = Encoder(
    items=ITEMS, max_length=LENGTH, hidden=8, layers=LAYERS, heads=HEADS,
    dropout=0.5, attention_dropout=0.5,
)  # fmt: skip
LENGTHS = np.array([4, 7, 2, 5, 4], np.int32)


@pytest.fixture(scope="module")
def params():
    ids = jnp.zeros((1, LENGTH), jnp.int32)
    tree = jax.jit(MODEL.init)(jax.random.key(0), ids, ids, ids)
    assert set(tree) == {"params"}  # what is kept for the asking is no part of the state
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.6, x.shape), x.dtype), tree["params"])


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(1)
    rows = rng.integers(1, ITEMS + 1, (len(LENGTHS), LENGTH)).astype(np.int32)
    rows[np.arange(len(rows)), LENGTHS - 1] = ITEMS + 1
    rows[np.arange(LENGTH) >= LENGTHS[:, None]] = 0
    return rows


def slow_probabilities(params, history):
    """Attention of one history in every layer and head, float64 [layers, heads, len, len]."""
    embedded = [
        (params["mask_embedding"] if item == ITEMS + 1 else params["item_embedding"][item - 1])
        + params["position_embedding"][place]
        for place, item in enumerate(history)
    ]
    x = reference.layer_norm(params["embedding_norm"], np.stack(embedded))
    found = []
    for layer in range(LAYERS):
        block = params[f"block_{layer}"]
        q, k, _ = np.split(reference.dense(block["qkv"], x), 3, axis=-1)
        size = q.shape[-1] // HEADS
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            found.append(reference.softmax(q[:, own] @ k[:, own].T / size**0.5))
        attended = x + reference.attention(block, x, heads=HEADS)
        x = reference.layer_norm(block["attention_norm"], attended)
        x = reference.layer_norm(block["feed_forward_norm"], x + reference.feed_forward(block, x))
    return np.reshape(found, (LAYERS, HEADS, len(history), len(history)))


def test_it_is_the_slow_mean_over_the_users_who_fill_the_positions(params, items):
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    full = [row[:length] for row, length in zip(items, LENGTHS, strict=True) if length >= LAST]
    assert len(full) == 4
    expected = np.mean([slow_probabilities(exact, h)[:, :, -LAST:, -LAST:] for h in full], axis=0)
    found = average_attention(MODEL, params, items, LENGTHS, last=LAST)
    assert found.shape == (LAYERS, HEADS, LAST, LAST)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_rows_sum_to_one_where_nothing_lies_before(params, items):
    exactly = LENGTHS == LAST
    found = average_attention(MODEL, params, items[exactly], LENGTHS[exactly], last=LAST)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    longer = average_attention(MODEL, params, items[[1]], LENGTHS[[1]], last=LAST)
    assert (longer.sum(axis=-1) < 1).all()


def test_batches_make_no_difference(params, items, monkeypatch):
    whole = average_attention(MODEL, params, items, LENGTHS, last=LAST)
    monkeypatch.setattr(attention, "_BATCH_SIZE", 3)
    parts = average_attention(MODEL, params, items, LENGTHS, last=LAST)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_nobody_long_enough_gives_none(params, items):
    assert average_attention(MODEL, params, items, LENGTHS, last=LENGTH + 1) is None


class Fake:
    """Keeps attention of known values, or none."""

    def __init__(self, layers):
        self.layers = layers

    def apply(self, variables, items, segments, positions, *, mutable):
        batch, length = items.shape
        kept = {
            f"block_{layer}": {"attention": (jnp.full((batch, 1, length, length), layer / 10),)}
            for layer in range(self.layers)
        }
        return items, {mutable[0]: kept} if kept else {}


def test_layers_come_in_order_and_a_model_without_attention_gives_none(items):
    found = average_attention(Fake(12), {}, items, LENGTHS, last=LAST)
    np.testing.assert_allclose(found[:, 0, 0, 0], np.arange(12) / 10, rtol=1e-6)
    assert average_attention(Fake(0), {}, items, LENGTHS, last=LAST) is None


def test_cases_are_spread_evenly_and_end_before_the_true_item(params, monkeypatch):
    users, each = 6, 5
    log = Sequences(
        name="toy",
        items=np.tile(np.arange(1, each + 1, dtype=np.int32), users),
        offsets=np.arange(users + 1, dtype=np.int64) * each,
        users=tuple(f"u{u}" for u in range(users)),
        vocab=Vocabulary(tuple(f"i{i}" for i in range(ITEMS))),
        times=None,
    )
    cases = Cases(np.arange(users, dtype=np.int32), np.full(users, each - 1, np.int64))
    seen = []

    def record(model, params, items, length):
        seen.append((items, length))

    monkeypatch.setattr(attention, "average_attention", record)
    attention_of_cases(MODEL, params, log, cases, append_mask=True, most_users=3)
    attention_of_cases(MODEL, params, log, cases, append_mask=False)
    (few, few_lengths), (every, _) = seen
    assert few.tolist() == [[1, 2, 3, 4, ITEMS + 1, 0, 0]] * 3
    assert few_lengths.tolist() == [5] * 3
    assert every.tolist() == [[1, 2, 3, 4, 0, 0]] * users  # and one place less than N


@pytest.mark.parametrize("alone", [True, False], ids=["asked alone", "among all"])
def test_what_the_last_input_attends_to(params, items, alone):
    """Averaged over layers and heads; the last block may have computed that position only."""
    places = np.tile(np.arange(LENGTH, dtype=np.int32), (len(items), 1))
    segments = (places < LENGTHS[:, None]).astype(np.int32)
    asked = jnp.asarray(LENGTHS - 1)[:, None] if alone else None
    _, kept = MODEL.apply(
        {"params": params}, items, segments, places, asked=asked, mutable=["intermediates"]
    )
    found = attention.attention_of_last(kept["intermediates"], jnp.asarray(LENGTHS))
    slow_params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    for row, history, length in zip(np.asarray(found), items, LENGTHS, strict=True):
        wanted = slow_probabilities(slow_params, history[:length])[:, :, -1].mean(axis=(0, 1))
        np.testing.assert_allclose(row[:length], wanted, atol=1e-5)
        assert not row[length:].any()


def test_a_model_without_attention_has_none_to_show():
    assert attention.attention_of_last({}, jnp.asarray(LENGTHS)) is None
