"""How a stream reads items from lists and (asynchronous) iterators, and how replies reach an event loop."""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
)
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from opsd_rs.errors import BadInput

if TYPE_CHECKING:
    import asyncio
from opsd_rs.grading.backend import Item, Reply


class LoopMailbox:
    """Carries replies from the thread that read them into the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, replies: asyncio.Queue[Reply | None]) -> None:
        self._loop = loop
        self._replies = replies

    def put(self, reply: Reply) -> None:
        try:
            self._loop.call_soon_threadsafe(self._replies.put_nowait, reply)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            # The loop ended without waiting for its tasks: nothing reads this reply.


class ThreadedItems:
    """A plain iterator, read in a thread of its own, so that a slow one does not block the event loop."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self._iterator: Iterator[Item] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="opsd-items")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        import asyncio

        item = await asyncio.get_running_loop().run_in_executor(self._thread, self._next)
        if item is None:
            raise StopAsyncIteration
        return item

    def _next(self) -> Item | None:
        if self._iterator is None:
            self._iterator = iter(self._items)
        return next(self._iterator, None)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class ListedItems:
    """Items of a list or tuple, which never block."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        for item in self._items:
            return item
        raise StopAsyncIteration


def as_async(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        return aiter(items)
    if isinstance(items, (list, tuple)):
        return ListedItems(items)
    return ThreadedItems(items)


def check_item(item: Item) -> Item:
    problem, solution = item
    if solution.problem_id != problem.problem_id:
        raise BadInput(
            f"a solution of problem {solution.problem_id!r} was given with problem {problem.problem_id!r}"
        )
    return problem, solution
