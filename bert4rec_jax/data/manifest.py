"""manifest.json: what a prepared log is, and by which digests its files are known."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bert4rec_jax.errors import UserError

NAME = "manifest.json"
FORMAT = "bert4rec_jax prepared log, version 1"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Attributes:
    source: the log that was prepared.
    min_item_count, min_user_count: the filters, as the settings of those names.
    vocabulary: digest of the catalogue, as `Vocabulary.digest`.
    identity: as `identity.Identity`, the test items those of leave-one-out.
    statistics: as `sequences.statistics`.
    catalogue: the file of items: {"file", "bytes", "sha256"}.
    shards: users in order: {"users", "actions", "files": those of `shard_files`, as above}.
    digest: SHA-256 of all files' digests, in order: of the whole.
    """

    source: str
    min_item_count: int
    min_user_count: int
    vocabulary: str
    identity: dict[str, Any]
    statistics: dict[str, Any]
    catalogue: dict[str, Any]
    shards: list[dict[str, Any]]
    digest: str
    format: str = FORMAT

    @property
    def files(self) -> list[dict[str, Any]]:
        return _files(self.catalogue, self.shards)


def shard_files(number: int) -> dict[str, str]:
    """What a shard consists of: items int32 [actions], lengths int32 [users], raw user ids."""
    return {
        "items": f"items-{number:05}.npy",
        "lengths": f"lengths-{number:05}.npy",
        "users": f"users-{number:05}.parquet",
    }


def describe(path: Path) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def digest_of(catalogue: dict[str, Any], shards: list[dict[str, Any]]) -> str:
    digests = [file["sha256"] for file in _files(catalogue, shards)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _files(catalogue, shards) -> list[dict[str, Any]]:
    return [catalogue, *(file for shard in shards for file in shard["files"].values())]


def is_prepared(path: str | Path) -> bool:
    return bool(path) and (Path(path) / NAME).is_file()


def write(folder: Path, manifest: Manifest) -> None:
    text = json.dumps(dataclasses.asdict(manifest), indent=1)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """UserError where it is no manifest, or its parts do not fit each other."""
    path = folder / NAME
    again = "run --mode=prepare again"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise UserError(f"{path}: is a {found['format']!r}, not a {FORMAT!r}; {again}")
        manifest = Manifest(**found)
        shards, statistics = manifest.shards, manifest.statistics
        counted = {what: sum(shard[what] for shard in shards) for what in ("users", "actions")}
        wrong = [what for what in counted if counted[what] != statistics[what]]
        digest = digest_of(manifest.catalogue, shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not a whole manifest ({error}); {again}") from error
    if wrong:
        raise UserError(
            f"{path}: its shards have {counted[wrong[0]]} {wrong[0]} and not the "
            f"{statistics[wrong[0]]} that it says; {again}"
        )
    if digest != manifest.digest:
        raise UserError(f"{path}: its digest is not that of its files; it was changed: {again}")
    return manifest


def verify(
    folder: Path, manifest: Manifest, *, progress: Callable[[int], None] | None = None
) -> None:
    """UserError for the first file that is not the manifest's.

    Args:
        progress: called with the bytes of each file that was read; None: look at sizes alone.
    """
    again = "restore it, or run --mode=prepare again"

    def check(file: dict[str, Any]) -> int:
        path = folder / file["file"]
        try:
            size = path.stat().st_size
            if size != file["bytes"]:
                raise UserError(f"{path}: has {size} bytes and not {file['bytes']}; {again}")
            if progress is not None and (found := sha256(path)) != file["sha256"]:
                raise UserError(
                    f"{path}: is corrupt, its SHA-256 is {found[:12]} and not "
                    f"{file['sha256'][:12]}; {again}"
                )
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); {again}") from error
        return size

    with ThreadPoolExecutor(4) as pool:  # reading and hashing leave the interpreter to others
        for size in pool.map(check, manifest.files):
            if progress is not None:
                progress(size)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
