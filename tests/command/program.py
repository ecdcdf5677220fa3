"""Starting the program as its user does, one process a command."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = {
    "model.max_length": 8,
    "model.hidden": 8,
    "model.layers": 1,
    "masking.stride": 4,
    "train.batch_size": 16,
    "train.steps": 12,
    "train.log_every": 1,
    "train.eval_every": 6,
    "eval.batch_size": 16,
}
TINY = ("--config=configs/custom.py", *(f"--config.{k}={v}" for k, v in SETTINGS.items()))


def start(
    cache, *arguments, devices: int = 1, prefix: tuple[str, ...] = (), **variables: str
) -> subprocess.Popen:
    """`cache` has the programs that earlier ones compiled; `variables` go into its environment."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        # The last of a kind counts.
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
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
