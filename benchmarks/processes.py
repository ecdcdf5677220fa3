"""One training by 1, 2 and 4 processes: whether they do the same, and what it costs.

    python benchmarks/processes.py [--processes=1,2,4] [--devices=4] [--steps=200] [--json=FILE]

Each run is main.py on the generated log, with as many virtual CPU devices in all, shared evenly
by the processes, which talk over this machine's loopback. So all runs have the same mesh, draw the
same masks and dropout, and must print the same losses. Printed are the windows a second, the median
of the log points, and the largest relative difference of a log point's loss from the first run's.
The devices share this machine's cores: the rates say what talking through sockets costs here, and
nothing of a cluster.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile

import harness

LOG_EVERY = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", default="1,2,4", help="the first one is compared with")
    parser.add_argument("--devices", type=int, default=4, help="of all processes together")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", help="a file for everything that was measured")
    options = parser.parse_args()
    numbers = [int(number) for number in options.processes.split(",")]
    if any(options.devices % number for number in numbers):
        parser.error(f"--devices={options.devices} cannot be shared evenly by {options.processes}")
    found = {"machine": harness.machine(), "steps": options.steps, "runs": {}}
    lines = [", ".join(f"{key} {value}" for key, value in found["machine"].items()), ""]
    lines += ["| processes x devices | windows/s | loss differs by at most |", "|---|---|---|"]
    first = None
    for processes in numbers:
        print(f"{processes} processes", file=sys.stderr)
        points = run(processes, options.devices // processes, options.steps)
        losses = [point["loss"] for point in points]
        first = first or losses
        differs = max(abs(a / b - 1) for a, b in zip(losses, first, strict=True))
        rate = statistics.median(point["examples_per_second"] for point in points)
        found["runs"][processes] = {"windows_per_second": rate, "differs": differs}
        lines.append(
            f"| {processes} x {options.devices // processes} | {rate:.0f} | {differs:.1e} |"
        )
    harness.finish(found, "\n".join(lines), options.json)


def run(processes: int, devices: int, steps: int) -> list[dict]:
    """The log points of a training by so many processes with so many devices each."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(harness.ROOT / "main.py"), f"--workdir={folder}/run"]
        command += [f"--config.train.steps={steps}", f"--config.train.eval_every={steps}"]
        command += [f"--config.train.log_every={LOG_EVERY}", "--config.eval.users=500"]
        with socket.create_server(("127.0.0.1", 0)) as free:
            place = f"127.0.0.1:{free.getsockname()[1]}"
        started = []
        for number in range(processes):
            joined = ["--distributed", f"--coordinator={place}", f"--processes={processes}"]
            joined += [f"--process_id={number}"]
            started.append(
                subprocess.Popen(
                    command + (joined if processes > 1 else []),
                    env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                    stdout=subprocess.DEVNULL,
                )
            )
        if any([process.wait() for process in started]):
            raise SystemExit(f"{processes} processes: one has failed, see above")
        lines = pathlib.Path(folder, "run", "metrics.jsonl").read_text().splitlines()
    return [point for point in map(json.loads, lines) if point["split"] == "train"]


if __name__ == "__main__":
    main()
