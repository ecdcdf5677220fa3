"""One run of several processes, on one machine or many: how they join, agree and end.

All of them run the same program on their own rows. Only the first one writes and speaks; all take
part in checkpoints. `mesh.py` has their devices.
"""

import contextlib
import os
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from bert4rec_jax import console, mesh, watch
from bert4rec_jax.errors import UserError, first_line

_PATIENCE = 300  # seconds for all to come; those of a large cluster do not start at once

# Seconds that a process whose partner is gone leaves to its own error, if it has one, to be said.
_GRACE = 3.0
_PLACE = 512  # bytes that the address of the first process may take

_watch: watch.Watch | None = None


def join(coordinator: str, processes: int, process: int) -> None:
    """Make this process one of several; before anything else asks JAX for devices.

    Args:
        coordinator: HOST:PORT of the first process; empty: JAX finds it, and the two numbers, on a
            TPU pod and under Slurm.
        processes: how many there are; 0: found likewise.
        process: this one's number, from 0; -1: found likewise.

    Raises:
        UserError: nothing was found, the numbers are wrong, or the others did not come.
    """
    global _watch
    if coordinator and not (coordinator.rpartition(":")[2].isdigit() and ":" in coordinator):
        raise UserError(f"--coordinator={coordinator}: must be HOST:PORT of the first process")
    if processes and not -1 <= process < processes:
        raise UserError(f"--process_id={process} must be from 0 to {processes - 1} (--processes)")
    late = threading.Timer(_PATIENCE, _end_for_others_are_missing)
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            coordinator or None,
            processes or None,
            None if process < 0 else process,
            initialization_timeout=2 * _PATIENCE,  # past which JAX aborts
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"--distributed: JAX finds no other processes ({first_line(error)}): give each "
            "--coordinator=HOST:PORT, --processes=N and --process_id=I, or run on a TPU pod or by "
            "Slurm"
        ) from error
    finally:
        late.cancel()
    if count() == 1:
        return
    if not is_first():
        console.be_silent()
    _watch = watch.Watch(jax.process_index(), count(), _end_with_the_others)
    place = ""
    if is_first():
        host = coordinator.rpartition(":")[0].strip("[]") or watch.address_of_this_machine()
        place = _watch.open(host)
    place = _tell_all(place)
    if not is_first():
        try:
            _watch.connect(place)
        except OSError as error:
            raise UserError(
                f"--distributed: the first process cannot be reached at {place.rpartition(':')[0]} "
                f"({first_line(error)}): give --coordinator with an address that all can reach, "
                "and let them connect to any of its ports"
            ) from error


def leave(code: int) -> None:
    """End of this process's part; with a code of failure, of the process.

    At the usual exit JAX would wait for all, who wait for this one.
    """
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if _watch is not None:
        _watch.close()


def count() -> int:
    return jax.process_count()


def is_first() -> bool:
    """Whether this is the process that writes and speaks; of one, it is."""
    return jax.process_index() == 0


def wait_for_all() -> None:
    """Until every process is here."""
    if count() > 1:
        jax.block_until_ready(mesh.highest(np.zeros(1, np.int32)))


def refuse_unequal(parts: Mapping[str, str], advice: str) -> None:
    """UserError that names the first of `parts`, what it is -> text, that processes differ in."""
    if count() == 1:
        return
    sums = np.array([zlib.crc32(text.encode()) >> 1 for text in parts.values()], np.int32)
    # Asked at once: who knows first ends, and the others must not wait for it any more.
    highest, lowest = np.split(np.asarray(mesh.highest(np.concatenate([sums, -sums]))), 2)
    lowest = -lowest
    for name, most, least in zip(parts, highest, lowest, strict=True):
        if most != least:
            raise UserError(f"the {count()} processes differ in the {name}: {advice}")


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """The first process goes through the block before the others enter it."""
    if not is_first():
        wait_for_all()
    yield
    if is_first():
        wait_for_all()


def give_way() -> None:
    """Before an unexpected error is said: where another process is gone, the error comes of that,
    and this does not return, for the watch says so and ends the process."""
    if _watch is not None and _watch.lost.wait(_GRACE):
        threading.Event().wait()


def _end_with_the_others(number: int) -> None:
    if number:  # without the first process JAX aborts the others at once
        time.sleep(_GRACE)
    _end(
        f"process {number} of {count()} has ended or cannot be reached: what it said tells why; "
        "the same commands go on from the last checkpoint"
    )


def _end_for_others_are_missing() -> None:
    _end(
        f"--distributed: after {_PATIENCE} s not all processes have come: start every one of them, "
        "with the same --coordinator and --processes"
    )


def _end(line: str) -> None:
    """This process, from a thread beside the one that waits."""
    print(f"error: {line}", file=sys.stderr, flush=True)
    os._exit(2)


def _tell_all(text: str) -> str:
    """`text` of the one process that gives any."""
    letters = np.zeros(_PLACE, np.int32)
    letters[: len(text.encode())] = list(text.encode())
    return bytes(np.asarray(mesh.highest(letters)).astype(np.uint8)).rstrip(b"\0").decode()


class Agreement:
    """What any process wants, done by all at the same step.

    Collectives only meet if all processes do the same in the same order, and a signal, or a clock,
    is one process's own. Asked before every step, it answers what was wanted at the step before,
    for that answer has come in while the devices were busy.
    """

    def __init__(self):
        self._asked: jax.Array | None = None

    def __call__(self, *wants: bool) -> tuple[bool, ...]:
        """Called by all processes before each of their steps."""
        if count() == 1:
            return wants
        before, self._asked = self._asked, mesh.highest(np.array(wants, np.int32))
        return (False,) * len(wants) if before is None else tuple(map(bool, np.asarray(before)))

    def forget(self) -> None:
        """Leave out what was wanted last: it has been done meanwhile. By all processes."""
        self._asked = None
