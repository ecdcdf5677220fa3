"""Several commands at once, each in a process of its own that has its share of the machine."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from bert4rec_jax.console import say


def run_all(
    commands: Mapping[str, Sequence[str]], count: int, folder: pathlib.Path
) -> dict[str, int]:
    """Run all, `count` at a time in their order, and say as each ends.

    The cores are shared out among those `count`, and the memory of a GPU is taken as it is needed.
    A SIGTERM or Ctrl-C here is handed on, and waited for.

    Args:
        commands: name -> the arguments after the interpreter's.
        folder: where what NAME prints becomes NAME.log, behind what is there.

    Returns:
        Name -> exit code, negative for a signal; those that were not started are absent.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = len(cores) // count  # 0: more commands than cores, which then go wherever one is free
    free = [cores[i * share : (i + 1) * share] for i in range(count)]
    running, codes = {}, {}
    waiting, started = list(commands), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and free:
                name, own = waiting.pop(0), free.pop(0)
                running[name] = (own, _start(commands[name], own, folder / f"{name}.log"))
            time.sleep(0.2)
            for name, (own, process) in list(running.items()):
                if (code := process.poll()) is None:
                    continue
                del running[name]
                free.append(own)
                codes[name] = code
                how = "done" if code == 0 else f"ended with code {code}"
                minutes = (time.monotonic() - started) / 60
                say(f"{name}: {how} ({len(codes)} of {len(commands)}, {minutes:.1f} minutes)")
    finally:
        for _, process in running.values():
            process.send_signal(signal.SIGTERM)
        for name, (_, process) in running.items():
            codes[name] = process.wait()
    return codes


def _start(command: Sequence[str], cores: Sequence[int], log: pathlib.Path) -> subprocess.Popen:
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | os.environ
    with log.open("a", encoding="utf-8") as file, _on(cores):
        return subprocess.Popen(
            [sys.executable, *command], env=environment, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for the parent, who hands it on once
        )  # fmt: skip


@contextlib.contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """What is started here has these cores from its first moment on; with none, all."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
