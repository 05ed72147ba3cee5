"""What a task gives to training: its problems, the message the student reads, and verdicts with feedback.

An environment is a class. ``environment = "code"`` or ``"module:attribute"`` names it; it is called with its options
and the whole configuration, entered before the first answer is graded and left when the run ends.

    class Riddles:
        class Options(Section):                      # keys of [environment]; leave it out where there are none
            path: str = "riddles.jsonl"

        dataset_id = "riddles"

        def __init__(self, options, config): ...
        def problems(self): ...                      # -> ProblemSet
        def message(self, problem): ...              # -> str
        def grade(self, answers, progress=None): ... # -> list[Grade]
        def __enter__(self): ...
        def __exit__(self, *error): ...

Whatever is random in it must be a function of ``config.seed``: a resumed run reads the same problems again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

from opsd_rs.problems import ProblemSet
from opsd_rs.records import Grade, Problem, Solution


class Environment(Protocol):
    """A task that a model can be trained on."""

    dataset_id: str
    """What tables call the problems."""

    def problems(self) -> ProblemSet:
        """The problems of the run: those to train on, the same with all their tests, and those held out."""
        ...

    def message(self, problem: Problem) -> str:
        """The user's message that the student reads; also the slot ``{prompt}`` of every context."""
        ...

    def grade(
        self,
        answers: Sequence[tuple[Problem, Solution]],
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Grade]:
        """A grade per answer, in order. ``Grade.feedback`` is what the self-teacher may read about a failure."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...
