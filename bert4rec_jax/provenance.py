"""What a figure depends on beside its config: the code's commit, the libraries, the machine."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess

# Those that the figures come out of.
_LIBRARIES = ("jax", "flax", "optax", "numpy")


def machine() -> dict[str, str | int]:
    """The keys "commit", "cpu" and "cores", and the versions of "python" and of four libraries.

    The commit is that of the checkout which this package lies in: "unknown" outside of one, and
    ending in "-dirty" where files were changed.
    """
    return {
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def _commit() -> str:
    here = pathlib.Path(__file__).resolve()
    try:
        # Installed into an environment, it may lie in a checkout of something else.
        if _git("ls-files", "--error-unmatch", here.name, folder=here.parent).returncode:
            return "unknown"
        found = _git("describe", "--always", "--dirty", folder=here.parents[1])
    except OSError:  # no git
        return "unknown"
    return found.stdout.strip() or "unknown"


def _git(*arguments: str, folder: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)


def _cpu() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()
