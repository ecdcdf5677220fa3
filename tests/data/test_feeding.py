"""The feed gives step's batch for any step; what is read ahead changes nothing."""

import numpy as np
import pytest

from bert4rec_jax.data.feeding import BATCHES_AHEAD, Feed


def test_steps_come_in_any_order_and_none_beyond_the_last_is_read():
    asked = []

    def read(step):
        asked.append(step)
        return np.array([step, 10 * step]), np.array([step + 1])

    feed = Feed(read, steps=12)
    for step in (0, 1, 2, 7, 8, 3, 4, 11, 0):  # on, ahead, back, the last, anew
        pair, single = feed(step)
        assert pair.tolist() == [step, 10 * step]
        assert single.tolist() == [step + 1]
    assert max(asked) == 11


def test_batches_are_read_ahead():
    asked = []
    feed = Feed(lambda step: asked.append(step) or np.array([step]), steps=100)
    for step in range(20):
        assert feed(step)[0] == step
    assert max(asked) >= 20
    assert max(asked) <= 20 + 2 * BATCHES_AHEAD


def test_what_fails_while_reading_ahead_is_raised_at_its_step():
    def read(step):
        if step == 3:
            raise ValueError("step 3")
        return np.array([step])

    feed = Feed(read, steps=6)
    assert [feed(step)[0] for step in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="step 3"):
        feed(3)
