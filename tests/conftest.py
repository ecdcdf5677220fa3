"""The harness: four virtual CPU devices, nothing random, shapes spelled out, warnings as errors.

Warnings become errors in pyproject.toml. The devices have to be asked for before jax is imported.
"""

import os
import pathlib

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
).strip()

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# A compilation inside an example takes as long as it takes: no deadline.
hypothesis.settings.register_profile(
    "deterministic", derandomize=True, deadline=None, database=None, max_examples=50
)
hypothesis.settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of the canonical logs beside the checkout; the test is skipped without it."""
    folder = pathlib.Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no canonical logs at {folder}")
    return folder
