"""The grader: solutions and their problems in; verdicts per test, one per solution, and feedback out.

One supervisor process does the work (``rust/grade``): it is started with a clean environment, alone knows the expected
outputs, and drives one sandbox per worker. This process is never forked, so it may hold torch, CUDA, threads and any
amount of memory. A program that fails is a verdict; an infrastructure fault is retried and then reported as such
(``infra_error``, ``passed`` None).

What it does not do: load problems, read or write files (``grading.files``), protect from faults of the kernel.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

from opsd_rs import __version__
from opsd_rs.config import GraderOptions, GraderSettings
from opsd_rs.grading.official import official_fields
from opsd_rs.grading.settings import check_folders, wire_settings
from opsd_rs.grading.stream import Flow
from opsd_rs.grading.supervisor import Supervisor
from opsd_rs.records import CaseResult, Grade, GraderIdentity, Reason, Solution


class Grader(Flow[Supervisor]):
    """A pool of sandboxes; a context manager, started when entered or at first use. Safe to share between threads.

    :param settings: how it judges; None: the defaults
    :param options: fields of :class:`GraderSettings` by name, where each is described; they replace those of
        ``settings``

    >>> from opsd_rs import Case, Problem, Solution
    >>> problem = Problem("add", "Add.", (Case("1\\n2", "3"),), entry_point="add")
    >>> with Grader(workers=1) as grader:
    ...     [grade] = grader.grade([(problem, Solution("add", 0, code="def add(a, b): return a + b"))])
    >>> grade.verdict
    'accepted'
    """

    def __init__(self, settings: GraderSettings | None = None, **options: Unpack[GraderOptions]) -> None:
        self.settings = replace(settings or GraderSettings(), **options)
        self._wire = wire_settings(self.settings)
        self.workers = self._wire["workers"]
        super().__init__()

    @property
    def pid(self) -> int | None:
        """Process id of the supervisor, None before it started."""
        return None if self._backend is None else self._backend.process.pid

    def identity(self) -> dict[str, Any]:
        """All that verdicts depend on beside problem and solution; graders of equal identities may share them."""
        from importlib.metadata import version

        supervisor = self._ready()
        # What counts is the level that holds, not the one asked for; a program killed for the budget runs again.
        apart = ("workers", "level", "require", "allow_unsandboxed", "memory_budget_mib")
        mine = {name: value for name, value in self._wire.items() if name not in apart}
        folders = map(Path, self._wire["packages"])
        packages = [folder.name for folder in folders if folder.suffix != ".libs"]
        return {
            **mine,
            "sandbox_level": supervisor.sandbox_level,
            "policy_hash": supervisor.policy_hash,
            "python_version": platform.python_version(),
            "numpy_version": version("numpy") if "numpy" in packages else None,
            "packages": {name: version(name) for name in packages if name != "numpy"},
            "version": __version__,
        }

    def code_of(self, solution: Solution) -> str:
        """The program of a solution: its code, or what the extraction rule finds; else empty."""
        from opsd_rs import _core

        if solution.code is not None or solution.completion is None:
            return solution.code or ""
        return _core.extract_code(solution.completion, self.settings.extraction, solution.truncated) or ""

    def _grade(self, solution: Solution, found: Mapping[str, Any]) -> Grade:
        given = solution.code is not None
        return Grade(
            problem_id=solution.problem_id,
            sample=solution.sample,
            passed=found["passed"],
            verdict=found["verdict"],
            tests=tuple(CaseResult(**test) for test in found["tests"]),
            feedback=found["feedback"],
            message=found["message"],
            reason=None if found["reason"] is None else Reason(**found["reason"]),
            flags=tuple(found["flags"]),
            **official_fields(found),
            grader=self._facts_without_extract if given else self._facts,
        )

    @cached_property
    def _facts(self) -> GraderIdentity:
        supervisor = self._backend
        assert supervisor is not None, "a reply without a supervisor"
        return GraderIdentity(
            sandbox=supervisor.sandbox,
            python_version=platform.python_version(),
            stop=self.settings.stop,
            compare=self.settings.compare,
            extract=self.settings.extraction,
            profile=self.settings.profile,
            isolation=self.settings.isolation,
            sandbox_level=supervisor.sandbox_level,
            policy_hash=supervisor.policy_hash,
        )

    @cached_property
    def _facts_without_extract(self) -> GraderIdentity:
        return replace(self._facts, extract=None)

    def _start(self) -> Supervisor:
        from opsd_rs import _core

        check_folders(self.settings)
        return Supervisor(str(_core.__file__), self._wire)
