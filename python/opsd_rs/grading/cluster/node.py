"""Grading over a cluster, on a node: an actor that holds this node's ``Grader``.

It runs in its own process on the node, as an asynchronous actor. It never raises for the result of a job: the reply
says whether it was graded, refused (the user's data) or lost to a fault of this node.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from opsd_rs.base import MOST_TEST_CHARS, SizedLru, num_test_chars, usable_cores
from opsd_rs.config import GraderSettings
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grading.grader import Grader
from opsd_rs.records import Grade, Problem, Solution

TRIES = 2
"""Graders tried one after the other for a job whose supervisor died."""
KEPT_NUMBERS = 10_000
"""Numbers of cancelled jobs that were not running; a job may arrive after its cancellation."""


class NodeGrader:
    """The actor's class; ``cluster.backend`` makes an actor of it on every node."""

    def __init__(self, settings: GraderSettings, cpus: int) -> None:
        self._settings = replace(settings, workers=settings.workers or min(cpus, usable_cores()))
        self._grader = Grader(self._settings)
        self._problems = SizedLru[int, Problem](MOST_TEST_CHARS, num_test_chars)
        self._running: dict[int, asyncio.Task[dict[str, Any]]] = {}
        self._cancelled: OrderedDict[int, None] = OrderedDict()

    async def start(self) -> dict[str, Any]:
        """The number of workers and the rules by which they grade; or ``message``: why this node cannot grade."""
        try:
            identity = await asyncio.to_thread(self._grader.identity)
        except OpsdError as error:
            return {"message": str(error)}
        return {"workers": self._grader.workers, "identity": identity}

    async def grade(self, number: int, key: int, holder: list[Any], solution: Solution) -> dict[str, Any]:
        """The reply for job ``number``, as defined in ``grading.backend``; ``forgotten`` if it was cancelled.

        :param holder: the object reference of problem ``key``
        """
        if number in self._cancelled:
            del self._cancelled[number]
            return {"kind": "forgotten"}
        task = self._running[number] = asyncio.ensure_future(self._reply(key, holder, solution))
        try:
            await asyncio.wait([task])
        finally:
            del self._running[number]
            task.cancel()  # no effect on a task that is done
        return {"kind": "forgotten"} if task.cancelled() else task.result()

    async def forget(self, numbers: list[int]) -> None:
        """Cancel these jobs, whether they run or have yet to arrive. (Ray's own cancellation is best effort.)"""
        for number in numbers:
            task = self._running.get(number)
            if task is not None:
                task.cancel()
                continue
            self._cancelled[number] = None
            if len(self._cancelled) > KEPT_NUMBERS:
                self._cancelled.popitem(last=False)

    async def _reply(self, key: int, holder: list[Any], solution: Solution) -> dict[str, Any]:
        problem = await self._problem(key, holder)
        failure = ""
        for _ in range(TRIES):
            grader = self._grader
            try:
                return {"kind": "done", "grade": await grader.agrade(problem, solution)}
            except BadInput as error:
                return {"kind": "refused", "message": str(error)}
            except OpsdError as error:
                failure = str(error)
                if grader is self._grader:  # else another job has replaced it already
                    self._grader = Grader(self._settings)
                    grader.close()
        lost = Grade(problem.problem_id, solution.sample, None, "infra_error", (), message=failure)
        return {"kind": "done", "grade": lost}

    async def _problem(self, key: int, holder: list[Any]) -> Problem:
        """The problem, kept here so that its grader gets the same object for all its jobs."""
        if key not in self._problems:
            problem = await holder[0]
            if key not in self._problems:  # another job may have read it meanwhile
                self._problems.put(key, problem)
        found = self._problems.get(key)
        assert found is not None, "what was put last stays"
        return found
