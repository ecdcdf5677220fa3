"""The reference against values worked out by hand, so that it can be trusted as one."""

import gzip
import math

import numpy as np
import pytest

from tests import reference

LN3 = math.log(3)
IDENTITY_NORM = {"scale": np.ones(2), "bias": np.zeros(2)}


def zeros_dense(inputs: int, outputs: int) -> dict:
    return {"kernel": np.zeros((inputs, outputs)), "bias": np.zeros(outputs)}


def toy(layers: int = 1) -> dict:
    """Two items of two dimensions; attention and feed-forward add nothing until a test says so.

    LayerNorm of two numbers leaves only which is larger, (1, -1) or (-1, 1), so that every hidden
    vector can be followed by hand.
    """
    block = {
        "qkv": zeros_dense(2, 6),
        "attention_out": zeros_dense(2, 2),
        "attention_norm": IDENTITY_NORM,
        "feed_forward_in": zeros_dense(2, 8),
        "feed_forward_out": zeros_dense(8, 2),
        "feed_forward_norm": IDENTITY_NORM,
    }
    return {
        "item_embedding": np.array([[3.0, 1.0], [1.0, 4.0]]),
        "mask_embedding": np.array([0.0, 2.0]),
        "position_embedding": np.array([[0.0, 0.0], [0.0, 5.0], [9.0, 0.0]]),
        "embedding_norm": IDENTITY_NORM,
        "output_dense": zeros_dense(2, 2),
        "output_norm": IDENTITY_NORM,
        "output_bias": np.zeros(2),
    } | {f"block_{i}": reference.tree_map(np.copy, block) for i in range(layers)}


def random_params(*, items: int, row_length: int, hidden: int, layers: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)

    def dense(inputs: int, outputs: int) -> dict:
        return {
            "kernel": rng.normal(size=(inputs, outputs), scale=0.3),
            "bias": rng.normal(size=outputs, scale=0.3),
        }

    def norm() -> dict:
        return {"scale": 1 + rng.normal(size=hidden) / 5, "bias": rng.normal(size=hidden) / 5}

    blocks = {
        f"block_{layer}": {
            "qkv": dense(hidden, 3 * hidden),
            "attention_out": dense(hidden, hidden),
            "attention_norm": norm(),
            "feed_forward_in": dense(hidden, 4 * hidden),
            "feed_forward_out": dense(4 * hidden, hidden),
            "feed_forward_norm": norm(),
        }
        for layer in range(layers)
    }
    return {
        "item_embedding": rng.normal(size=(items, hidden)),
        "mask_embedding": rng.normal(size=hidden),
        "position_embedding": rng.normal(size=(row_length, hidden)),
        "embedding_norm": norm(),
        **blocks,
        "output_dense": dense(hidden, hidden),
        "output_norm": norm(),
        "output_bias": rng.normal(size=items),
    }


def test_gelu_is_x_times_the_normal_distribution_function():
    found = reference.gelu(np.array([0.0, 1.0, -1.0, 2.0]))
    # From a printed table: 0.5, 0.841345, 0.158655 and 0.977250.
    np.testing.assert_allclose(found, [0.0, 0.841345, -0.158655, 1.954500], atol=1e-6)


def test_layer_norm_divides_by_the_population_deviation():
    params = {"scale": np.array([2.0, 2.0, 1.0]), "bias": np.array([0.0, 1.0, 0.0])}
    # Mean 4, variance (9 + 0 + 9) / 3 = 6.
    found = reference.layer_norm(params, np.array([1.0, 4.0, 7.0]))
    np.testing.assert_allclose(found, [-6 / math.sqrt(6), 1.0, 3 / math.sqrt(6)], rtol=1e-12)


def test_layer_norm_of_a_constant_is_its_bias():
    found = reference.layer_norm({"scale": np.ones(2), "bias": np.array([5.0, 6.0])}, np.ones(2))
    np.testing.assert_array_equal(found, [5.0, 6.0])


def test_attention_averages_values_by_softmax():
    block = {
        "qkv": {"kernel": np.array([[LN3, 1.0, 4.0]]), "bias": np.zeros(3)},
        "attention_out": {"kernel": np.array([[2.0]]), "bias": np.array([1.0])},
    }
    # x = (0, 1): the second position's query is ln 3, the keys are (0, 1), so its softmax is
    # (1/4, 3/4); the first's query is 0, so its softmax is (1/2, 1/2). The values are (0, 4).
    found = reference.attention(block, np.array([[0.0], [1.0]]), heads=1)
    np.testing.assert_allclose(found, [[2 * 2 + 1], [2 * 3 + 1]], rtol=1e-12)


