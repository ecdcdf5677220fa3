"""What a run says of itself."""

import pathlib

import pytest

from bert4rec_jax import narration
from configs import default


@pytest.mark.parametrize(
    ("steps", "schedule", "rest"),
    [
        (400_000, "linear", ""),
        (800_000, "constant", ""),
        (
            800_000,
            "linear",
            ", of 400000 when it was saved: the learning rate is from here that of a run of 800000",
        ),
    ],
)
def test_a_longer_run_says_that_its_learning_rate_goes_up_again(steps, schedule, rest):
    before = default.get_config()
    before.optimizer.schedule = schedule
    now = before.copy_and_resolve_references()
    now.train.steps = steps
    line = narration.resuming(pathlib.Path("runs/mine"), 9, now.to_dict(), before.to_dict())
    assert line == f"resuming runs/mine at step 9{rest}"
