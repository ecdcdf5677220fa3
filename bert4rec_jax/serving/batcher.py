"""Requests that come at the same time are answered together."""

import asyncio
import collections
import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any


class Overloaded(Exception):
    """More is waiting than may wait; try again."""


class Batcher:
    """Gathers questions while a batch is being answered; they are the next batch.

    Nothing waits for company on an idle server, and on a busy one batches grow by themselves.

    Attributes:
        waiting: questions that no batch has taken yet.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Any]], Sequence[Any]],
        *,
        how_many: Callable[[int], int],
        most_waiting: int,
        on_batch: Callable[[int], None] = lambda size: None,
    ):
        """
        Args:
            answer: called in a thread of its own, with one batch of questions at a time; gives an
                answer to each.
            how_many: of so many waiting questions, at least 1, those to be the next batch.
            most_waiting: questions beyond it are turned away.
            on_batch: called with the size of each batch.
        """
        self._answer, self._on_batch = answer, on_batch
        self._how_many, self._most_waiting = how_many, most_waiting
        self._queue: collections.deque[tuple[Any, asyncio.Future]] = collections.deque()
        self._something = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def ask(self, questions: Sequence[Any]) -> list[Any]:
        """The answers, in the order of the questions.

        Raises:
            Overloaded: these and those that wait already are too many; none was asked.
        """
        if self.waiting + len(questions) > self._most_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        asked = [(question, loop.create_future()) for question in questions]
        self._queue.extend(asked)
        self._something.set()
        return await asyncio.gather(*(future for _, future in asked))

    async def run(self) -> None:
        """Answers until it is cancelled."""
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(1, "model") as thread:
            while True:
                await self._something.wait()
                batch = self._take()
                if not batch:
                    continue
                self._on_batch(len(batch))
                questions = [question for question, _ in batch]
                try:
                    answers = await loop.run_in_executor(thread, self._answer, questions)
                except Exception as error:  # theirs alone: the next batch may well succeed
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():  # it is cancelled where nobody waits any longer
                        future.set_result(answer)

    def _take(self) -> list[tuple[Any, asyncio.Future]]:
        # Nothing is computed for who has gone.
        waiting = [asked for asked in self._queue if not asked[1].done()]
        size = self._how_many(len(waiting)) if waiting else 0
        self._queue = collections.deque(waiting[size:])
        if not self._queue:
            self._something.clear()
        return waiting[:size]
