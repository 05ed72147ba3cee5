"""What the reward functions share: one grader per process and settings, and the problems they have met.

A trainer calls a reward function from many threads, in processes that it forks and restarts as it likes, and never
says when it is done. So a grader is started at the first call, is never used by a forked copy of its process, is
replaced when its supervisor has died, and ends with the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grading import Grader
from opsd_rs.problems import pairs_cases, pairs_head
from opsd_rs.records import Grade, Problem

MOST_CHARS = 1 << 28
"""Tests kept as problems, so that the grader gets each once for all its rollouts; least recently used ones go."""

_lock = threading.Lock()
_graders: dict[str, Grader] = {}
_problems: OrderedDict[str, tuple[Problem, int]] = OrderedDict()
_num_chars = 0


def grader(settings: Mapping[str, Any] | None) -> Grader:
    """This process's grader with these keywords of ``Grader``; training's ``stop`` unless they say otherwise.

    :raises BadInput: a keyword that ``Grader`` does not know, or a value it refuses
    """
    wanted = {"stop": "first-timeout", **(settings or {})}
    key = json.dumps(wanted, sort_keys=True, default=str)
    with _lock:
        found = _graders.get(key)
        if found is not None and not found.usable:
            found.close()
            found = None
        if found is None:
            try:
                found = Grader(**wanted)
            except TypeError as error:
                raise BadInput(f"grader settings: {error}") from None
            _graders[key] = found
        return found


def problem_of(key: str, make: Callable[[str], Problem]) -> Problem:
    """The problem that ``make`` builds from its name, once for each ``key``: the row's own text, whole."""
    global _num_chars
    with _lock:
        known = _problems.pop(key, None)
        if known is None:
            problem = make(f"row-{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:12]}")
            known = problem, len(key) + sum(len(test.input) + len(test.output) for test in problem.tests)
            _num_chars += known[1]
        _problems[key] = known
        while _num_chars > MOST_CHARS and len(_problems) > 1:
            _, (_, num_chars) = _problems.popitem(last=False)
            _num_chars -= num_chars
        return known[0]


def from_pairs(ground_truth: Any) -> Problem:
    """The problem of a row that holds ``inputs`` and ``outputs`` (and ``fn_name``, ``time_limit``), as JSON or object.

    :raises BadInput: names the key; also for SDPO's ``testtype`` "code", whose tests are programs
    """
    if isinstance(ground_truth, bytes):
        ground_truth = ground_truth.decode()
    value = ground_truth if isinstance(ground_truth, str) else plain(ground_truth)
    key = value if isinstance(value, str) else json.dumps(value, sort_keys=True)

    def make(name: str) -> Problem:
        record = {"problem_id": name, "reward_model": {"ground_truth": value}}
        head, tests = pairs_head(record, 0), pairs_cases(record)
        kind = (json.loads(value) if isinstance(value, str) else value).get("testtype")
        if kind not in (None, "", "stdin", "functional"):
            raise BadInput(f"ground truth: testtype {kind!r} cannot be graded; stdin and functional can")
        return Problem(
            name, "", tests, entry_point=head.entry_point, time_limit_seconds=head.time_limit_seconds
        )

    return problem_of(key, make)


def plain(value: Any) -> Any:
    """Lists and dictionaries instead of the arrays that a parquet reader makes of nested columns."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    return value


def share_accepted(grade: Grade) -> float:
    """Accepted tests over all tests; what was not run is not accepted."""
    accepted = sum(test.verdict == "accepted" for test in grade.tests)
    return accepted / len(grade.tests) if grade.tests else 0.0


def infra_error(grade: Grade) -> OpsdError:
    """The exception for a grade that says nothing about its program."""
    return OpsdError(f"a program could not be graded, which is no fault of it: {grade.metadata['message']}")


def _forget() -> None:
    """In a forked copy: the graders, and whoever holds the lock, belong to the process it was copied from."""
    global _lock, _graders
    _lock = threading.Lock()
    _left_alone.append(_graders)
    _graders = {}


_left_alone: list[dict[str, Grader]] = []
"""Kept, so that no finaliser of a forked copy touches what its parent still uses."""
os.register_at_fork(after_in_child=_forget)
