"""An environment and a logger of a user's own, as a file beside a run would hold them.

A random model answers a riddle as well as any: an answer passes where the sum of its characters is divisible.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.config import Config, Section
from opsd_rs.problems import ProblemSet
from opsd_rs.records import Grade, Problem, Solution


class Riddles:
    """``environment = "riddles.py:Riddles"``."""

    class Options(Section):
        count: int = 5
        modulus: int = 3

    dataset_id = "riddles"
    open = 0
    """How many are entered and not left."""

    def __init__(self, options: Options, config: Config) -> None:
        self._options = options

    def problems(self) -> ProblemSet:
        words = [f"thing number {i}" for i in range(self._options.count)]
        riddles = [Problem(f"riddle-{i}", f"What is {word}?", ()) for i, word in enumerate(words)]
        riddles.append(Problem("endless", "What is it? " * 200, ()))
        return ProblemSet(riddles, riddles, [], len(riddles), {})

    def message(self, problem: Problem) -> str:
        return f"Riddle: {problem.prompt}"

    def grade(
        self, answers: Sequence[tuple[Problem, Solution]], progress: Callable[[int, int], None] | None = None
    ) -> list[Grade]:
        assert Riddles.open == 1
        return [self._grade(solution) for _, solution in answers]

    def _grade(self, solution: Solution) -> Grade:
        left = sum(map(ord, solution.completion or "")) % self._options.modulus
        said = f"{left} left." if left else ""
        verdict: Any = "wrong_answer" if left else "accepted"
        return Grade(solution.problem_id, solution.sample, not left, verdict, (), said)

    def __enter__(self) -> Riddles:
        Riddles.open += 1
        return self

    def __exit__(self, *error: Any) -> None:
        Riddles.open -= 1


class Recorder:
    """``log.to = ["riddles.py:Recorder"]``: calls as JSON lines."""

    class Options(Section):
        name: str = "calls.jsonl"

    def __init__(self, options: Options, config: Config, run_dir: Path) -> None:
        self._path = run_dir / options.name

    def _note(self, *call: Any) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(call) + "\n")

    def rewind(self, step: int) -> None:
        self._note("rewind", step)

    def log(self, line: Mapping[str, Any]) -> None:
        self._note("log", line["step"])

    def close(self) -> None:
        self._note("close")
