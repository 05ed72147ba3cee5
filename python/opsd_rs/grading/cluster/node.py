"""One node's end of grading over a cluster: an actor that holds this node's ``Grader``.

Runs in a process of its own on the node, as an asynchronous actor. It never raises for what a job comes to: a reply
says whether it was graded, refused (the user's data) or lost to this node's machinery.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from opsd_rs.base import usable_cores
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grading.grader import Grader
from opsd_rs.records import Grade, Problem, Solution

KEPT_CHARS = 1 << 28
"""Tests kept as problems on this node; least recently used ones are read from the object store again."""
TRIES = 2
"""Graders tried one after the other for a job whose supervisor died under it."""
KEPT_NUMBERS = 10_000
"""Numbers of jobs called off that were not under way; a job may arrive after the word that nobody waits for it."""


class NodeGrader:
    """The actor's class; ``grading_ray`` makes an actor of it on every node."""

    def __init__(self, settings: dict[str, Any], workers: int | None, cpus: int) -> None:
        self._settings = {**settings, "workers": workers or min(cpus, usable_cores())}
        self._grader = Grader(**self._settings)
        self._problems: OrderedDict[int, Problem] = OrderedDict()
        self._num_chars = 0
        self._under_way: dict[int, asyncio.Task[dict[str, Any]]] = {}
        self._called_off: OrderedDict[int, None] = OrderedDict()

    async def start(self) -> dict[str, Any]:
        """How many workers there are, and by which rules they grade; or ``message``: why it cannot grade."""
        try:
            identity = await asyncio.to_thread(self._grader.identity)
        except OpsdError as error:
            return {"message": str(error)}
        return {"workers": self._grader.workers, "identity": identity}

    async def grade(self, number: int, key: int, holder: list[Any], solution: Solution) -> dict[str, Any]:
        """A reply as ``grading.backend`` has them, for job ``number``; ``forgotten`` where that was called off.

        :param holder: the object reference of problem ``key``
        """
        if number in self._called_off:
            del self._called_off[number]
            return {"kind": "forgotten"}
        task = self._under_way[number] = asyncio.ensure_future(self._reply(key, holder, solution))
        try:
            await asyncio.wait([task])
        finally:
            del self._under_way[number]
            task.cancel()  # of no effect on one that is done
        return {"kind": "forgotten"} if task.cancelled() else task.result()

    async def forget(self, numbers: list[int]) -> None:
        """End these jobs, or see that they never start. (Ray's own cancellation of a call is best effort.)"""
        for number in numbers:
            task = self._under_way.get(number)
            if task is not None:
                task.cancel()
                continue
            self._called_off[number] = None
            if len(self._called_off) > KEPT_NUMBERS:
                self._called_off.popitem(last=False)

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
                    self._grader = Grader(**self._settings)
                    grader.close()
        metadata = {"message": failure}
        return {
            "kind": "done",
            "grade": Grade(problem.problem_id, solution.sample, None, "infra_error", (), metadata=metadata),
        }

    async def _problem(self, key: int, holder: list[Any]) -> Problem:
        if key not in self._problems:
            problem = await holder[0]
            if key not in self._problems:  # another job may have read it meanwhile
                self._problems[key] = problem
                self._num_chars += _num_chars(problem)
        self._problems.move_to_end(key)
        found = self._problems[key]
        while self._num_chars > KEPT_CHARS and len(self._problems) > 1:
            self._num_chars -= _num_chars(self._problems.popitem(last=False)[1])
        return found


def _num_chars(problem: Problem) -> int:
    return sum(len(test.input) + len(test.output) for test in problem.tests)
