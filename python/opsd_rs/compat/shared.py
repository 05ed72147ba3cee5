"""What the reward functions share: one grader per process and settings, and the problems seen so far.

A trainer calls a reward function from many threads, in processes that it forks and restarts at any time, and never
says when it is done. So a grader is started at the first call, is never used by a forked copy of its process, is
replaced when its supervisor has died, and ends with the process.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opsd_rs.base import MOST_TEST_CHARS, SizedLru, num_test_chars
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grading import Grader, GraderSettings
from opsd_rs.inputs import dumps
from opsd_rs.problems import Unsupported, row_problem
from opsd_rs.records import Grade, Problem

_lock = threading.Lock()
_graders: dict[GraderSettings, Grader] = {}
_problems = SizedLru[str, Problem](MOST_TEST_CHARS // 2, num_test_chars)
"""By the text of their row, so that the grader gets the same object for all rollouts of a problem. Half the bound: the
text of a row is as long as its tests."""


def grader(settings: Mapping[str, Any] | None) -> Grader:
    """This process's grader with these options of ``Grader``; ``stop`` is training's unless given.

    :raises BadInput: an option that ``Grader`` does not know, or a value it refuses
    """
    try:
        wanted = GraderSettings(**{"stop": "first-timeout", **(settings or {})})
    except TypeError as error:
        raise BadInput(f"grader settings: {error}") from None
    with _lock:
        found = _graders.get(wanted)
        if found is not None and not found.usable:
            found.close()
            found = None
        if found is None:
            found = _graders[wanted] = Grader(wanted)
        return found


def problem_of(key: str, make: Callable[[str], Problem]) -> Problem:
    """The problem that ``make`` builds from its name, once for each ``key``: the whole text of the row."""
    with _lock:
        problem = _problems.get(key)
        if problem is None:
            problem = make(f"row-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}")
            _problems.put(key, problem)
        return problem


def from_tests(ground_truth: Any) -> Problem:
    """The problem of a row's tests, in any shape that a problem file may have them: text or object.

    :raises BadInput: names the key; also for SDPO's ``testtype`` "code", whose tests are programs
    """
    value = plain(ground_truth)
    # An object and its text are the same problem.
    text = value if isinstance(value, str) else dumps(value, sort_keys=True)
    return from_row({"reward_model": {"ground_truth": text}})


def from_row(row: Mapping[str, Any]) -> Problem:
    """The problem of a row of a table, see docs/grader.md, Problems.

    :raises BadInput: names the key
    """
    row = plain(row)
    key = dumps(row, sort_keys=True)

    def make(name: str) -> Problem:
        try:
            return dataclasses.replace(row_problem(row, name), prompt="", solution=None)
        except Unsupported as error:
            raise BadInput(str(error)) from error  # nobody leaves rows out here

    return problem_of(key, make)


def plain(value: Any) -> Any:
    """Lists and dictionaries instead of the arrays that a parquet reader makes of nested columns."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def share_accepted(grade: Grade) -> float:
    """Accepted tests over all tests; what was not run is not accepted."""
    accepted = sum(test.verdict == "accepted" for test in grade.tests)
    return accepted / len(grade.tests) if grade.tests else 0.0


def infra_error(grade: Grade) -> OpsdError:
    """The exception for a grade that says nothing about its program."""
    return OpsdError(f"a program could not be graded, which is no fault of it: {grade.message}")


def _forget() -> None:
    """In a forked copy: the graders, and the holder of the lock, belong to the process that was forked."""
    global _lock, _graders
    _lock = threading.Lock()
    _graders_of_parents.append(_graders)
    _graders = {}


_graders_of_parents: list[dict[GraderSettings, Grader]] = []
"""Kept, so that no finaliser of a forked copy touches what its parent still uses."""
os.register_at_fork(after_in_child=_forget)
