"""Batches from the host, read ahead by Grain while the device computes."""

from collections.abc import Callable
from typing import Any

from bert4rec_jax.errors import UserError

THREADS = 2
BATCHES_AHEAD = 8


class Feed:
    """`feed(step)` for any step; fast where steps follow each other.

    An element of the Grain data set is a step's whole batch, so that there is nothing to save: what
    the iterator would know is the step. Grain's own shuffle is not used, since windows that share
    rows have to change places with windows of their length.
    """

    def __init__(self, read: Callable[[int], Any], *, steps: int):
        """
        Args:
            read: step -> its batch; called from several threads, ahead of time.
            steps: in all; none is read from there on.

        Raises:
            UserError: Grain is not installed.
        """
        try:
            import grain
        except ImportError as error:
            raise UserError(
                "training on a prepared log reads through Grain, which is not installed: "
                "pip install -r requirements-grain.txt"
            ) from error
        self._options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=BATCHES_AHEAD)
        self._batches = grain.MapDataset.source(_Steps(read, steps))
        self._ahead, self._next = None, 0

    def __call__(self, step: int) -> Any:
        if self._ahead is None or step != self._next:
            self._ahead = iter(self._batches[step:].to_iter_dataset(self._options))
        self._next = step + 1
        return next(self._ahead)


class _Steps:
    """What Grain calls a random access source."""

    def __init__(self, read: Callable[[int], Any], steps: int):
        self._read, self._steps = read, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Any:
        return self._read(step)
