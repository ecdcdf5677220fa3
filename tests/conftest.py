"""The harness: four virtual CPU devices, nothing random, shapes spelled out, warnings as errors.

Warnings become errors in pyproject.toml. The devices have to be asked for before jax is imported.
"""

import atexit
import importlib.util
import os
import pathlib
import shutil
import tempfile
import types
from collections.abc import Callable

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
).strip()

# Compiling is most of what the tests do. XLA's own passes all run, LLVM's expensive ones do not,
# and what one test has compiled another one reads. A process has a folder of its own: JAX's writes
# to it are not atomic.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jaxlib.version

if jaxlib.version.__version_info__ < (0, 12):
    # Where there is a choice, fusions by the emitters that take a third of the time to compile.
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# A compilation inside an example takes as long as it takes: no deadline.
hypothesis.settings.register_profile(
    "deterministic", derandomize=True, deadline=None, database=None, max_examples=50
)
hypothesis.settings.load_profile("deterministic")


def pytest_xdist_auto_num_workers(config) -> int:
    """Two processes for the whole suite, none for what is named: starting them takes seconds."""
    return 2 if config.args_source == config.ArgsSource.TESTPATHS else 0


def pytest_collection_modifyitems(items):
    """The longest files early, so that neither process waits for the other at the end."""
    items.sort(key=lambda item: item.path.parent.name not in ("command", "training"))


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of the canonical logs beside the checkout; the test is skipped without it."""
    folder = pathlib.Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no canonical logs at {folder}")
    return folder


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], types.ModuleType]:
    """A file of scripts/ as a module: `load_script("results")`."""

    def load(name):
        path = pathlib.Path(__file__).parents[1] / "scripts" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"{name}_script", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
