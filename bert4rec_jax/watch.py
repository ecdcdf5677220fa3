"""How the processes of one run notice that one of them is gone.

A collective whose partner has died waits: on some networks for ever, and JAX's own heartbeat ends
a process in the middle of C++ after a minute or two. So each process holds a connection to the
first one. The operating system closes it when a process ends in whatever way; a machine that is
gone falls silent.
"""

import contextlib
import hmac
import secrets
import socket
import threading
from collections.abc import Callable

BEAT = 2.0  # seconds between signs of life
SILENCE = 30.0  # seconds without one after which the other end counts as gone


class Watch:
    """This process's end: of the first process with all others, of the others with the first.

    Attributes:
        lost: set when a process is gone, before `on_loss` is called.
    """

    def __init__(self, process: int, processes: int, on_loss: Callable[[int], None]):
        """
        Args:
            process: this one's number.  processes: how many there are.
            on_loss: called once, from a thread, with the number of the one that is gone.
        """
        self._process, self._processes, self._on_loss = process, processes, on_loss
        self.lost, self._done = threading.Event(), threading.Event()
        self._connections: dict[int, socket.socket] = {}
        self._sending, self._losing = threading.Lock(), threading.Lock()

    def open(self, host: str) -> str:
        """Of the first process: the place, HOST:PORT:PASSWORD, that the others `connect` to.

        Args:
            host: the address of this machine that they know.
        """
        # Every address: which of them the others come by is not known here.
        if socket.has_dualstack_ipv6():
            server = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            server = socket.create_server(("", 0))
        server.settimeout(SILENCE)
        password = secrets.token_hex(8)
        self._start(self._welcome, server, password)
        return f"{host}:{server.getsockname()[1]}:{password}"

    def connect(self, place: str) -> None:
        host, port, password = place.rsplit(":", 2)
        connection = socket.create_connection((host, int(port)), timeout=SILENCE)
        connection.sendall(f"{password} {self._process}\n".encode())
        self._hold(0, connection, connection.makefile("r"))
        self._start(self._beat)

    def close(self) -> None:
        """This process is through, and so are the others as far as it cares."""
        self._done.set()
        self._send("done")

    def _welcome(self, server: socket.socket, password: str) -> None:
        self._start(self._beat)
        missing = set(range(1, self._processes))
        with server:
            while missing:
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    return self._lose(min(missing))
                connection.settimeout(SILENCE)
                lines = connection.makefile("r", errors="replace")
                try:
                    said, _, number = lines.readline().strip().partition(" ")
                    if not hmac.compare_digest(said.encode(), password.encode()):
                        raise ValueError("a stranger")
                    self._hold(int(number), connection, lines)
                    missing.discard(int(number))
                except (OSError, ValueError):
                    lines.close()
                    connection.close()

    def _hold(self, number: int, connection: socket.socket, lines) -> None:
        connection.settimeout(SILENCE)
        self._connections[number] = connection
        self._start(self._listen, number, connection, lines)

    def _listen(self, number: int, connection: socket.socket, lines) -> None:
        with connection, lines, contextlib.suppress(OSError):  # silent for too long, or cut off
            for line in lines:
                if line.strip() == "done":
                    return
                if line.startswith("lost"):
                    number = int(line.split()[1])
                    break
        self._lose(number)

    def _lose(self, number: int) -> None:
        with self._losing:
            if self._done.is_set() or self.lost.is_set():
                return
            self.lost.set()
        self._send(f"lost {number}")
        self._on_loss(number)

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            self._send("alive")

    def _send(self, line: str) -> None:
        with self._sending:
            for connection in list(self._connections.values()):
                with contextlib.suppress(OSError):
                    connection.sendall(f"{line}\n".encode())

    def _start(self, function: Callable, *arguments) -> None:
        threading.Thread(target=function, args=arguments, daemon=True).start()


def address_of_this_machine() -> str:
    """The one it would send from; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation: nobody's
            return probe.getsockname()[0]
        except OSError:  # no way out of this network
            return socket.gethostname()
