"""Taking up a newer best checkpoint, or list of retired items, while serving."""

import asyncio
import pathlib
from collections.abc import Callable

from bert4rec_jax.errors import first_line
from bert4rec_jax.recommender import Recommender
from bert4rec_jax.serving.engine import Engine
from bert4rec_jax.serving.telemetry import Telemetry


class Reloader:
    """Looks whether the best checkpoint of a work directory has changed, or what is retired.

    Args:
        workdir: of the run that is served.
        say: called with a line for the person at the terminal.
    """

    def __init__(self, workdir: pathlib.Path, *, say: Callable[[str], None]):
        self._workdir, self._say = workdir, say
        self._listed = self._listing()

    async def watch(self, engine: Engine, telemetry: Telemetry, *, seconds: float) -> None:
        """Look every so many seconds, until cancelled; a try that fails changes nothing."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.look, engine, telemetry)

    def look(self, engine: Engine, telemetry: Telemetry) -> None:
        """Swap the engine's parameters if there are better ones."""
        try:
            listed = self._listing()
            if listed == self._listed:
                return
            fresh = Recommender.load(self._workdir)
            self._listed = listed
            if fresh.step == engine.step and (fresh.retired == engine.serving.retired).all():
                return
            engine.swap(fresh)
        except Exception as error:  # also a checkpoint that training replaced while it was read
            telemetry.reloads.labels("failed").inc()
            self._say(f"still serving checkpoint {engine.step}: {first_line(error)}")
            return
        telemetry.reloads.labels("swapped").inc()
        self._say(f"serving checkpoint {fresh.step}")

    def _listing(self) -> tuple[list[str], int]:
        """The finished checkpoints (Orbax gives one its number when all of it is written), and when
        the catalogue was written."""
        folder, items = self._workdir / "checkpoints", self._workdir / "items.parquet"
        steps = [path.name for path in folder.glob("*") if path.name.isdigit()]
        return sorted(steps), items.stat().st_mtime_ns if items.exists() else 0
