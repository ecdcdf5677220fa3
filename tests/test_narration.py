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


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("users", 100, "eval.users was 500000"),
        ("negatives", "drawn.parquet", "eval.negatives was ''"),
    ],
)
def test_a_run_judged_on_something_else_says_that_its_validations_do_not_compare(key, value, words):
    before = default.get_config()
    now = before.copy_and_resolve_references()
    now.eval[key] = value
    line = narration.resuming(pathlib.Path("runs/mine"), 9, now.to_dict(), before.to_dict())
    assert line.startswith(f"resuming runs/mine at step 9; {words}: the validations so far")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, []),
        ({"optimizer.warmup_steps": 50, "train.steps": 51}, []),
        ({"optimizer.warmup_steps": 50, "train.steps": 50}, ["warmup_steps 50 of train.steps 50"]),
        ({"masking.proportion": 0.6}, ["masking.budget 40 items of a window"]),  # .6 of 200 are 120
        ({"masking.proportion": 0.6, "model.max_length": 67}, []),  # 40.2, which is 40
        ({"masking.proportion": 0.6, "model.name": "sasrec"}, []),  # masks nothing
    ],
)
def test_settings_that_keep_others_from_their_effect_are_named(settings, words):
    config = default.get_config()
    config.update_from_flattened_dict(settings)
    lines = narration.what_falls_short(config)
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))