def test_attention_scales_by_the_root_of_the_head_size_not_of_the_hidden_size():
    kernel = np.zeros((8, 24))
    kernel[0, 0] = 2 * LN3  # q of head 0
    kernel[0, 8] = 1.0  # k of head 0
    kernel[0, 16] = 4.0  # v of head 0
    block = {
        "qkv": {"kernel": kernel, "bias": np.zeros(24)},
        "attention_out": {"kernel": np.eye(8), "bias": np.zeros(8)},
    }
    x = np.zeros((2, 8))
    x[1, 0] = 1.0
    # Two heads of size 4: 2 ln 3 / sqrt(4) = ln 3, as above.
    found = reference.attention(block, x, heads=2)
    np.testing.assert_allclose(found[:, 0], [2.0, 3.0], rtol=1e-12)
    np.testing.assert_array_equal(found[:, 1:], np.zeros((2, 7)))


def test_each_head_takes_its_own_columns():
    kernel = np.zeros((2, 6))
    kernel[0] = [LN3, 0.0, 1.0, 0.0, 4.0, 8.0]  # x0 -> q, k and v of head 0, and v of head 1
    block = {
        "qkv": {"kernel": kernel, "bias": np.zeros(6)},
        "attention_out": {"kernel": np.eye(2), "bias": np.zeros(2)},
    }
    # Head 0 as above; head 1 has no query, so it averages its values (0, 8).
    found = reference.attention(block, np.array([[0.0, 0.0], [1.0, 0.0]]), heads=2)
    np.testing.assert_allclose(found, [[2.0, 4.0], [3.0, 4.0]], rtol=1e-12)


def test_feed_forward_is_dense_gelu_dense():
    block = {
        "feed_forward_in": {"kernel": np.array([[1.0, -1.0, 0.0, 0.0]]), "bias": np.zeros(4)},
        "feed_forward_out": {"kernel": np.ones((4, 1)), "bias": np.array([10.0])},
    }
    # gelu(1) + gelu(-1) is the normal mass within one deviation, 68.27 %.
    found = reference.feed_forward(block, np.array([[1.0]]))
    np.testing.assert_allclose(found, [[10.682689]], atol=1e-6)


def test_embeddings_are_item_plus_position_then_norm():
    # 3,1 + 0,0; 3,1 + 0,5; MASK 0,2 + 9,0: the larger of the two numbers becomes 1.
    hidden = reference.encode(toy(), [1, 1, 3], [0, 1, 2], [1, 1, 1], layers=0, heads=1, mask_id=3)
    np.testing.assert_allclose(hidden, [[1, -1], [-1, 1], [1, -1]], rtol=1e-10)


@pytest.mark.parametrize("sublayer", ["attention_out", "feed_forward_out"])
def test_a_sublayer_adds_to_what_it_was_given(sublayer):
    params = toy()
    encode = {"layers": 1, "heads": 1, "mask_id": 3}
    # (1, -1) + (1, 2) = (2, 1) stays (1, -1); the sublayer alone would turn it round.
    params["block_0"][sublayer]["bias"][:] = [1.0, 2.0]
    hidden = reference.encode(params, [1], [0], [1], **encode)
    np.testing.assert_allclose(hidden, [[1, -1]], rtol=1e-10)
    # (1, -1) + (1, 4) = (2, 3) does turn round.
    params["block_0"][sublayer]["bias"][:] = [1.0, 4.0]
    hidden = reference.encode(params, [1], [0], [1], **encode)
    np.testing.assert_allclose(hidden, [[-1, 1]], rtol=1e-10)


def test_the_norm_comes_last_in_a_block():
    params = toy()
    params["block_0"]["feed_forward_norm"] = {"scale": np.full(2, 5.0), "bias": np.full(2, 7.0)}
    hidden = reference.encode(params, [1], [0], [1], layers=1, heads=1, mask_id=3)
    np.testing.assert_allclose(hidden, [[12.0, 2.0]], rtol=1e-10)


def test_histories_packed_in_a_row_do_not_see_each_other_or_the_padding():
    params = random_params(items=6, row_length=8, hidden=4, layers=2)
    settings = {"layers": 2, "heads": 2, "mask_id": 7}
    first = reference.encode(params, [5, 7, 2], [0, 1, 2], [1, 1, 1], **settings)
    second = reference.encode(params, [1, 7], [0, 1], [1, 1], **settings)
    packed = reference.encode(
        params,
        [5, 7, 2, 1, 7, 0, 0, 0],
        [0, 1, 2, 0, 1, 5, 6, 7],
        [1, 1, 1, 2, 2, 0, 0, 0],
        **settings,
    )
    np.testing.assert_array_equal(packed[:3], first)
    np.testing.assert_array_equal(packed[3:5], second)
    assert np.isnan(packed[5:]).all()


