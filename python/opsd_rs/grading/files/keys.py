"""The key of a verdict: a hash of all that it depends on, so that equal programs run once.

In: the identity of a grader, a problem, a solution. Out: 64 hex digits. Two programs share a verdict only where
code, tests, limits, profile, isolation, comparator, interpreter, sandbox policy and version of this package are equal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from opsd_rs.grading.settings import comparator
from opsd_rs.records import Problem, Solution


def grader_digest(identity: Mapping[str, Any]) -> str:
    """Of ``Grader.identity()``; the extraction rule counts only for solutions whose code it looks for."""
    return _digest({name: value for name, value in identity.items() if name != "extract"})


def problem_digest(problem: Problem) -> str:
    """Of what a problem gives to grading: how it is called, its limits, its comparator, its tests in order."""
    tests = [[test.input, test.output, test.public] for test in problem.tests]
    compare = None if problem.compare is None else comparator(problem.compare)
    return _digest(
        [problem.entry_point, problem.time_limit_seconds, problem.memory_limit_mib, compare, tests]
    )


def program_key(grader: str, problem: str, solution: Solution, extract: str) -> str:
    """The key under which the solution's verdict is kept.

    :param grader: see :func:`grader_digest`
    :param problem: see :func:`problem_digest`
    :param extract: rule that finds the code of a completion

    >>> one = program_key("g", "p", Solution("add", 0, code="print(3)"), "last")
    >>> one == program_key("g", "p", Solution("add", 7, code="print(3)"), "longest")
    True
    """
    given = ["code", solution.code] if solution.code is not None else [extract, solution.completion]
    return _digest([grader, problem, solution.truncated, *given])


def _digest(value: Any) -> str:
    # Escaped, so that half a surrogate pair has a form too.
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
