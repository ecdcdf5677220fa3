"""--mode=prepare, and training on what it made."""

import json

from tests.command.program import TINY, losses, run


def test_training_on_the_prepared_log_is_training_on_the_log(trained, log, cache, tmp_path):
    folder = tmp_path / "prepared"
    options = (*TINY, "--mode=prepare", f"--config.data.path={log}", f"--output={folder}")
    done = run(cache, *options)
    assert done.returncode == 0, done.stderr
    assert "40 users, 150 items" in done.stderr
    workdir = tmp_path / "run"
    done = run(cache, *TINY, f"--config.data.path={folder}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert losses(workdir) == losses(trained[0])
    ours, theirs = (json.loads((x / "results.json").read_text()) for x in (workdir, trained[0]))
    for part in ("dataset", "valid", "test", "breakdown", "recommendations"):
        assert ours[part] == theirs[part]


def test_without_a_place_to_write_the_user_is_asked_for_one(log, cache):
    done = run(cache, *TINY, "--mode=prepare", f"--config.data.path={log}")
    assert done.returncode == 2
    assert done.stderr == "error: --mode=prepare needs --output=FOLDER, where to write\n"