def test_padding_inside_a_history_is_an_error():
    with pytest.raises(ValueError, match="id 0 inside a history"):
        reference.encode(toy(), [0], [0], [1], layers=1, heads=1, mask_id=3)


def two_item_softmax() -> dict:
    """Whatever the row, item 1 is predicted with probability 3/4 and item 2 with 1/4."""
    params = toy()
    params["item_embedding"] = np.array([[LN3, 8.0], [0.0, 8.0]])
    params["output_norm"] = {"scale": np.zeros(2), "bias": np.array([1.0, 0.0])}
    return params


def test_loss_sums_over_the_weighted_positions_of_the_batch():
    items = positions = np.array([[1, 2, 0], [1, 0, 0]])
    segments = np.array([[1, 1, 0], [1, 0, 0]])
    labels = np.array([[1, 2, 0], [2, 0, 0]])
    weights = np.array([[1, 1, 0], [1, 0, 0]])
    found = reference.loss(
        two_item_softmax(),
        (items, positions, segments),
        labels,
        weights,
        layers=1,
        heads=1,
        mask_id=3,
    )
    np.testing.assert_allclose(found, [math.log(4 / 3) + 2 * math.log(4), 3.0], rtol=1e-12)


def test_output_bias_shifts_the_logits():
    params = two_item_softmax()
    params["output_bias"] = np.array([0.0, LN3])  # now both are ln 3
    scores = reference.logits(params, np.array([0.3, -0.1]))
    np.testing.assert_allclose(reference.cross_entropy(scores, 2), math.log(2), rtol=1e-12)


def test_output_transform_is_dense_gelu_norm():
    params = toy()
    params["output_dense"] = {"kernel": np.array([[1.0, 0.0], [0.0, 1.0]]), "bias": np.ones(2)}
    params["output_norm"] = {"scale": np.array([1.0, 3.0]), "bias": np.array([0.0, 1.0])}
    # (-4, -2) + 1 = (-3, -1), whose gelu (-0.004, -0.159) has the first the larger: norm (1, -1).
    found = reference.transform(params, np.array([-4.0, -2.0]))
    np.testing.assert_allclose(found, [1.0, -2.0], rtol=1e-9)


def test_numerical_gradient_of_a_square():
    x = np.array([[3.0, -2.0], [0.5, 1.0]])
    found = reference.numerical_gradient(lambda: float((x**2).sum()), x, [(0, 0), (0, 1)], 1e-4)
    np.testing.assert_allclose(found, [6.0, -4.0], rtol=1e-9)
    np.testing.assert_array_equal(x, [[3.0, -2.0], [0.5, 1.0]])


def test_numerical_gradient_of_the_loss_in_the_output_bias_is_softmax_minus_label():
    params = two_item_softmax()
    row = ([[1]], [[0]], [[1]])

    def loss() -> float:
        return reference.loss(params, row, [[1]], [[1.0]], layers=1, heads=1, mask_id=3)[0]

    found = reference.numerical_gradient(loss, params["output_bias"], [0, 1], 1e-5)
    np.testing.assert_allclose(found, [3 / 4 - 1, 1 / 4], rtol=1e-8)


def test_numerical_gradient_refuses_what_would_round_away():
    with pytest.raises(ValueError, match="float32"):
        reference.numerical_gradient(lambda: 0.0, np.zeros(1, np.float32), [0])


@pytest.mark.parametrize(
    ("bias_correction", "decays", "expected"),
    [
        # m = 0.1 * 0.2 = 0.02; v = 0.001 * 0.04 = 4e-5, its root 0.00632455532.
        # 0.02 / 0.00632555532 = 3.16177773; 2 - 0.5 * 3.16177773 = 0.41911113.
        (False, False, 0.41911113),
        # The decay takes another 0.5 * 0.01 * 2.
        (False, True, 0.40911113),
        # Corrected, m is 0.2 and v is 0.04: 0.2 / 0.200001 = 0.999995.
        (True, False, 1.5000025),
        (True, True, 1.4900025),
    ],
)
def test_one_adam_step_by_hand(bias_correction, decays, expected):
    zeros = {"w": np.zeros(1)}
    params, m, v = reference.adamw_step(
        {"w": np.array([2.0])},
        {"w": np.array([0.2])},
        zeros,
        zeros,
        0,
        learning_rate=0.5,
        bias_correction=bias_correction,
        decay_mask={"w": decays},
    )
    np.testing.assert_allclose(params["w"], [expected], rtol=1e-7)
    np.testing.assert_allclose([m["w"][0], v["w"][0]], [0.02, 4e-5], rtol=1e-12)


