"""Who is told that a process is gone. Two or three ends of one watch, in one process."""

import contextlib
import queue
import socket
import time

import pytest

from bert4rec_jax import watch


class End(watch.Watch):
    """Keeps whom it was told of, in place of ending the process."""

    def __init__(self, number, count):
        self.told = queue.Queue()
        super().__init__(number, count, self.told.put)

    def vanish(self):
        """As the operating system does for a process that was killed."""
        self._done.set()
        for connection in self._connections.values():
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def ends():
    first, *others = ends = [End(number, 3) for number in range(3)]
    place = first.open("127.0.0.1")
    for other in others:
        other.connect(place)
    while len(first._connections) < len(others):
        time.sleep(0.001)
    yield ends
    for end in ends:
        end.close()


def test_who_is_killed_is_named_to_all_others(ends):
    ends[2].vanish()
    assert ends[0].told.get(timeout=20) == 2
    assert ends[1].told.get(timeout=20) == 2


def test_without_the_first_all_others_know(ends):
    ends[0].vanish()
    assert ends[1].told.get(timeout=20) == ends[2].told.get(timeout=20) == 0


def test_who_is_through_is_not_missed(ends):
    ends[1].close()
    ends[1].vanish()
    for end in (ends[0], ends[2]):  # they go on
        with pytest.raises(queue.Empty):
            end.told.get(timeout=0.2)


def test_who_falls_silent_is_gone(monkeypatch):
    monkeypatch.setattr(watch, "SILENCE", 0.2)
    monkeypatch.setattr(watch, "BEAT", 1000.0)
    first, other = End(0, 2), End(1, 2)
    other.connect(first.open("127.0.0.1"))
    assert first.told.get(timeout=20) == 1


def test_a_stranger_is_turned_away():
    first, other = End(0, 2), End(1, 2)
    host, port, _ = (place := first.open("127.0.0.1")).rsplit(":", 2)
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall("GÊT / HTTP/1.1\r\n\r\n".encode("latin-1"))
        assert stranger.recv(1) == b""
    other.connect(place)
    other.vanish()
    assert first.told.get(timeout=20) == 1


def test_who_never_comes_is_missed(monkeypatch):
    monkeypatch.setattr(watch, "SILENCE", 0.2)
    first = End(0, 2)
    first.open("127.0.0.1")
    assert first.told.get(timeout=20) == 1
