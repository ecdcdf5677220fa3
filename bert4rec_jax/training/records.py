"""What a run writes down while it trains: metrics.jsonl and TensorBoard events."""

import json
import os
import pathlib
import time

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from bert4rec_jax.files import replacing


class Records:
    """One JSON object a log point in `<workdir>/metrics.jsonl`, and the same for TensorBoard.

    Opening a run again at step N drops what was written after N by a process that died before its
    next checkpoint, so the file always tells one story.
    """

    def __init__(self, workdir: pathlib.Path, *, step: int):
        path = workdir / "metrics.jsonl"
        kept = []
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
        with replacing(path) as unfinished:
            unfinished.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self._events = _Events(workdir / "tensorboard", purge_step=step + 1)

    def write(self, *, step: int, split: str, **values: float | None) -> None:
        """A log point; None for a value that there is not."""
        self._file.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        for name, value in values.items():
            if value is not None:
                self._events.write(f"{split}/{name}", value, step)

    def sync(self) -> None:
        """On disk when this returns: a checkpoint must not outlive the lines of its steps."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        self._file.close()
        self._events.close()


class NoRecords:
    """Of the processes that do not write."""

    def write(self, **_) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Events:
    """TensorBoard events of one process.

    tensorboardX's own SummaryWriter writes from a thread, which a full disk ends with a traceback,
    and then waits for it for ever.
    """

    def __init__(self, folder: pathlib.Path, *, purge_step: int):
        folder.mkdir(exist_ok=True)
        # Two processes may begin within the second that the file's name tells.
        self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}")
        start = SessionLog(status=SessionLog.START)  # hides what is from this step on
        self._add(Event(step=purge_step, session_log=start))

    def write(self, name: str, value: float, step: int) -> None:
        self._add(Event(step=step, summary=scalar(name, value)))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # the last line of a killed process may be cut
        return float("inf")
