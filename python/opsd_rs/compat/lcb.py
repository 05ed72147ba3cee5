"""``codegen_metrics`` of LiveCodeBench's runner, by the same arguments and with the same answers.

In: samples as ``{"input_output": JSON text of inputs, outputs, fn_name}``, programs per sample. Out: the metrics, the
result lists, the metadata as JSON texts. ``docs/appendix/grader-profiles.md`` says where and why the official differs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from opsd_rs.base import usable_cores
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grading import OFFICIAL_K, Grader, Profile, Sample, defect, pass_at_k_metrics, quirks_of_tests
from opsd_rs.records import Case, Solution

Result = list[Any]
Settled = tuple[Result, dict[str, Any]]
"""Results and metadata for which no program runs: the sample itself decides."""


def codegen_metrics(
    samples_list: Sequence[Mapping[str, Any]],
    generations_list: Sequence[list[str]],
    k_list: Sequence[int] = OFFICIAL_K,
    num_process_evaluate: int = 16,
    timeout: int = 6,
    debug: bool = False,
    *,
    profile: Profile = "lcb-2025-05",
) -> list[Any]:
    """``[metrics, results, metadata]``: pass@k with its detail per problem, result lists and metadata per program.

    :param num_process_evaluate: programs running at the same time, at most one per usable core: limits are wall time
    :param timeout: seconds per test, whole
    :param debug: print each program's results as it finishes
    :raises AssertionError: a generation that is no string, problems with unequal numbers of generations (as officially)
    :raises BadInput: a timeout or a number of processes that is not a whole number above 0
    :raises OpsdError: a program could not be graded through a fault of the machine, three times
    """
    for name, value in (("timeout", timeout), ("num_process_evaluate", num_process_evaluate)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(f"{name} = {value!r}: must be a whole number above 0")
    pairs = list(zip(samples_list, generations_list, strict=False))
    for _, generations in pairs:
        assert isinstance(generations, list), generations_list[0]
        assert all(isinstance(generation, str) for generation in generations), generations_list[0]
    for _, generations in pairs:
        expected = len(generations_list[0])
        assert len(generations) in (0, expected), f"{len(generations)} generations, not {expected}"

    results: defaultdict[int, list[Result]] = defaultdict(list)
    metadata: dict[int, list[dict[str, Any]]] = {}
    todo: list[tuple[Sample, Solution]] = []
    for index, (record, generations) in enumerate(pairs):
        if not generations:
            continue
        sample = read_sample(record, str(index), timeout)
        blank: Settled = ([], {}) if isinstance(sample, Sample) else sample
        results[index] = [list(blank[0]) for _ in generations]
        metadata[index] = [dict(blank[1]) for _ in generations]
        if isinstance(sample, Sample):
            todo += [(sample, Solution(str(index), n, code=code)) for n, code in enumerate(generations)]
    workers = min(num_process_evaluate, usable_cores(), max(len(todo), 1))
    with Grader(profile=profile, workers=workers, feedback=False) as grader:
        for _, grade in grader.stream(todo):
            place, number = int(grade.problem_id), grade.sample
            if grade.passed is None:
                raise OpsdError(f"sample {place}, generation {number}: could not be graded: {grade.message}")
            assert grade.official_results is not None, "an official profile gives official results"
            assert grade.official_metadata is not None
            results[place][number] = list(grade.official_results)
            metadata[place][number] = dict(grade.official_metadata)
            if debug:
                print(f"sample {place}, generation {number}: {results[place][number]}")
    texts = [[json.dumps(entry) for entry in metadata[index]] for index in sorted(metadata)]
    return [metrics(results, k_list), results, texts]


def metrics(results: Mapping[int, Sequence[Result]], k_list: Sequence[int]) -> dict[str, Any]:
    """pass@k over the problems for every k that each of them has samples for, and per problem under ``detail``.

    >>> metrics({0: [[True], [True, -2]], 1: [[-4], []]}, [1, 5])
    {'pass@1': 0.5, 'detail': {'pass@1': {0: 0.5, 1: 0.5}}}
    """
    total = np.array([len(samples) for samples in results.values()], dtype=int)
    correct = np.array([sum(map(solved, samples)) for samples in results.values()], dtype=int)
    return pass_at_k_metrics(correct, total, results, k_list)


def solved(result: Result) -> bool:
    """The official rule: every entry above zero; no tests, no failure."""
    return all(entry > 0 for entry in result)


def read_sample(record: Mapping[str, Any], name: str, timeout: int) -> Sample | Settled:
    """A sample as a problem, or what the runner answers without running anything."""
    try:
        content = json.loads(record["input_output"])
        inputs = content["inputs"]
        num_inputs = len(inputs)
    except Exception as error:  # whatever it is, the runner reports it of its own
        return [-2], {"error": repr(error), "error_code": -5, "error_message": "TestRunnerError"}
    function, quirks = content.get("fn_name"), dict[str, Any]()
    try:
        outputs = content["outputs"]
        pairs = list(zip(inputs, outputs, strict=False))
    except KeyError as error:
        return _outside(str(error))
    except TypeError as error:
        quirks |= {"num_inputs": num_inputs, "defect": str(error)}
        return Sample(name, "", (), entry_point=_name(function), time_limit_seconds=timeout, quirks=quirks)
    quirks["num_inputs"] = num_inputs
    if function is None:
        quirks["tests"] = quirks_of_tests(inputs, outputs)
        tests = tuple(
            Case(_text(given), wanted if isinstance(wanted, str) else "") for given, wanted in pairs
        )
    else:
        quirks["defect"] = defect(inputs, outputs)
        readable = pairs if quirks["defect"] is None else []
        tests = tuple(Case(given, wanted) for given, wanted in readable)
    return Sample(name, "", tests, entry_point=_name(function), time_limit_seconds=timeout, quirks=quirks)


def _outside(message: str) -> Settled:
    return [-4], {"error_code": -4, "error_message": f"Error during testing: {message}"}


def _name(function: Any) -> str | None:
    """The runner finds no function whose name is not a string, has a dot in it (in a problem's `entry_point` it would
    separate the class) or is empty: then the empty name."""
    return function if function is None or (isinstance(function, str) and "." not in function) else ""


def _text(given: Any) -> str:
    if isinstance(given, list):
        return "\n".join(item for item in given if isinstance(item, str))
    return given if isinstance(given, str) else ""