def test_a_second_adam_step_corrects_by_the_second_powers():
    # The same gradient twice: m = 0.19 g and v = 0.001999 g^2, corrected to g and g^2 exactly.
    params, _, _ = reference.adamw_step(
        {"w": np.array([2.0])},
        {"w": np.array([0.2])},
        {"w": np.array([0.02])},
        {"w": np.array([4e-5])},
        1,
        learning_rate=0.5,
        bias_correction=True,
        decay_mask={"w": False},
    )
    np.testing.assert_allclose(params["w"], [1.5000025], rtol=1e-7)


def test_gradients_are_clipped_by_their_norm_all_together():
    zeros = {"a": np.zeros(1), "b": {"c": np.zeros(1)}}
    settings = {
        "learning_rate": 1.0,
        "bias_correction": False,
        "decay_mask": {"a": False, "b": {"c": False}},
    }
    long = {"a": np.array([6.0]), "b": {"c": np.array([8.0])}}  # norm 10, halved to 5
    _, m, v = reference.adamw_step(zeros, long, zeros, zeros, 0, **settings)
    np.testing.assert_allclose([m["a"], m["b"]["c"]], [[0.3], [0.4]], rtol=1e-12)
    np.testing.assert_allclose([v["a"], v["b"]["c"]], [[0.009], [0.016]], rtol=1e-12)
    short = {"a": np.array([0.3]), "b": {"c": np.array([0.4])}}  # norm 0.5, left alone
    _, m, _ = reference.adamw_step(zeros, short, zeros, zeros, 0, **settings)
    np.testing.assert_allclose([m["a"], m["b"]["c"]], [[0.03], [0.04]], rtol=1e-12)


def test_decay_spares_biases_and_norms_only():
    mask = reference.decay_mask(toy())
    kept = {
        "item_embedding": True,
        "mask_embedding": True,
        "position_embedding": True,
        "embedding_norm": {"scale": False, "bias": False},
        "output_bias": False,
    }
    assert {key: mask[key] for key in kept} == kept
    assert mask["block_0"]["qkv"] == {"kernel": True, "bias": False}
    assert mask["block_0"]["attention_norm"] == {"scale": False, "bias": False}


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (50, 0.5), (99, 0.99), (100, 0.9), (500, 0.5), (1000, 0.0), (1001, 0.0)],
)
def test_learning_rate_warms_up_then_falls_on_a_line_from_step_0(step, expected):
    found = reference.learning_rate(step, peak=1.0, warmup=100, total=1000)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("length", "proportion", "budget", "expected"),
    [
        (200, 0.2, 40, 40),
        (200, 0.2, 20, 20),  # ml-20m: the budget halves the rate
        (50, 0.6, 30, 30),
        (18, 0.2, 40, 4),  # 3.6
        (12, 0.2, 40, 2),  # 2.4
        (25, 0.1, 40, 3),  # 2.5 goes up, where Python 3's round goes to the even 2
        (5, 0.1, 40, 1),  # 0.5
        (1, 0.2, 40, 1),
    ],
)
def test_cloze_counts(length, proportion, budget, expected):
    assert reference.cloze_counts(length, proportion, budget) == expected


@pytest.mark.parametrize(
    ("length", "starts"),
    [(1, [0]), (200, [0]), (201, [1, 0]), (400, [200, 100, 0]), (450, [250, 150, 50, 0])],
)
def test_windows_are_laid_from_the_end_and_reach_the_start(length, starts):
    found = reference.windows(length, 200, 100)
    assert found == [(start, min(start + 200, length)) for start in starts]


@pytest.mark.parametrize(
    ("name", "row_length", "stride", "expected"),
    [("ml-1m", 200, 100, 10_272), ("beauty", 50, 5, 41_738)],
)
def test_windows_of_the_canonical_logs_number_as_in_the_original(
    shared_data, name, row_length, stride, expected
):
    with gzip.open(shared_data / f"{name}.txt.gz") as log:
        users = np.loadtxt(log, dtype=np.int64, usecols=0)
    # The original trains on all but the test item.
    lengths = np.bincount(users)[1:] - 1
    found = sum(len(reference.windows(int(length), row_length, stride)) for length in lengths)
    assert found == expected
