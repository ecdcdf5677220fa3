"""The paper's data sets: download, checksum, one atomic move into a cache folder.

The standard library's HTTP client does here: it is one GET of one file, and what needs care (a
connection that is cut, a checksum that git rather than a download site states, no half file ever
under the final name) would be ours to do with any client.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import os
import secrets
import shutil
import ssl
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from bert4rec_jax.console import is_silent, say
from bert4rec_jax.errors import UserError

TIMEOUT_SECONDS = 30  # without a byte
CHUNK_BYTES = 1 << 20
# Not OSError as a whole: a full disk is one too, and has another cure.
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    ConnectionError,
    TimeoutError,
)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
        base_url: the folder on the server.
        file: the name in that folder.
        checksum: "md5:HEX", or "git:HEX" for a git blob id or the beginning of one.
        member: the log inside, where the file is a zip archive.
    """

    base_url: str
    file: str
    checksum: str
    member: str = ""


_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_BERT4REC = (
    "https://raw.githubusercontent.com/FeiSun/BERT4Rec/"
    "615eaf2004abecda487a38d5b0c72f3dcfcae5b3/data"
)
SOURCES = {
    "ml-1m": Source(
        _GROUPLENS, "ml-1m.zip", "md5:c4d9eecfca2ab87c1945afe126590906", "ml-1m/ratings.dat"
    ),
    "ml-20m": Source(
        _GROUPLENS, "ml-20m.zip", "md5:cd245b17a1ae2cc31bb14903e1204af3", "ml-20m/ratings.csv"
    ),
    "beauty": Source(_BERT4REC, "beauty.txt", "git:16718a33ebdb33504f257421b18ae8bf3ddfe327"),
    # Only the beginning of this blob's id is on record; 32 bits still catch any damage.
    "steam": Source(_BERT4REC, "steam.txt", "git:d277c3a1"),
}


def fetch(name: str, cache_dir: str | Path, *, base_url: str = "") -> Path:
    """The log of a data set, from the cache or else from its server.

    The file to download may also be put into the cache folder by hand; it is checked and kept.

    Args:
        name: a key of SOURCES.
        cache_dir: made where missing. What is in it is used without a look at the network.
        base_url: a mirror to use in place of the source's own server.

    Returns:
        `cache_dir/FILE`, or for an archive `cache_dir/MEMBER`, for `interactions.read`.

    Raises:
        UserError: unknown name, no network, the server's refusal, a cut connection, a wrong
            checksum, or a cache folder that cannot be written. Nothing half-done stays.
    """
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise UserError(f"data set {name!r} is unknown; choose one of {known}, or set data.path")
    source, cache = SOURCES[name], Path(cache_dir)
    log, download = cache / (source.member or source.file), cache / source.file
    if source.member and log.is_file():
        return log  # it was unpacked from a checked archive
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        if download.is_file():
            _verify(download, source, where=str(download))
        else:
            _download(f"{base_url or source.base_url}/{source.file}", download, source)
        if source.member:
            with (
                zipfile.ZipFile(download) as archive,
                archive.open(source.member) as packed,
                _written_at_once(log) as file,
            ):
                shutil.copyfileobj(packed, file, CHUNK_BYTES)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{log}: cannot be written ({reason}); set data.cache") from error
    return log


def _download(url: str, path: Path, source: Source) -> None:
    with _written_at_once(path) as file:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
                _receive(response, file, source.file)
        except _NETWORK_ERRORS as error:
            reason = getattr(error, "reason", error)
            if isinstance(error, urllib.error.HTTPError):
                reason = f"the server answered {error.code} {error.reason}"
                error.close()
            raise UserError(
                f"{url}: cannot be downloaded ({reason}); fetch it by other means "
                f"and put it at {path}, or set data.path"
            ) from error
        file.flush()
        _verify(Path(file.name), source, where=url)


def _receive(response: http.client.HTTPResponse, file: IO[bytes], label: str) -> None:
    """Copies the body, with a bar on a terminal and a line for each tenth elsewhere."""
    total = int(response.headers.get("Content-Length", 0))
    plain = not sys.stderr.isatty() or is_silent()
    received = tenths = 0
    with tqdm(desc=label, total=total or None, unit="B", unit_scale=True, disable=plain) as bar:
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
            bar.update(len(chunk))
            if plain and total and 10 * received // total > tenths:
                tenths = 10 * received // total
                mb = f"{received / 1e6:.1f} of {total / 1e6:.1f} MB"
                say(f"{label}: {mb}")
    # read(n) ends quietly where the connection does.
    if received < total:
        raise ConnectionError(f"the connection was cut after {received} of {total} bytes")


def _verify(path: Path, source: Source, *, where: str) -> None:
    kind, expected = source.checksum.split(":")
    digest = hashlib.new("md5" if kind == "md5" else "sha1", usedforsecurity=False)
    if kind == "git":
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    if not digest.hexdigest().startswith(expected):
        raise UserError(
            f"{where}: {kind} checksum {digest.hexdigest()} is not the expected {expected}; "
            "it is damaged or has changed: fetch it anew"
        )


@contextlib.contextmanager
def _written_at_once(path: Path) -> Iterator[IO[bytes]]:
    """A new file that appears under its name complete, or not at all."""
    # The name is new, so that two runs can fill one cache.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
