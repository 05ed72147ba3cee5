"""Programming problems: a file of them, programs run in the sandbox, failed tests as feedback.

Its keys are the tables ``[problems]`` and ``[grader]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from opsd_rs.base import own_name
from opsd_rs.config import Config, Section
from opsd_rs.context import statement
from opsd_rs.grading import Grader
from opsd_rs.problems import ProblemSet, from_config
from opsd_rs.records import Grade, Problem, Solution


class CodeEnvironment:
    """The environment ``code``."""

    def __init__(self, options: Section, config: Config) -> None:
        self._config = config
        self._grader = Grader(config.grader.settings())
        self.dataset_id = Path(own_name(config.problems.path)).stem

    def problems(self) -> ProblemSet:
        return from_config(self._config.problems, self._config.seed)

    def identity(self) -> dict[str, Any]:
        """What verdicts depend on beside problem and answer."""
        return self._grader.identity()

    def message(self, problem: Problem) -> str:
        return statement(problem, self._config.problems.prompt)

    def grade(
        self,
        answers: Sequence[tuple[Problem, Solution]],
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Grade]:
        return self._grader.grade(answers, progress=progress)

    def __enter__(self) -> Self:
        self._grader.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._grader.__exit__(*error)
