"""Grades as they finish, for threads and for asyncio: what arrives when, who is held back, what a reader that leaves
takes with it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import processes
import pytest
from graded import ADD, LOOP, QUICK, RIGHT, one, verdicts
from opsd_rs import Grader, Problem, Solution
from opsd_rs.errors import BadInput, OpsdError
from processes import wait_until

Item = tuple[Problem, Solution]
SLEEP = "import time\ntime.sleep(1.5)\n" + RIGHT
ONE = Problem("one", "", ADD.tests[:1], time_limit_seconds=20)
FOREVER = (ONE, Solution("one", 0, code=LOOP))


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2, idle_seconds=20) as found:
        yield found


def right(number: int) -> Item:
    return ADD, Solution("add", number, code=f"{RIGHT}  # {number}")


def programs(grader: Grader) -> int:
    """Programs alive now."""
    assert grader.pid is not None
    return len(processes.programs(grader.pid))


# ---- what arrives when ------------------------------------------------------------------------------


def test_a_fast_grade_arrives_while_an_earlier_sleeper_runs(grader: Grader) -> None:
    stream = grader.stream([(ONE, Solution("one", 0, code=SLEEP)), right(1), right(2)])
    arrived = [next(stream)[0], next(stream)[0]]
    assert sorted(arrived) == [1, 2]
    assert programs(grader) == 1, "the sleeper still runs"
    index, grade = next(stream)
    assert (index, grade.verdict) == (0, "accepted")
    with pytest.raises(StopIteration):
        next(stream)


def test_the_same_for_asyncio(grader: Grader) -> None:
    async def main() -> list[tuple[int, int]]:
        items = [(ONE, Solution("one", 0, code=SLEEP)), right(1), right(2)]
        return [(index, programs(grader)) async for index, _ in grader.astream(items)]

    first, second, last = asyncio.run(main())
    assert {first[0], second[0]} == {1, 2}
    assert second[1] == 1, "the sleeper still runs"
    assert last == (0, 0)


def test_one_stream_serves_both_kinds_of_loop(grader: Grader) -> None:
    async def main() -> set[int]:
        return {index async for index, _ in grader.stream([right(0), right(1)])}

    assert asyncio.run(main()) == {0, 1}
    assert {index for index, _ in grader.stream([right(0), right(1)])} == {0, 1}


def test_items_may_come_from_anywhere(grader: Grader) -> None:
    async def trickle() -> AsyncIterator[Item]:
        for number in range(5):
            await asyncio.sleep(0.01)
            yield right(number)

    def pour() -> Iterator[Item]:
        yield from map(right, range(5))

    async def main() -> None:
        for items in (trickle(), pour(), list(pour()), tuple(pour())):
            grades = [(index, grade) async for index, grade in grader.astream(items)]
            assert sorted(index for index, _ in grades) == list(range(5))
            assert all(grade.passed and grade.sample == index for index, grade in grades)
        assert [found async for found in grader.astream([])] == []
        assert (await grader.agrade(*right(3))).sample == 3

    asyncio.run(main())
    with pytest.raises(BadInput, match="needs `async for`"):
        next(grader.stream(trickle()))


def test_a_grade_arrives_while_the_next_item_is_awaited(grader: Grader) -> None:
    async def main() -> None:
        read = asyncio.Event()

        async def items() -> AsyncIterator[Item]:
            yield right(0)
            await asyncio.wait_for(read.wait(), 20)  # only the first grade lets it go on
            yield right(1)

        async for index, _ in grader.astream(items()):
            if index == 0:
                read.set()

    asyncio.run(main())


# ---- who is held back -----------------------------------------------------------------------------


def test_a_slow_reader_holds_the_items_back(grader: Grader) -> None:
    drawn = 0

    async def endless() -> AsyncIterator[Item]:
        nonlocal drawn
        while True:
            drawn += 1
            yield right(drawn)

    async def main() -> None:
        async with aclosing(grader.astream(endless())) as stream:
            await anext(stream)
            await asyncio.sleep(0.5)
            assert drawn <= grader.window + 1
            for _ in range(grader.window):
                await anext(stream)
            assert grader.window < drawn <= 2 * grader.window + 2

    asyncio.run(main())


def test_the_loop_is_never_blocked() -> None:
    """The source waits for what only a running loop does: it would wait for good if it were drawn from on the loop."""
    asked, answered = threading.Semaphore(0), threading.Semaphore(0)

    def slow() -> Iterator[Item]:
        for n in range(3):
            asked.release()
            assert answered.acquire(timeout=60), "the loop stood still while the source was drawn from"
            yield ADD, Solution("add", n, code=RIGHT)

    async def answer() -> None:
        for _ in range(3):
            while not asked.acquire(blocking=False):
                await asyncio.sleep(0.001)
            answered.release()

    async def main() -> None:
        answering = asyncio.create_task(answer())
        with Grader(workers=1) as fresh:
            assert [grade.verdict async for _, grade in fresh.astream(slow())] == ["accepted"] * 3
        await answering

    asyncio.run(main())


# ---- what a reader that leaves takes with it ----------------------------------------------------------


def test_a_cancelled_task_ends_its_programs(grader: Grader) -> None:
    async def main() -> None:
        async def read() -> None:
            async for _ in grader.astream([FOREVER] * 10):
                raise AssertionError("nothing finishes here")

        task = asyncio.create_task(read())
        while programs(grader) < 2:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    start = time.monotonic()
    assert one(grader, ADD, RIGHT).passed, "the workers are free again"
    assert time.monotonic() - start < 10, "ten loops of 20 CPU seconds were dropped"
    assert wait_until(lambda: programs(grader) == 0)


def test_a_closed_stream_ends_its_programs(grader: Grader) -> None:
    stream = grader.stream([FOREVER, right(1), *[FOREVER] * 8])
    assert next(stream)[0] == 1
    stream.close()
    assert wait_until(lambda: programs(grader) == 0)
    assert one(grader, ADD, RIGHT).passed


def test_a_reader_that_breaks_ends_its_programs(grader: Grader) -> None:
    async def main() -> None:
        async for index, _ in grader.astream([FOREVER, right(1), *[FOREVER] * 8]):
            assert index == 1
            break
        while programs(grader):
            await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_errors_of_the_source_reach_the_reader(grader: Grader) -> None:
    async def broken() -> AsyncIterator[Item]:
        yield right(0)
        raise RuntimeError("the source broke")

    async def read() -> None:
        async for _ in grader.astream(broken()):
            await asyncio.sleep(0.1)  # the source breaks while the reader is busy

    async def main() -> None:
        with pytest.raises(RuntimeError, match="the source broke"):
            await read()
        with pytest.raises(BadInput, match="'other' was given with problem 'add'"):
            await grader.agrade(ADD, Solution("other", 0, code=RIGHT))
        with pytest.raises(BadInput, match="problem empty: has no tests"):
            await grader.agrade(Problem("empty", "", ()), Solution("empty", 0, code=RIGHT))

    asyncio.run(main())


def test_a_dead_supervisor_is_an_error_in_every_task() -> None:
    async def main() -> None:
        with Grader(workers=1) as dying:
            tasks = [asyncio.create_task(dying.agrade(*FOREVER)) for _ in range(3)]
            await asyncio.sleep(0.3)
            assert dying._backend is not None
            await asyncio.to_thread(dying._backend.process.kill)
            for task in tasks:
                with pytest.raises(OpsdError, match="supervisor died: signal 9"):
                    await task

    asyncio.run(asyncio.wait_for(main(), 20))


def test_two_loops_in_two_threads_share_a_grader(grader: Grader) -> None:
    found: list[list[int]] = []

    async def main() -> None:
        found.append(sorted([index async for index, _ in grader.astream(map(right, range(20)))]))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(20))] * 2


# ---- which tests are left out -------------------------------------------------------------------------


def test_no_test_runs_after_the_first_timeout() -> None:
    # The smallest input runs first, then the largest.
    late = "import sys\nn = int(input().split()[0])\nif n == 10:\n    while True: pass\nprint(0 if n == 1 else 9)"
    problem = Problem("add", "", ADD.tests, time_limit_seconds=0.3)
    with Grader(workers=1, stop="first-timeout", idle_seconds=0.3, feedback="sdpo") as grader:
        grade = one(grader, problem, late)
        assert verdicts(grade) == ["wrong_answer", "not_run", "time_limit"], "a wrong answer stops nothing"
        assert (grade.verdict, grade.flags) == ("wrong_answer", ())
        assert grade.feedback.startswith("Time Limit Exceeded"), "as with all tests run"
        assert verdicts(one(grader, problem, "import time\ntime.sleep(9)")) == [
            "idle_limit",
            "not_run",
            "not_run",
        ]
        assert verdicts(one(grader, QUICK, RIGHT)) == ["accepted", "accepted"]
    with Grader(workers=1, feedback="sdpo") as running:
        whole = one(running, problem, late)
        assert verdicts(whole) == ["wrong_answer", "accepted", "time_limit"]
        assert whole.feedback == grade.feedback
