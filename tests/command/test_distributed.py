"""Several devices as one run: of one process, and of several by this machine's loopback."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from tests.command.program import TINY, losses, run, start

# Without what each device draws for itself, and without a rate that falls towards train.steps.
PLAIN = ("--config.train.packed=False", "--config.model.dropout=0.0")
PLAIN += ("--config.model.attention_dropout=0.0", "--config.optimizer.schedule=constant")
WITHOUT_END = ("--config.train.steps=1000000", "--config.train.eval_every=1000000")


def start_all(cache, *command, processes: int, devices: int = 1, own=None) -> list:
    """`own`: what the last one is told beside."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = ("--distributed", f"--coordinator=127.0.0.1:{port}", f"--processes={processes}")
    orders = [(*command, *shared, f"--process_id={i}") for i in range(processes)]
    orders[-1] += (own,) if own else ()
    return [start(cache, *order, devices=devices) for order in orders]


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


@contextlib.contextmanager
def running(workdir, processes, *, lines: int):
    """Once `metrics.jsonl` has so many lines; none of them outlives the block."""
    metrics, until = workdir / "metrics.jsonl", time.monotonic() + 240
    try:
        while not (metrics.exists() and metrics.read_text().count("\n") >= lines):
            assert processes[0].poll() is None, processes[0].communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.01)
        yield
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def alone(log, cache, tmp_path_factory):
    """One process with one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    done = run(cache, *TINY, *PLAIN, f"--config.data.path={log}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done


def check(alone, log, cache, workdir, ended) -> None:
    """That four devices, of one process or several, have done what one device did alone."""
    first, *others = ended
    assert first[0] == 0, first[2]
    assert losses(workdir) == pytest.approx(losses(alone[0]), rel=1e-5)
    assert "4 x cpu" in first[2]
    for code, out, err in others:
        assert (code, out) == (0, ""), err
        assert "step" not in err
    judged = run(
        cache, "--mode=evaluate", f"--workdir={workdir}", f"--config.data.path={log}",
        "--config.mesh.model=1",
    )  # fmt: skip
    assert first[1] == judged.stdout


def test_one_process_with_four_devices_and_a_split_table(alone, log, cache, workdir):
    """Two devices share a batch and each two of them the table, which one device then judges."""
    command = (*TINY, *PLAIN, f"--config.data.path={log}", f"--workdir={workdir}")
    done = run(cache, *command, "--config.mesh.model=2", devices=4)
    check(alone, log, cache, workdir, [(done.returncode, done.stdout, done.stderr)])


def test_four_processes_of_slurm_a_split_table_and_a_prepared_log(
    alone, log, cache, workdir, tmp_path
):
    folder = tmp_path / "prepared"
    prepare = ("--mode=prepare", f"--config.data.path={log}", f"--output={folder}")
    assert run(cache, *TINY, *prepare).returncode == 0
    command = (*TINY, *PLAIN, f"--config.data.path={folder}", f"--workdir={workdir}")
    command += ("--config.mesh.model=2",)
    check(alone, log, cache, workdir, ends(start_as_slurm_does(cache, *command, processes=4)))


def test_two_processes_of_two_devices_judge_what_one_has_trained(alone, log, cache):
    command = ("--mode=evaluate", f"--workdir={alone[0]}", f"--config.data.path={log}")
    first, second = ends(start_all(cache, *command, processes=2, devices=2))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert (first[1], second[1]) == (alone[1].stdout, "")


def test_processes_of_two_minds_are_refused(log, cache, workdir):
    command = (*TINY, *PLAIN, f"--config.data.path={log}", f"--workdir={workdir}")
    for code, _, err in ends(start_all(cache, *command, processes=2, own="--config.seed=1")):
        assert code == 2, err
        assert "error: the 2 processes differ in the config" in err
    assert not (workdir / "config.json").exists()


def test_a_signal_to_one_a_kill_of_another_and_other_numbers_of_processes(
    alone, log, cache, workdir
):
    """Two processes stop together; of four, one is killed and the others say so; one finishes."""
    command = (*TINY, *PLAIN, f"--config.data.path={log}", f"--workdir={workdir}")
    without_end = (*command, *WITHOUT_END)
    two = start_all(cache, *without_end, processes=2, devices=2)
    with running(workdir, two, lines=3):
        two[1].send_signal(signal.SIGTERM)
        (code, _, err), (other, _, _) = ends(two)
    assert (code, other) == (0, 0), err
    saved = re.search(r"signal to another process: saved step (\d+)", err)[1]
    four = start_all(cache, *without_end, processes=4)
    with running(workdir, four, lines=int(saved) + 30):
        four[2].kill()
        ended = ends(four, seconds=60)
    assert f"resuming {workdir} at step {saved}" in ended[0][2]
    for number, (code, _, err) in enumerate(ended):
        if number != 2:
            assert code == 2, err
            assert "error: process 2 of 4 has ended" in err
            assert "Traceback" not in err
    reached = max(losses(workdir))
    done = run(cache, *command, f"--config.train.steps={reached + 2}")
    assert done.returncode == 0, done.stderr
    resumed = int(re.search(r"resuming .* at step (\d+)", done.stderr)[1])
    assert int(saved) <= resumed <= reached
    found, expected = losses(workdir), losses(alone[0])
    assert sorted(found) == list(range(1, reached + 3))
    assert [found[step] for step in expected] == pytest.approx(list(expected.values()), rel=1e-4)


def test_without_the_first_process_the_other_ends(log, cache, workdir):
    """By the line of the watch, unless JAX is the faster to abort it."""
    command = (*TINY, *PLAIN, f"--config.data.path={log}", f"--workdir={workdir}")
    two = start_all(cache, *command, *WITHOUT_END, processes=2)
    with running(workdir, two, lines=3):
        two[0].kill()
        _, (code, _, err) = ends(two, seconds=60)
    assert code in (2, -signal.SIGABRT)
    assert "process 0 of 2 has ended" in err or "another task died" in err
