"""Streams of grades: items in, grades out in order or as they finish, for threads and for asyncio.

A ``Backend`` does the work: it accepts jobs without waiting, and puts each reply into the mailbox that came with the
job. Here is the rest: how far ahead items are read, to which item a reply belongs, what happens when the reader stops
early. Both ``Grader`` (one machine) and ``RayGrader`` (a cluster) are a ``Flow``.
"""

from __future__ import annotations

import itertools
import queue
import threading
import weakref
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
)
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Self

from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grading.flags import flag_shares
from opsd_rs.records import Grade, Problem, Solution

if TYPE_CHECKING:
    import asyncio
from opsd_rs.grading.backend import B, Item, Reply
from opsd_rs.grading.drawing import LoopMailbox, ThreadedItems, as_async, check_item


class Flow(Generic[B]):
    """``grade``, ``stream`` and ``astream`` over a backend that a subclass starts, and the backend's life."""

    workers: int
    """Programs running at the same time."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._backend: B | None = None
        self._closed = False
        self._counting = threading.Lock()
        self._verdicts: Counter[str] = Counter()
        self._flags: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Start now: in a trainer, before anything touches a GPU."""
        self._ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the grading processes and every program they run. Grades still waited for raise OpsdError."""
        with self._starting:
            self._closed = True
            if self._backend is not None:
                self._backend.close("the grader was closed")

    def _start(self) -> B:
        """Start the backend. May take seconds."""
        raise NotImplementedError

    def _ready(self) -> B:
        """The backend, started at the first call."""
        with self._starting:
            backend = self._started()
            if backend is None:
                backend = self._backend = self._start()
                weakref.finalize(self, backend.close, "the grader was dropped")
            backend.check()
            return backend

    def _started(self) -> B | None:
        """The backend if it was started, without waiting.

        :raises OpsdError: closed
        """
        if self._closed:
            raise OpsdError(f"the grader was closed; make a new {type(self).__name__}")
        return self._backend

    def _grade(self, solution: Solution, found: Any) -> Grade:
        """The grade of a ``done`` reply."""
        raise NotImplementedError

    @property
    def usable(self) -> bool:
        """Whether it can grade: neither closed, nor broken, nor a forked process's copy."""
        try:
            backend = self._started()
            if backend is not None:
                backend.check()
        except OpsdError:
            return False
        return True

    @property
    def window(self) -> int:
        """Items submitted or finished but not yet read, at most."""
        return max(32, 4 * self.workers)

    def grade(self, items: Iterable[Item], progress: Callable[[int, int], None] | None = None) -> list[Grade]:
        """Grades in the order of ``items``. ``progress(done, total)`` is called after each.

        :raises BadInput: a problem that cannot be run, or a solution given with another problem
        :raises OpsdError: the grading processes died or cannot start; at once, never a hang
        """
        items = list(items)
        grades: dict[int, Grade] = {}
        for index, grade in self.stream(items):
            grades[index] = grade
            if progress is not None:
                progress(len(grades), len(items))
        return [grades[index] for index in range(len(items))]

    def stream(self, items: Iterable[Item] | AsyncIterable[Item]) -> GradeStream:
        """``(index, grade)`` as they finish, for ``for`` and for ``async for``; the index is the place in ``items``.

        Items are read a window ahead, so that an endless or slow iterable works, and a slow reader holds them back.
        A stream that is closed or dropped ends its running programs. Errors as for ``grade``.
        """
        return GradeStream(self, items)

    async def agrade(self, problem: Problem, solution: Solution) -> Grade:
        """One grade, without blocking the event loop. Cancelling it ends the program."""
        async with aclosing(self.astream([(problem, solution)])) as stream:
            async for _, grade in stream:
                return grade
        raise OpsdError("a stream ended without its grade")

    def _run(self, items: Iterable[Item]) -> Generator[tuple[int, Grade], None, None]:
        backend = self._ready()
        results: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        waiting: dict[int, tuple[int, Solution]] = {}
        source = enumerate(items)
        try:
            while True:
                for index, item in itertools.islice(source, self.window - len(waiting)):
                    problem, solution = check_item(item)
                    waiting[backend.submit(problem, solution, results)] = (index, solution)
                if not waiting:
                    return
                yield self._read(results.get(), waiting)
        finally:
            backend.forget(waiting)

    async def astream(
        self, items: Iterable[Item] | AsyncIterable[Item]
    ) -> AsyncGenerator[tuple[int, Grade], None]:
        """As ``stream``, for asyncio alone. The event loop is never blocked: a plain iterable that is no list or tuple
        is drawn in a thread of its own, and so is the first start of the grader.

        Cancelling the task that reads, or closing the generator, ends the programs it had under way. Whoever leaves
        the loop early should close it (``contextlib.aclosing``); otherwise the event loop does so a little later.
        """
        import asyncio

        backend = self._started()
        if backend is None:
            backend = await asyncio.to_thread(self._ready)
        backend.check()
        loop = asyncio.get_running_loop()
        replies: asyncio.Queue[Reply | None] = asyncio.Queue()
        waiting: dict[int, tuple[int, Solution]] = {}
        has_space = asyncio.Event()
        num_taken = num_read = 0
        mailbox = LoopMailbox(loop, replies)

        async def feed() -> None:
            nonlocal num_taken
            source = as_async(items)
            try:
                while True:
                    while (
                        num_taken - num_read >= self.window
                    ):  # before drawing: what is taken can be submitted
                        has_space.clear()
                        await has_space.wait()
                    try:
                        item = await anext(source)
                    except StopAsyncIteration:
                        return
                    problem, solution = check_item(item)
                    waiting[backend.submit(problem, solution, mailbox)] = (num_taken, solution)
                    num_taken += 1
            finally:
                replies.put_nowait(None)  # wakes the reader: no more items, or an error of theirs
                if isinstance(source, ThreadedItems):
                    source.close()

        feeder = loop.create_task(feed())
        try:
            while waiting or not feeder.done():
                reply = await replies.get()
                if reply is None:
                    await feeder  # raises what ended it
                    continue
                found = self._read(reply, waiting)
                num_read += 1
                has_space.set()
                yield found
            await feeder
        finally:
            feeder.cancel()
            try:
                await asyncio.wait([feeder])
                if not feeder.cancelled():
                    feeder.exception()  # raised above, or of no interest to a reader that left
            finally:
                backend.forget(waiting)

    def _read(self, reply: Reply, waiting: dict[int, tuple[int, Solution]]) -> tuple[int, Grade]:
        if reply["kind"] == "fault":
            raise OpsdError(reply["message"])
        index, solution = waiting.pop(reply["job"])
        if reply["kind"] == "refused":
            raise BadInput(reply["message"])
        grade = self._grade(solution, reply["grade"])
        with self._counting:
            self._verdicts[grade.verdict] += 1
            self._flags.update(grade.flags)
        return index, grade

    def summary(self) -> dict[str, Any]:
        """Of all grades returned so far, for a training log: ``num_graded``, ``num_null`` (``infra_error``),
        ``verdicts`` (their counts), ``flags``: ``{"near_limit": {"count": 3, "share": 0.01}, ...}``.

        A share of ``near_limit`` or ``confirmed`` that grows says that verdicts begin to depend on this machine.
        """
        with self._counting:
            verdicts, flags = dict(self._verdicts.most_common()), dict(self._flags)
        num_graded = sum(verdicts.values())
        return {
            "num_graded": num_graded,
            "num_null": verdicts.get("infra_error", 0),
            "verdicts": verdicts,
            "flags": flag_shares(flags, num_graded),
        }


class GradeStream:
    """What ``stream`` returns: an iterator of ``(index, grade)``, or an asynchronous one, whichever is asked first."""

    def __init__(self, flow: Flow[Any], items: Iterable[Item] | AsyncIterable[Item]) -> None:
        self._flow = flow
        self._items = items
        self._running: Generator[tuple[int, Grade], None, None] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[int, Grade]:
        if self._running is None:
            if not isinstance(self._items, Iterable):
                raise BadInput("an asynchronous iterable of items needs `async for`")
            self._running = self._flow._run(self._items)
        return next(self._running)

    def close(self) -> None:
        """End the programs that are running."""
        if self._running is not None:
            self._running.close()

    def __aiter__(self) -> AsyncIterator[tuple[int, Grade]]:
        return self._flow.astream(self._items)
