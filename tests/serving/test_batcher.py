"""Questions that come together are answered together, and each gets its own answer."""

import asyncio
import contextlib
import threading

import pytest

from bert4rec_jax.serving.batcher import Batcher, Overloaded


class Model:
    """Answers a question with its tenfold; while closed, a batch stays where it is."""

    def __init__(self):
        self.batches, self.open = [], threading.Event()
        self.open.set()

    def __call__(self, questions):
        self.batches.append(list(questions))
        assert self.open.wait(10)
        if "bad" in questions:
            raise ValueError("bad")
        return [10 * question for question in questions]


@contextlib.asynccontextmanager
async def running(model, **options):
    batcher = Batcher(
        model, **{"how_many": lambda waiting: min(waiting, 3), "most_waiting": 8} | options
    )
    task = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        model.open.set()
        task.cancel()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def ask_while_busy(batcher, model, *requests):
    """Tasks of requests that come, in this order, while the model is busy with question 0."""
    model.open.clear()
    first = asyncio.create_task(batcher.ask([0]))
    await until(lambda: model.batches)
    tasks = [first]
    for request in requests:
        tasks.append(asyncio.create_task(batcher.ask(request)))
        await asyncio.sleep(0)
    return tasks


def test_what_comes_while_the_model_is_busy_is_the_next_batch():
    async def story():
        model, sizes = Model(), []
        async with running(model, on_batch=sizes.append) as batcher:
            tasks = await ask_while_busy(batcher, model, [1], [2, 3, 4], [5])
            assert batcher.waiting == 5
            model.open.set()
            assert await asyncio.gather(*tasks) == [[0], [10], [20, 30, 40], [50]]
            assert model.batches == [[0], [1, 2, 3], [4, 5]]
            assert sizes == [1, 3, 2]
            assert await batcher.ask([6]) == [60]

    asyncio.run(story())


def test_too_much_is_turned_away_whole():
    async def story():
        model = Model()
        async with running(model, most_waiting=4) as batcher:
            tasks = await ask_while_busy(batcher, model, [1, 2, 3])
            with pytest.raises(Overloaded):
                await batcher.ask([4, 5])
            tasks.append(asyncio.create_task(batcher.ask([6])))
            await asyncio.sleep(0)
            model.open.set()
            assert await asyncio.gather(*tasks) == [[0], [10, 20, 30], [60]]
            assert [x for batch in model.batches for x in batch] == [0, 1, 2, 3, 6]

    asyncio.run(story())


def test_an_error_is_its_own_batchs_alone():
    async def story():
        model = Model()
        async with running(model) as batcher:
            tasks = await ask_while_busy(batcher, model, ["bad"], [1, 2], [3])
            model.open.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert found[0] == [0]
            assert [str(found[1]), str(found[2]), found[3]] == ["bad", "bad", [30]]

    asyncio.run(story())


def test_nothing_is_computed_for_who_has_gone():
    async def story():
        model = Model()
        async with running(model) as batcher:
            first, gone, last = await ask_while_busy(batcher, model, [1, 2], [3])
            gone.cancel()
            await asyncio.sleep(0)
            model.open.set()
            assert await asyncio.gather(first, last) == [[0], [30]]
            assert model.batches == [[0], [3]]

    asyncio.run(story())
