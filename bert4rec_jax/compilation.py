"""Where compiled programs are kept."""

import os
import pathlib
import warnings

import jax


def keep_beside(workdir: pathlib.Path) -> None:
    """Keep compiled programs beside the run, so that the next start does not compile again.

    The folder that the environment variable JAX_COMPILATION_CACHE_DIR names is kept instead.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    if os.access(workdir, os.W_OK):
        # One that cannot be written costs the next start time, and is no fault of this run.
        warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation")
        jax.config.update("jax_compilation_cache_dir", str(workdir / "compilation_cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        # Else the folder's own path is part of every key, and a copied workdir compiles anew.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
