"""Several processes as one run, on the collectives of this machine's loopback."""

import contextlib
import os
import signal
import socket
import subprocess
import time

import pytest

from tests.command.program import TINY, losses, new_workdir, run, start

# Without what each device draws for itself, and without a rate that falls towards train.steps.
PLAIN = ("--config.train.packed=False", "--config.model.dropout=0.0")
PLAIN += ("--config.model.attention_dropout=0.0", "--config.optimizer.schedule=constant")


def start_all(cache, *command, processes: int, devices: int = 1) -> list[subprocess.Popen]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = ("--distributed", f"--coordinator=127.0.0.1:{port}", f"--processes={processes}")
    return [
        start(cache, *command, *shared, f"--process_id={i}", devices=devices)
        for i in range(processes)
    ]


def start_as_slurm_does(cache, *command, processes: int) -> list[subprocess.Popen]:
    """One node; JAX takes the port 61440 + SLURM_JOB_ID % 4096."""
    for job in range(os.getpid() % 4096, 8192):
        with contextlib.suppress(OSError), socket.create_server(("", 61440 + job % 4096)):
            break
    shared = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost"}
    shared |= {"SLURM_NTASKS": str(processes), "SLURM_STEP_NUM_NODES": "1"}
    return [
        start(cache, *command, "--distributed", SLURM_PROCID=str(i), SLURM_LOCALID=str(i), **shared)
        for i in range(processes)
    ]


def ends(processes, *, seconds: float = 300) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each."""
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def figures(stdout: str) -> str:
    """Without what the library of the collectives prints of itself."""
    return "".join(x for x in stdout.splitlines(keepends=True) if not x.startswith("[Gloo]"))


def wait_for_steps(workdir, processes, count: int) -> None:
    metrics = workdir / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= count):
        assert processes[0].poll() is None, processes[0].communicate()[1]
        time.sleep(0.01)


@pytest.fixture(scope="module")
def alone(log, cache, tmp_path_factory):
    """One process with one device."""
    workdir = new_workdir(tmp_path_factory.mktemp("alone") / "run", cache)
    done = run(cache, *TINY, *PLAIN, f"--config.data.path={log}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done


def check(alone, log, cache, workdir, ended) -> None:
    """That four devices of several processes have done what one process did alone."""
    first, *others = ended
    assert first[0] == 0, first[2]
    assert losses(workdir) == pytest.approx(losses(alone[0]), rel=1e-5)
    assert "4 x cpu" in first[2]
    for code, out, err in others:
        assert (code, figures(out)) == (0, ""), err
        assert "step" not in err
    judged = run(
        cache, "--mode=evaluate", f"--workdir={workdir}", f"--config.data.path={log}",
        "--config.mesh.model=1",
    )  # fmt: skip
    assert figures(first[1]) == judged.stdout


def test_two_processes_with_a_split_table(alone, log, cache, workdir):
    command = (*TINY, *PLAIN, f"--config.data.path={log}", f"--workdir={workdir}")
    command += ("--config.mesh.model=2",)
    check(alone, log, cache, workdir, ends(start_all(cache, *command, processes=2, devices=2)))


def test_four_processes_of_slurm_on_a_prepared_log(alone, log, cache, workdir, tmp_path):
    folder = tmp_path / "prepared"
    prepare = ("--mode=prepare", f"--config.data.path={log}", f"--output={folder}")
    assert run(cache, *TINY, *prepare).returncode == 0
    command = (*TINY, *PLAIN, f"--config.data.path={folder}", f"--workdir={workdir}")
    check(alone, log, cache, workdir, ends(start_as_slurm_does(cache, *command, processes=4)))


def test_a_signal_to_one_a_kill_of_another_and_other_numbers_of_processes(
    alone, log, cache, workdir
):
    """Two processes stop together; of four, one is killed and the others say so; one finishes."""
    command = (*TINY, *PLAIN, f"--config.data.path={log}", f"--workdir={workdir}")
    two = start_all(cache, *command, processes=2)
    wait_for_steps(workdir, two, 3)
    two[1].send_signal(signal.SIGTERM)
    for code, _, err in ends(two):
        assert code == 0, err
    four = start_all(cache, *command, "--config.train.steps=100000", processes=4)
    wait_for_steps(workdir, four, 30)
    four[2].kill()
    for number, (code, _, err) in enumerate(ends(four, seconds=60)):
        if number != 2:
            assert code == 2, err
            assert "error: process 2 of 4 has ended" in err
            assert "Traceback" not in err
    reached = max(losses(workdir))
    done = run(cache, *command, f"--config.train.steps={reached + 2}")
    assert done.returncode == 0, done.stderr
    assert f"resuming {workdir} at step {reached // 6 * 6}" in done.stderr
    found, expected = losses(workdir), losses(alone[0])
    assert sorted(found) == list(range(1, reached + 3))
    assert [found[step] for step in expected] == pytest.approx(list(expected.values()), rel=1e-4)
