"""The grader: solutions and their problems in; verdicts per test, one per solution, and feedback out.

One supervisor process does the work (``rust/grade``): it is exec'd with a clean environment, alone knows the expected
outputs, and drives one sandbox per worker. This process is never forked, so it may hold torch, CUDA, threads and any
amount of memory. A program that fails is a verdict; a fault of ours is retried and then reported apart
(``infra_error``, ``passed`` None).

What this room does not do: load problems, resume a grading that was cut short, protect from faults of the kernel.
"""

from __future__ import annotations

import json
import platform
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

from opsd_rs.cores import usable_cores
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.grader_process import Supervisor
from opsd_rs.grading_flow import Flow
from opsd_rs.records import CaseResult, Grade, Problem, Solution

Stop = Literal["never", "first-timeout", "first-failure"]
Isolation = Literal["solution", "test"]
Extract = Literal["last", "longest", "official"]


class Grader(Flow):
    """A pool of sandboxes; a context manager, started when entered or at first use. Safe to share between threads.

    :param workers: programs running at the same time; None: one per usable core
    :param stop: ``first-failure`` leaves the tests after a solution's first failure out (``not_run``);
        ``first-timeout`` those after the first ``time_limit`` or ``idle_limit``, the failures that are dear. ``never``
        runs all, but after a failure only within ``min(tests x time limit, 30 s)`` of CPU time for the whole solution
    :param isolation: ``solution`` runs a program's tests one after the other in one process, state reset in between
        and failures confirmed in a fresh process; ``test`` gives every test a process of its own
    :param cpu_seconds: per test, in place of each problem's ``time_limit_seconds``; so do the other limits:
        ``idle_seconds`` (neither computing nor waiting for a core), ``wall_seconds`` (then the test is given up as
        starved, never counted against the program), ``memory_mib`` (address space, in place of the problem's),
        ``output_mib`` (standard output), ``threads`` (alive at once)
    :param require: lowest level of isolation accepted; a machine that gives less is an error
    :param extract: which block of a completion is the program: the last closed fence, the longest (SDPO), or the
        text between the last two fence lines (LiveCodeBench)
    :param site_packages: folders outside the standard library that programs may read and import from; whatever lies
        in them is open to the programs

    >>> from opsd_rs import Case, Problem, Solution
    >>> problem = Problem("add", "Add.", (Case("1\\n2", "3"),), entry_point="add")
    >>> with Grader(workers=1) as grader:
    ...     [grade] = grader.grade([(problem, Solution("add", 0, code="def add(a, b): return a + b"))])
    >>> grade.verdict
    'accepted'
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        stop: Stop = "never",
        isolation: Isolation = "solution",
        cpu_seconds: float | None = None,
        idle_seconds: float | None = None,
        wall_seconds: float | None = None,
        memory_mib: int | None = None,
        output_mib: int | None = None,
        threads: int | None = None,
        require: str = "S2",
        feedback: bool = True,
        extract: Extract = "last",
        site_packages: Sequence[str | Path] = (),
    ) -> None:
        if workers is not None and workers < 1:
            raise BadInput(f"workers = {workers}: must be at least 1")
        for name, value, allowed in (
            ("stop", stop, ("never", "first-timeout", "first-failure")),
            ("isolation", isolation, ("solution", "test")),
            ("extract", extract, ("last", "longest", "official")),
            ("require", require, ("S1", "S2", "S3")),
        ):
            if value not in allowed:
                raise BadInput(f"{name} = {value!r}: must be one of {', '.join(allowed)}")
        self.workers = usable_cores() if workers is None else workers
        self._settings: dict[str, Any] = {
            "workers": self.workers,
            "stop": stop,
            "isolation": isolation,
            "limits": {
                "cpu_seconds": cpu_seconds,
                "idle_seconds": idle_seconds,
                "wall_seconds": wall_seconds,
                "memory_mib": memory_mib,
                "output_mib": output_mib,
                "threads": threads,
            },
            "require": require,
            "feedback": feedback,
            "extract": extract,
            "site_packages": [str(Path(folder).resolve()) for folder in site_packages],
        }
        self._starting = threading.Lock()
        self._supervisor: Supervisor | None = None
        self._closed = False

    def __enter__(self) -> Self:
        """Start the supervisor now: in a trainer, before anything touches a GPU."""
        self._ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the supervisor and every program it runs. Grades still waited for raise OpsdError."""
        with self._starting:
            self._closed = True
            if self._supervisor is not None:
                self._supervisor.close("the grader was closed")

    @property
    def pid(self) -> int | None:
        """Process id of the supervisor, None before it started."""
        return None if self._supervisor is None else self._supervisor.process.pid

    def _grade(self, solution: Solution, found: Mapping[str, Any]) -> Grade:
        supervisor = self._supervisor
        assert supervisor is not None, "a reply without a supervisor"
        return Grade(
            problem_id=solution.problem_id,
            sample=solution.sample,
            passed=found["passed"],
            verdict=found["verdict"],
            tests=tuple(CaseResult(**test) for test in found["tests"]),
            feedback=found["feedback"],
            metadata={
                "sandbox": supervisor.sandbox,
                "python_version": platform.python_version(),
                "stop": self._settings["stop"],
                "extract": None if solution.code is not None else self._settings["extract"],
                "message": found["message"],
            },
            isolation=self._settings["isolation"],
            sandbox_level=supervisor.sandbox_level,
            policy_hash=supervisor.policy_hash,
            flags=tuple(found["flags"]),
        )

    def _ready(self) -> Supervisor:
        from opsd_rs import _core

        with self._starting:
            if self._closed:
                raise OpsdError("the grader was closed; make a new Grader")
            if self._supervisor is None:
                self._supervisor = Supervisor(str(_core.__file__), self._settings)
                weakref.finalize(self, self._supervisor.close, "the grader was dropped")
            self._supervisor.check()
            return self._supervisor

    def _started(self) -> Supervisor | None:
        return None if self._closed else self._supervisor


