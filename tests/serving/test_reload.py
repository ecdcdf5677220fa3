"""When a server looks at the checkpoints again, and what becomes of one that is no good."""

import numpy as np
import pytest

from bert4rec_jax.errors import UserError
from bert4rec_jax.serving import reload
from bert4rec_jax.serving.reload import Reloader
from bert4rec_jax.serving.telemetry import Telemetry


class Loaded:
    def __init__(self, step, retired=(False, False)):
        self.step, self.retired = step, np.array(retired)


class Engine:
    serving = Loaded(6)

    @property
    def step(self):
        return self.serving.step

    def swap(self, fresh):
        if fresh.step == 13:
            raise UserError("scores are NaN")
        self.serving = fresh


@pytest.fixture
def story(tmp_path, monkeypatch):
    """(look, best, loads, said): `best` is what the next load finds, a step or an error."""
    (tmp_path / "checkpoints" / "6").mkdir(parents=True)
    best, loads, said = [6], [], []

    def load(workdir):
        loads.append(workdir)
        if isinstance(best[0], Exception):
            raise best[0]
        return best[0] if isinstance(best[0], Loaded) else Loaded(best[0])

    monkeypatch.setattr(reload.Recommender, "load", load)
    engine, reloader = Engine(), Reloader(tmp_path, say=said.append)
    telemetry = Telemetry(waiting=lambda: 0, step=lambda: engine.step)

    def look(*added):
        for name in added:
            (tmp_path / "checkpoints" / name).mkdir()
        reloader.look(engine, telemetry)
        return engine.step

    return look, best, loads, said


def test_nothing_is_read_until_a_checkpoint_is_finished(story):
    look, best, loads, said = story
    best[0] = 12
    assert look() == 6
    assert look("12.orbax-checkpoint-tmp") == 6
    assert not loads
    assert look("12") == 12
    assert said == ["serving checkpoint 12"]
    assert look() == 12
    assert len(loads) == 1


def test_a_newer_checkpoint_that_is_not_better_changes_nothing(story):
    look, _, loads, said = story
    assert look("12") == look() == 6
    assert (len(loads), said) == (1, [])


def test_items_retired_since_are_taken_up_without_a_newer_checkpoint(story, tmp_path):
    look, best, _, said = story
    (tmp_path / "items.parquet").write_text("written anew")
    best[0] = Loaded(6, retired=(False, True))
    assert look() == look() == 6
    assert said == ["serving checkpoint 6"]


def test_a_bad_checkpoint_is_said_once_and_left(story):
    look, best, _, said = story
    best[0] = 13
    assert look("13") == look() == 6
    assert said == ["still serving checkpoint 6: scores are NaN"]
    best[0] = 14
    assert look("14") == 14


def test_one_that_vanishes_while_it_is_read_is_tried_again(story):
    look, best, _, said = story
    best[0] = FileNotFoundError("gone")
    assert look("12") == 6
    best[0] = 12
    assert look() == 12
    assert said == ["still serving checkpoint 6: gone", "serving checkpoint 12"]


def test_a_folder_that_cannot_be_listed_is_said_and_looked_at_again(story, monkeypatch):
    look, best, _, said = story
    with monkeypatch.context() as patch:

        def fail(self):
            raise PermissionError("denied")

        patch.setattr(Reloader, "_listing", fail)
        assert look() == 6
    best[0] = 12
    assert look("12") == 12
    assert said == ["still serving checkpoint 6: denied", "serving checkpoint 12"]
