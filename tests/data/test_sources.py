"""Downloads, against a server on this machine: whole files only, whatever happens."""

import hashlib
import http.server
import io
import socket
import subprocess
import threading
import zipfile

import pytest

from bert4rec_jax.data import sources
from bert4rec_jax.errors import UserError

LOG = b"1::10::5::978300760\n1::11::3::978300761\n" * 40_000  # more than one chunk


def zipped(member: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(member, content)
    return buffer.getvalue()


ARCHIVE = zipped("made-up/ratings.dat", LOG)
MD5 = hashlib.md5(ARCHIVE).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ARCHIVE whole, cut, or in chunks without a length, and LOG; 404 for the rest."""

    def do_GET(self):
        self.server.requests.append(self.path)
        folder, _, file = self.path.strip("/").partition("/")
        body = {"log.zip": ARCHIVE, "log.dat": LOG}.get(file)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        if folder != "no-length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if folder == "cut" else body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def made_up_sources(monkeypatch):
    known = {
        "zipped": ("log.zip", f"md5:{MD5}", "made-up/ratings.dat"),
        "plain": ("log.dat", f"git:{git_blob(LOG)[:8]}", ""),
        "absent": ("nothing.zip", f"md5:{MD5}", "made-up/ratings.dat"),
        "changed": ("log.zip", f"md5:{'0' * 32}", "made-up/ratings.dat"),
    }
    for name, (file, checksum, member) in known.items():
        source = sources.Source("http://127.0.0.1:1", file, checksum, member)
        monkeypatch.setitem(sources.SOURCES, name, source)


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def files(folder) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("route", ["whole", "no-length"])
def test_an_archive_is_fetched_checked_and_unpacked(server, tmp_path, route):
    path = sources.fetch("zipped", tmp_path / "cache", base_url=f"{server.url}/{route}")
    assert path == tmp_path / "cache/made-up/ratings.dat"
    assert path.read_bytes() == LOG
    assert files(tmp_path) == {"cache/log.zip", "cache/made-up/ratings.dat"}


def test_a_plain_file_is_fetched_and_checked_by_its_git_blob_id(server, tmp_path):
    path = sources.fetch("plain", tmp_path, base_url=f"{server.url}/whole")
    assert path.read_bytes() == LOG
    assert files(tmp_path) == {"log.dat"}


@pytest.mark.parametrize("name", ["zipped", "plain"])
def test_the_second_time_needs_no_network(server, tmp_path, name):
    first = sources.fetch(name, tmp_path, base_url=f"{server.url}/whole")
    asked = len(server.requests)
    assert sources.fetch(name, tmp_path, base_url="http://127.0.0.1:1") == first
    assert len(server.requests) == asked


def test_a_file_put_into_the_cache_by_hand_is_used(tmp_path):
    (tmp_path / "log.zip").write_bytes(ARCHIVE)
    assert sources.fetch("zipped", tmp_path).read_bytes() == LOG


@pytest.mark.parametrize("name", ["zipped", "plain"])
def test_a_damaged_file_in_the_cache_is_refused(tmp_path, name):
    path = tmp_path / sources.SOURCES[name].file
    path.write_bytes(LOG[:-1])
    with pytest.raises(UserError, match=r"checksum .* is not the expected"):
        sources.fetch(name, tmp_path)
    assert files(tmp_path) == {path.name}


@pytest.mark.parametrize(
    ("name", "route", "says"),
    [
        ("absent", "whole", "the server answered 404"),
        ("zipped", "cut", "the connection was cut after"),
        ("plain", "cut", "the connection was cut after"),
        ("zipped", "cut-without-length", "checksum"),
        ("changed", "whole", "checksum"),
    ],
)
def test_no_half_file_stays(server, tmp_path, monkeypatch, name, route, says):
    if route == "cut-without-length":
        # A body without a length ends where the connection does: only the checksum can tell.
        monkeypatch.setattr(f"{__name__}.ARCHIVE", ARCHIVE[:-5])
        route = "no-length"
    with pytest.raises(UserError, match=says) as raised:
        sources.fetch(name, tmp_path, base_url=f"{server.url}/{route}")
    assert "\n" not in str(raised.value)
    assert files(tmp_path) == set()


def test_without_a_network_the_manual_way_is_named(tmp_path):
    with socket.socket() as closed:  # bound, yet nobody listens
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UserError, match="cannot be downloaded") as raised:
            sources.fetch("zipped", tmp_path, base_url=url)
    message = str(raised.value)
    assert f"{url}/log.zip" in message
    assert f"put it at {tmp_path / 'log.zip'}" in message
    assert "\n" not in message
    assert files(tmp_path) == set()


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "_receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sources.fetch("zipped", tmp_path, base_url=f"{server.url}/whole")
    assert files(tmp_path) == set()


def test_an_interrupted_unpacking_leaves_only_the_archive(tmp_path, monkeypatch):
    def interrupt(packed, file, _):
        file.write(packed.read(10))
        raise KeyboardInterrupt

    (tmp_path / "log.zip").write_bytes(ARCHIVE)
    monkeypatch.setattr(sources.shutil, "copyfileobj", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sources.fetch("zipped", tmp_path)
    assert files(tmp_path) == {"log.zip"}


def test_without_a_terminal_progress_is_plain_lines(server, tmp_path, capsys):
    sources.fetch("zipped", tmp_path, base_url=f"{server.url}/whole")
    lines = capsys.readouterr().err.splitlines(keepends=True)
    assert 1 <= len(lines) <= 10
    assert all(line.startswith("log.zip: ") and line.endswith(" MB\n") for line in lines)


def test_an_unknown_data_set_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="'ml-2m' is unknown; choose one of ml-1m, ml-20m"):
        sources.fetch("ml-2m", tmp_path)


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot be written .*set data.cache"):
        sources.fetch("zipped", tmp_path / "cache")


def test_the_git_blob_id_is_gits_own(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello\n")
    # printf 'hello\n' | git hash-object --stdin
    known = "ce013625030ba8dba906f756967f9e9ca394464a"
    sources._verify(tmp_path / "hello", sources.Source("", "", f"git:{known}"), where="")


def test_the_shared_beauty_file_is_the_source_named_here(shared_data, tmp_path):
    unpacked = subprocess.run(
        ["gzip", "-dc", shared_data / "beauty.txt.gz"], check=True, capture_output=True
    ).stdout
    (tmp_path / "beauty.txt").write_bytes(unpacked)
    assert sources.fetch("beauty", tmp_path) == tmp_path / "beauty.txt"
