"""The id layout: PAD = 0, items 1..n, MASK = n + 1."""

import numpy as np
import pytest

from bert4rec_jax.vocab import PAD, Vocabulary

VOCAB = Vocabulary(("b", "a", "c"))


def test_specials_lie_outside_the_items():
    ids = VOCAB.encode(["b", "a", "c"])
    assert ids.tolist() == [1, 2, 3]
    assert ids.dtype == np.int32
    assert PAD == 0
    assert VOCAB.mask_id == len(VOCAB) + 1 == 4


def test_decode_inverts_encode():
    raw = ["c", "b", "b", "a"]
    assert VOCAB.decode(VOCAB.encode(raw)) == raw


def test_an_unknown_item_becomes_pad():
    assert VOCAB.encode(["a", "nobody's"]).tolist() == [2, PAD]


def test_ids_that_are_numbers_are_found_as_strings():
    assert Vocabulary(("10", "7")).encode([7, 10]).tolist() == [2, 1]


@pytest.mark.parametrize("special", [PAD, VOCAB.mask_id, -1])
def test_specials_cannot_be_decoded(special):
    with pytest.raises(IndexError, match=f"id {special} is not an item"):
        VOCAB.decode([1, special])


def test_the_digest_tells_catalogues_and_their_orders_apart():
    digests = {Vocabulary(items).digest for items in [("a", "b"), ("b", "a"), ("ab",), ("a",)]}
    assert len(digests) == 4
    assert Vocabulary(("b", "a", "c")).digest == VOCAB.digest
