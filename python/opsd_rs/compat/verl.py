"""verl's reward function for programs: ``compute_score``, with the score dictionary of its fork SDPO.

In verl's configuration, under ``reward`` in recent versions::

    custom_reward_function:
      path: pkg://opsd_rs.compat.verl   # older versions want this file's path
      name: compute_score_async         # compute_score_batch for the batch manager
      reward_kwargs: {grader: {workers: 8}}

``compute_score`` is for managers that call a plain function (naive, dapo), ``compute_score_async`` for those that can
await it, ``compute_score_batch`` for the batch manager; a manager that calls a plain function row by row uses one core.
The ground truth is what code datasets hold: ``inputs``, ``outputs``, and ``fn_name`` where a function is called, or a
list of ``{input, output}``, or any other shape that a problem file may have (docs/grader.md), as text or as an object;
SDPO's ``time_limit`` counts, its ``testtype`` "code" is refused.

Where this differs from the functions it replaces: an infrastructure fault raises, it is never a score of zero (the
prime manager swallows exceptions, the old naive one scores zero after its own ``compute_score_timeout``: use neither);
a ground truth that cannot be read raises too; ``pred`` lists the verdicts, since outputs stay in the grader; SDPO's
penalty for a missing code block is left to the trainer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from opsd_rs.compat import shared
from opsd_rs.records import Grade, Problem, Solution

LONGEST_PRED = 5000
"""Characters of ``pred``; SDPO's."""
ERRORS = ("runtime_error", "compile_error", "security_violation", "memory_limit", "output_limit")
TIMEOUTS = ("time_limit", "idle_limit")


def compute_score(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    continuous: bool = False,
    grader: Mapping[str, Any] | None = None,
    **_: Any,
) -> dict[str, Any]:
    """The score of one response. Safe to call from many threads at once.

    :param extra_info: ``truncated`` is read, where the manager says so
    :param continuous: ``score`` is the share of accepted tests instead of 1 for all and 0 otherwise
    :param grader: options of ``opsd_rs.Grader``; a process has one grader for each set of them
    :returns: ``score``, ``acc`` (share of accepted tests), ``pred``, ``incorrect_format`` (no code in the response),
        ``error_in_test_cases``, ``timed_out``, ``truncated``, ``truncated_and_missing_answer``, ``feedback``, always
        all of them
    :raises OpsdError: the program could not be graded; says nothing about it
    :raises BadInput: the ground truth is not of a known form, or an option of ``grader`` is wrong
    """
    del data_source  # the tests say what is to be run
    problem, solution = _item(solution_str, ground_truth, extra_info)
    [grade] = shared.grader(grader).grade([(problem, solution)])
    return _scored(grade, solution, continuous)


async def compute_score_async(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    continuous: bool = False,
    grader: Mapping[str, Any] | None = None,
    **_: Any,
) -> dict[str, Any]:
    """As ``compute_score``, for managers that await: responses are graded in parallel, the loop is not blocked."""
    del data_source
    ours = await asyncio.to_thread(shared.grader, grader)
    problem, solution = _item(solution_str, ground_truth, extra_info)
    return _scored(await ours.agrade(problem, solution), solution, continuous)


def compute_score_batch(
    data_sources: Sequence[Any],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any] | None] | None = None,
    *,
    continuous: bool = False,
    grader: Mapping[str, Any] | None = None,
    **_: Any,
) -> list[dict[str, Any]]:
    """As ``compute_score``, for the batch manager: all responses of a step at once, on all workers."""
    del data_sources
    infos = [None] * len(solution_strs) if extra_infos is None else extra_infos
    items = [_item(*row) for row in zip(solution_strs, ground_truths, infos, strict=True)]
    grades = shared.grader(grader).grade(items)
    return [_scored(grade, item[1], continuous) for grade, item in zip(grades, items, strict=True)]


def _item(text: str, ground_truth: Any, extra_info: Mapping[str, Any] | None) -> tuple[Problem, Solution]:
    problem = shared.from_tests(ground_truth)
    truncated = bool((extra_info or {}).get("truncated", False))
    return problem, Solution(problem.problem_id, 0, completion=text, truncated=truncated)


def _scored(grade: Grade, solution: Solution, continuous: bool) -> dict[str, Any]:
    if grade.passed is None:
        raise shared.infra_error(grade)
    verdicts = [test.verdict for test in grade.tests]
    share = shared.share_accepted(grade)
    no_code = grade.verdict == "no_code"
    return {
        "score": share if continuous else float(grade.passed),
        "acc": share,
        "pred": str([grade.verdict] if no_code else verdicts)[-LONGEST_PRED:],
        "incorrect_format": int(no_code),
        "error_in_test_cases": int(any(verdict in ERRORS for verdict in verdicts)),
        "timed_out": int(any(verdict in TIMEOUTS for verdict in verdicts)),
        "truncated": int(solution.truncated),
        "truncated_and_missing_answer": int(no_code and solution.truncated),
        "feedback": grade.feedback,
    }
