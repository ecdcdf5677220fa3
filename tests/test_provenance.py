"""Which commit and which versions a figure is of."""

import pathlib
import shutil
import subprocess

import flax
import jax
import numpy
import optax

from bert4rec_jax import provenance


def test_installed_within_another_checkout_the_commit_is_unknown(tmp_path, monkeypatch):
    def git(*arguments):
        author = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", *author, *arguments], cwd=tmp_path, check=True, capture_output=True)

    installed = tmp_path / ".venv" / "bert4rec_jax" / "provenance.py"
    installed.parent.mkdir(parents=True)
    shutil.copy(pathlib.Path(provenance.__file__), installed)
    (tmp_path / ".gitignore").write_text(".venv\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "theirs")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.machine()["commit"] == "unknown"
    git("add", "--force", ".venv")
    git("commit", "-m", "ours")
    assert len(provenance.machine()["commit"]) >= 7


def test_versions_are_those_of_the_libraries_in_use():
    found = provenance.machine()
    for library in (jax, flax, optax, numpy):
        assert found[library.__name__] == library.__version__
