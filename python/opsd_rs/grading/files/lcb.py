"""``STEM_eval.json`` and ``STEM_eval_all.json``: the result files of LiveCodeBench's runner, beside our own.

In: the problems' cards, the solutions, their results. Out: the two files in its layout, so that scripts made for it
read ours. Result lists and metadata are the official ones under the profiles ``lcb-*``; under ``strict`` they are
derived from our verdicts: true per accepted test up to the first failure, then its official code. A solution that
could not be graded (``infra_error``) is null there, and in no mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import pass_at_k, tally_passed, write_whole
from opsd_rs.records import Grade, Solution

OFFICIAL_K = (1, 5, 10, 20, 40, 50, 75, 100, 125, 150, 200, 500, 1000)
"""The official runner's k of pass@k."""
CODES = {
    "wrong_answer": (-2, "Wrong Answer"),
    "time_limit": (-3, "Time Limit Exceeded"),
    "idle_limit": (-3, "Time Limit Exceeded"),
    "compile_error": (-4, "Error during testing"),
    "no_code": (-4, "Error during testing"),
}
"""Official code and message of our verdicts; every other failure is -4, a runtime error."""

Counts = NDArray[np.int64]
Outcome = tuple[list[Any] | None, str]
"""The result list of a solution, None where it could not be graded, and its metadata as JSON text."""


def outcome(grade: Grade) -> Outcome:
    """What the official runner would list for a solution.

    >>> from opsd_rs.records import CaseResult
    >>> outcome(Grade("add", 0, True, "accepted", (CaseResult(0, "accepted", cpu_seconds=0.5),)))
    ([True], '{"execution time": 0.5}')
    """
    if grade.passed is None:
        return None, json.dumps({"error": grade.message, "error_message": "infra_error"})
    if grade.official_results is not None:
        return list(grade.official_results), json.dumps(grade.official_metadata)
    if grade.passed:
        seconds = sum(test.cpu_seconds or 0.0 for test in grade.tests)
        return [True] * len(grade.tests), json.dumps({"execution time": seconds})
    code, message = CODES.get(grade.verdict, (-4, "Runtime Error"))
    about = {"error": grade.message, "error_code": code, "error_message": message}
    verdicts = [test.verdict for test in grade.tests]
    passes = next((n for n, verdict in enumerate(verdicts) if verdict != "accepted"), len(verdicts))
    if message == "Error during testing":
        return [code], json.dumps(about)
    first = next((verdict for verdict in verdicts[passes:] if verdict != "not_run"), grade.verdict)
    return [True] * passes + [CODES.get(first, (-4, ""))[0]], json.dumps(about)


def write(
    folder: Path,
    stem: str,
    cards: Mapping[str, Mapping[str, str]],
    solutions: Sequence[Solution],
    outcomes: Sequence[Outcome],
    code_of: Callable[[Solution], str],
) -> tuple[Path, Path]:
    """Write both files whole; their paths.

    :param cards: LiveCodeBench's fields of each problem that has solutions
    :param outcomes: one per solution
    :param code_of: the program that a solution came to
    """
    samples: dict[str, list[tuple[Solution, Outcome]]] = {name: [] for name in sorted(cards)}
    for solution, found in zip(solutions, outcomes, strict=True):
        if solution.problem_id in samples:
            samples[solution.problem_id].append((solution, found))
    for group in samples.values():
        group.sort(key=lambda pair: pair[0].sample)
    graded = [[_passed(found) for _, found in group] for group in samples.values()]
    metrics = _metrics(graded)
    results = {str(n): [found[0] for _, found in group] for n, group in enumerate(samples.values())}
    metadata = [[found[1] for _, found in group] for group in samples.values()]
    everything = [
        {
            **cards[name],
            "output_list": [code_of(s) if s.completion is None else s.completion for s, _ in group],
            "code_list": [code_of(s) for s, _ in group],
            "graded_list": outcomes_of_one,
            "pass@1": _share(outcomes_of_one),
            "metadata": notes,
        }
        for (name, group), outcomes_of_one, notes in zip(samples.items(), graded, metadata, strict=True)
    ]
    paths = folder / f"{stem}_eval.json", folder / f"{stem}_eval_all.json"
    for path, value in zip(paths, ([metrics, results, metadata], everything), strict=True):
        write_whole(path, json.dumps(value, indent=4, allow_nan=False).encode())
    return paths


def _passed(found: Outcome) -> bool | None:
    """The official rule: every entry of the result list above zero."""
    return None if found[0] is None else all(entry > 0 for entry in found[0])


def _share(passed: Sequence[bool | None]) -> float | None:
    known = [outcome for outcome in passed if outcome is not None]
    return sum(known) / len(known) if known else None


def _metrics(graded: Sequence[Sequence[bool | None]]) -> dict[str, Any]:
    correct_N, samples_N = tally_passed(graded)
    places = [index for index, samples in enumerate(samples_N) if samples > 0]
    names = [str(place) for place in places]
    return pass_at_k_metrics(correct_N[places], samples_N[places], names, OFFICIAL_K if places else ())


def pass_at_k_metrics(
    correct_N: Counts, samples_N: Counts, names: Iterable[Any], k_list: Iterable[int]
) -> dict[str, Any]:
    """pass@k for every k that each problem has samples for, and per problem under ``detail``, in the official layout.

    >>> pass_at_k_metrics(np.array([1, 0]), np.array([2, 2]), "ab", [1, 5])
    {'pass@1': 0.25, 'detail': {'pass@1': {'a': 0.5, 'b': 0.0}}}
    """
    names, means, detail = list(names), dict[str, float](), dict[str, dict[Any, float]]()
    for k in k_list:
        if (samples_N >= k).all():
            values = pass_at_k(correct_N, samples_N, k)
            means[f"pass@{k}"] = float(values.mean()) if names else float("nan")
            detail[f"pass@{k}"] = dict(zip(names, values.tolist(), strict=True))
    return {**means, "detail": detail}