def read_solutions(path: Path, problem_ids: Mapping[str, Any]) -> list[Solution]:
    """All solutions of a jsonl file.

    :raises BadInput: names the file, the line, and what is wrong with it
    """
    solutions = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                solutions.append(_solution(json.loads(line), problem_ids))
            except (ValueError, BadInput) as error:
                raise BadInput(f"{path}, line {number}: {error}") from None
    return solutions


def _solution(record: Any, problem_ids: Mapping[str, Any]) -> Solution:
    if not isinstance(record, dict):
        raise BadInput("must be a JSON object with problem_id, sample, and code or completion")
    for key, kind in (("problem_id", str), ("sample", int), ("code", str), ("completion", str)):
        value = record.get(key)
        if key in ("problem_id", "sample") and value is None:
            raise BadInput(f"key {key} is missing")
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise BadInput(f"key {key}: must be {'an integer' if kind is int else 'a string'}")
    if record.get("code") is None and record.get("completion") is None:
        raise BadInput("needs the key code or the key completion")
    if record["problem_id"] not in problem_ids:
        raise BadInput(f"problem_id {record['problem_id']!r} is not among the problems")
    return Solution(
        record["problem_id"],
        record["sample"],
        code=record.get("code"),
        completion=record.get("completion"),
        truncated=record.get("truncated") is True,
    )


def grade_files(
    problems: Sequence[Problem],
    solutions: Path,
    out: Path,
    *,
    workers: int | None = None,
    stop: Stop = "never",
    progress: bool = False,
) -> dict[str, Any]:
    """Grade a solutions file; one result line per solution in ``out``, written whole as each finishes.

    :returns: ``num_problems``, ``num_solutions``, ``num_null`` (infrastructure faults), ``mean_at_k`` (mean over
        problems of the mean over their samples, nulls left out; None if nothing is left), ``verdicts`` (counts)
    :raises BadInput: a corrupt solutions line, an unknown problem, or an ``out`` that exists
    """
    by_id = {problem.problem_id: problem for problem in problems}
    todo = read_solutions(solutions, by_id)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        file = out.open("xb", buffering=0)
    except FileExistsError:
        raise BadInput(f"{out} exists; choose another name or remove it") from None
    except OSError as error:
        raise BadInput(f"{out}: {error.strerror}") from None
    verdicts: Counter[str] = Counter()
    passed: dict[str, list[bool]] = {}
    with file, Grader(workers=workers, stop=stop) as grader:
        items = ((by_id[solution.problem_id], solution) for solution in todo)
        for done, (_, grade) in enumerate(grader.stream(items), start=1):
            file.write(json.dumps(asdict(grade), allow_nan=False).encode() + b"\n")
            verdicts[grade.verdict] += 1
            if grade.passed is not None:
                passed.setdefault(grade.problem_id, []).append(grade.passed)
            if progress:
                _show(done, len(todo))
    means = [sum(samples) / len(samples) for samples in passed.values()]
    return {
        "num_problems": len({solution.problem_id for solution in todo}),
        "num_solutions": len(todo),
        "num_null": verdicts["infra_error"],
        "mean_at_k": sum(means) / len(means) if means else None,
        "verdicts": dict(verdicts.most_common()),
    }


def _show(done: int, total: int) -> None:
    """A moving line on a terminal; elsewhere a line every tenth."""
    if sys.stderr.isatty():
        print(f"\rgraded {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done == total or done % max(1, total // 10) == 0:
        print(f"graded {done}/{total}", file=sys.stderr, flush=True)
