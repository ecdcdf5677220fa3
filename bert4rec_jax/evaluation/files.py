"""Files that are there whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a path beside `path` to write to, and moves it there if nothing went wrong.

    Whoever reads `path` meanwhile, or after a crash, finds the old file or the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yields a function that writes one frame after another to the file `path`.

    The file appears when all are written, or not at all. Its suffix says the format.
    """
    with replacing(path) as unfinished:
        if path.suffix == ".parquet":
            with _parquet(unfinished) as write:
                yield write
            return
        with unfinished.open("wb") as file:

            def write(frame):
                if path.suffix == ".csv":
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
