"""--mode=serve: a run's best checkpoint behind HTTP."""

import functools
import pathlib
import signal
import socket
import time

import uvicorn

from bert4rec_jax import compilation, lists
from bert4rec_jax.console import say
from bert4rec_jax.errors import UserError
from bert4rec_jax.recommender import Recommender
from bert4rec_jax.serving.app import create_app
from bert4rec_jax.serving.reload import Reloader
from bert4rec_jax.serving.schema import Limits
from bert4rec_jax.serving.titles import Titles

# Below the usual limit of 1,024 open files; beyond it uvicorn answers 503 by itself.
_MOST_CONNECTIONS = 900
_SECONDS_TO_FINISH = 30


def serve(
    workdir: pathlib.Path,
    *,
    host: str,
    port: int,
    titles: str,
    limits: Limits,
    reload_seconds: float,
) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that have begun are answered first.

    Args:
        workdir: of a finished or a running training.
        port: 0 .. 65535; 0: any free one, which is printed.
        titles: a table of items with a title column; "": none.
        reload_seconds: between looks for a better checkpoint; 0: never.

    Raises:
        UserError: no model in `workdir`, no such address, or one that is taken.
    """
    started = time.monotonic()
    with _listen(host, port) as listening:
        compilation.keep_beside(workdir)
        reloader = Reloader(workdir, say=say)  # its first look is before the load: nothing is lost
        recommender = Recommender.load(workdir)
        title_of = lists.read_titles(titles, recommender.vocab) if titles else {}
        watch = functools.partial(reloader.watch, seconds=reload_seconds)
        app = create_app(
            recommender,
            Titles(recommender.vocab, title_of, recommender.popular - 1),
            limits,
            background=watch if reload_seconds else None,
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                log_level="warning",
                access_log=False,  # /metrics has the figures, and histories are personal
                server_header=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_graceful_shutdown=_SECONDS_TO_FINISH,
            )
        )
        address = "http://{}:{}".format(*listening.getsockname()[:2])
        # What is counted has no checkpoints.
        of = "counts" if recommender.step is None else f"checkpoint {recommender.step}"
        say(
            f"{of}, {len(recommender.vocab):,} items: serving {address} "
            f"after {time.monotonic() - started:.1f} s; Ctrl-C or SIGTERM stops"
        )
        # uvicorn drains, and then raises the signal again: that shall not end in a traceback.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        server.run(sockets=[listening])
    say("stopped: every request that had begun is answered")


def _listen(host: str, port: int) -> socket.socket:
    # Before the model is loaded, so that a wrong port costs no wait. Who connects meanwhile waits.
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UserError(f"{host}:{port}: {error}; choose another --host or --port") from error
