"""Starting the program as its user does, one process a command."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
TINY = (
    "--config=configs/custom.py",
    "--config.model.max_length=8",
    "--config.model.hidden=8",
    "--config.model.layers=1",
    "--config.masking.stride=4",
    "--config.train.batch_size=16",
    "--config.train.steps=12",
    "--config.train.log_every=1",
    "--config.train.eval_every=6",
    "--config.eval.batch_size=16",
)


def start(
    cache, *arguments, devices: int = 1, prefix: tuple[str, ...] = (), **variables: str
) -> subprocess.Popen:
    """`cache` has the programs that earlier ones compiled; `variables` go into its environment."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",  # else a copied cache is of no use
        **variables,
    }
    return subprocess.Popen(
        [*prefix, sys.executable, "main.py", *arguments],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(
    cache, *arguments, devices: int = 1, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess:
    process = start(cache, *arguments, devices=devices, prefix=prefix)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def losses(workdir) -> dict[int, float]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {x["step"]: x["loss"] for x in lines if x["split"] == "train"}
