"""Where compiled programs are kept."""

import os
import pathlib

import jax


def keep_beside(workdir: pathlib.Path) -> None:
    """Keep compiled programs beside the run, so that the next start does not compile again."""
    if os.access(workdir, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(workdir / "compilation_cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
