"""Where compiled programs are kept."""

import jax
import pytest

from bert4rec_jax import compilation

NAMES = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_enable_xla_caches",
)


@pytest.fixture(autouse=True)
def settings_are_put_back():
    before = {name: getattr(jax.config, name) for name in NAMES}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_beside_the_run(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    compilation.keep_beside(tmp_path)
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compilation_cache")


def test_in_the_folder_that_the_environment_names(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    compilation.keep_beside(tmp_path)
    assert jax.config.jax_compilation_cache_dir == before


def test_nowhere_new_where_nothing_can_be_written(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    before = jax.config.jax_compilation_cache_dir
    compilation.keep_beside(tmp_path / "none")
    assert jax.config.jax_compilation_cache_dir == before
