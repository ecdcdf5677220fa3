"""Files that are there whole or not at all, and folders that one process at a time writes to."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import polars as pl

from bert4rec_jax.errors import UserError

LOCK = ".lock"  # in a folder that `only_writer` holds or has held


class InUseError(UserError):
    """Another process writes to the folder."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a path beside `path` to write to, and moves it there if nothing went wrong.

    Whoever reads `path` meanwhile, or after a crash or a power cut, finds the old file or the new
    one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        # Without it a file system may keep the new name and lose what is in the file.
        _sync(unfinished)
        os.replace(unfinished, path)
        _sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Yields a folder beside `folder` to write to, and moves it there if nothing went wrong.

    What a killed process left unfinished of the same folder is removed.
    """
    folder = folder.absolute()  # "." has no name
    for part in folder.parent.glob(f".{folder.name}.*.part"):
        number = part.suffixes[-2][1:]
        if number.isdigit() and not _is_running(int(number)):
            shutil.rmtree(part, ignore_errors=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        unfinished.replace(folder)  # an empty folder may be replaced
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yields a function that writes one frame after another to the file `path`.

    The file appears when all are written, or not at all. Its suffix says the format.
    """
    with replacing(path) as unfinished:
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            with _parquet(unfinished) as write:
                yield write
            return
        with unfinished.open("wb") as file:

            def write(frame):
                if suffix == ".csv":
                    frame.write_csv(file, include_header=not file.tell())
                else:
                    frame.write_ndjson(file)

            yield write


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    # Polars cannot append to a Parquet file, so that the frames are files until the last is there;
    # they become one in a pass that holds a few of them at a time.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name) as folder:
        parts = []

        def write(frame):
            parts.append(Path(folder) / f"{len(parts):06}.parquet")
            frame.write_parquet(parts[-1])

        yield write
        pl.scan_parquet(parts, glob=False).sink_parquet(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def only_writer(folder: Path, *, files: tuple[str, ...]) -> Iterator[None]:
    """Holds `folder`, so that no other process that asks for it gets it.

    The operating system lets go of the lock however the process ends, by SIGKILL too. Who only
    reads need not ask.

    Args:
        files: patterns of the paths in `folder` that its holders alone write, by `replacing`; what
            a killed one left unfinished is removed.

    Raises:
        InUseError: another process holds it.
        OSError: the folder cannot be written to.
    """
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise InUseError(
            f"{folder} is in use by another process: wait for its end, or choose another --workdir"
        ) from error
    try:
        for path in map(Path, files):
            for unfinished in (folder / path.parent).glob(f".{path.name}.*.part"):
                unfinished.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
