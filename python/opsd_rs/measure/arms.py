"""The gap: self-teacher accuracy minus student accuracy at step 0, per context, with the training decoding.

Arms (independent draws): A, the student, builds the contexts and is graded on the training tests, as in training;
B, the student again, ``baseline_samples`` times as often, is the gap's student term; T, the teacher, answers every
rollout of A under its context (bare where there is none) and, like B, is graded on all tests. Where the control holds,
T of ``none`` and A, judged by all tests too, join B. ``gap.baseline = "paper"`` scores A instead of B.

Contexts are built within groups of ``group_size`` rollouts, those of a training step, so that more samples measure
the same gap more exactly: a peer is found among as many others however many are drawn.

In: functions that sample, grade and assemble. Out: one row per context, for ``gap.parquet``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from opsd_rs.config import ContextConfig
from opsd_rs.measure.baseline import CONTROL, Control, control
from opsd_rs.measure.groups import by_group
from opsd_rs.measure.measurement import Measurement, arrange
from opsd_rs.measure.rows import GapRow, gap_rows
from opsd_rs.measure.samples import Cost, Sample, student_samples, teacher_samples
from opsd_rs.records import Grade, Problem, Rollout, SampleRequest, TeacherContext


class Assembles(Protocol):
    """What the gap needs of a context assembler."""

    context: ContextConfig

    def student_prompt(self, problem: Problem) -> tuple[int, ...]: ...

    def teacher_contexts(
        self,
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Mapping[str, Problem],
        notes: Any = None,
    ) -> list[TeacherContext]: ...


Draw = Callable[[Sequence[SampleRequest], str], list[Rollout]]
"""(requests, purpose) -> rollouts, with the training decoding."""
GradeAll = Callable[[Sequence[Rollout], Mapping[str, Problem]], list[Grade]]
Write = Callable[[Any, Sequence[Rollout], Sequence[Grade], Mapping[str, Problem], int], Any]
"""(assembler, rollouts, grades, problems, group) -> what the model wrote for its teacher, None for contexts without
notes."""


@dataclass
class Arms:
    """Draws, grades and hands out the answers of one measurement, a range of sample numbers at a time.

    ``train_problems`` hold the tests that may reach a context, ``full_problems`` those that score.
    """

    train_problems: Mapping[str, Problem]
    full_problems: Mapping[str, Problem]
    group_size: int
    draw: Draw
    grade: GradeAll
    write: Write
    keep: Callable[[Sequence[Sample]], None] = lambda samples: None
    num_gpus: int = 0
    samples: list[Sample] = field(default_factory=list)
    """All of the measurement that is known, earlier ones first."""

    def student(
        self, prompt: Callable[[Problem], tuple[int, ...]], first: int, last: int, *, fully: bool
    ) -> BuiltFrom:
        """A: the samples ``first`` to ``last - 1`` of every problem.

        :param fully: judge them by all tests too
        """
        started = time.monotonic()
        rollouts = self.draw(_requests(self.train_problems, prompt, first, last), "gap-A")
        grades = self.grade(rollouts, self.train_problems)
        full = self.grade(rollouts, self.full_problems) if fully else None
        self._keep(
            student_samples(
                "A", 0, rollouts, grades, tests="train_half", group_size=self.group_size, full_grades=full,
                cost=self._cost(started),
            )
        )  # fmt: skip
        return BuiltFrom(rollouts, grades)

    def bare(
        self, prompt: Callable[[Problem], tuple[int, ...]], num_samples: int, of_a: BuiltFrom | None = None
    ) -> None:
        """B: fresh answers, or those of A scored by all tests."""
        started = time.monotonic()
        rollouts = (
            of_a.rollouts
            if of_a is not None
            else self.draw(_requests(self.train_problems, prompt, 0, num_samples), "gap-B")
        )
        grades = self.grade(rollouts, self.full_problems)
        self._keep(
            student_samples(
                "B", 0, rollouts, grades, tests="full", group_size=self.group_size, is_of_a=of_a is not None,
                cost=self._cost(started),
            )
        )  # fmt: skip

    def teacher(self, name: str, assembler: Assembles, of: BuiltFrom) -> None:
        """T: an answer under the context of every rollout of A."""
        started = time.monotonic()
        contexts = _contexts(assembler, of, self.train_problems, self.group_size, self.write)
        answers = self.draw(
            [SampleRequest(c.problem_id, c.sample, c.prompt_ids) for c in contexts], f"gap-T-{name}"
        )
        graded = self.grade(answers, self.full_problems)
        cost = self._cost(started)
        self._keep(
            teacher_samples("T", 0, name, answers, graded, contexts, group_size=self.group_size, cost=cost)
        )

    def measured(self) -> Measurement:
        """All answers so far; there is one of a teacher."""
        found = arrange(self.samples, group_size=self.group_size)
        assert found is not None
        return found

    def _cost(self, started: float) -> Cost:
        return Cost(time.monotonic() - started, self.num_gpus)

    def _keep(self, samples: list[Sample]) -> None:
        self.samples += samples
        self.keep(samples)


@dataclass(frozen=True)
class BuiltFrom:
    """Rollouts of A with their grades by the training tests: what contexts are built from."""

    rollouts: Sequence[Rollout]
    grades: Sequence[Grade]


def measure_gaps(
    assemblers: Mapping[str, Assembles],
    train_problems: Mapping[str, Problem],
    full_problems: Mapping[str, Problem],
    *,
    n: int,
    group_size: int,
    baseline: str,
    draw: Draw,
    grade: GradeAll,
    write: Write,
    report: Callable[[GapRow], None] = lambda row: None,
    keep: Callable[[Sequence[Sample]], None] = lambda samples: None,
    baseline_samples: int = 1,
    gate: Callable[[Control], None] = lambda found: None,
    known: Sequence[Sample] = (),
    num_gpus: int = 0,
) -> list[GapRow]:
    """Measure each context of ``assemblers`` on the same student rollouts, ``none`` first.

    ``train_problems`` hold the tests that may reach a context, ``full_problems`` those that score.

    :param n: samples per problem and arm, in groups of ``group_size``
    :param keep: given every graded answer, those of an arm together and before its row
    :param baseline_samples: B has so many times ``n`` samples; 1: as many as the other arms, and nothing joins them
    :param gate: given the control's result as soon as it is there; may raise
    :param known: answers of other contexts, from the same A and B
    :param num_gpus: that work on it, for the cost
    """
    arms = Arms(train_problems, full_problems, group_size, draw, grade, write, keep, num_gpus, [*known])
    prompt = next(iter(assemblers.values())).student_prompt
    joins = baseline == "split" and baseline_samples > 1
    of = arms.student(prompt, 0, n, fully=joins)
    arms.bare(prompt, n * baseline_samples, of if baseline == "paper" else None)
    for name in sorted(assemblers, key=lambda name: joins and name != CONTROL):
        assembler = assemblers[name]
        arms.teacher(name, assembler, of)
        (row,) = gap_rows(arms.measured(), [name], context_sha256={name: assembler.context.sha256})
        report(row)
        if name == CONTROL and (found := control(arms.measured())) is not None:
            gate(found)
    hashes = {name: assembler.context.sha256 for name, assembler in assemblers.items()}
    return gap_rows(arms.measured(), list(assemblers), context_sha256=hashes)


def _requests(
    problems: Mapping[str, Problem], prompt: Callable[[Problem], tuple[int, ...]], first: int, last: int
) -> list[SampleRequest]:
    return [
        SampleRequest(problem_id, sample, prompt(problem))
        for problem_id, problem in problems.items()
        for sample in range(first, last)
    ]


def _contexts(
    assembler: Assembles,
    of: BuiltFrom,
    problems: Mapping[str, Problem],
    group_size: int,
    write: Write,
) -> list[TeacherContext]:
    """What the teacher reads before each rollout, in order; every group is assembled alone."""
    by_place: dict[int, TeacherContext] = {}
    for places in by_group(of.rollouts, group_size):
        members = [of.rollouts[place] for place in places], [of.grades[place] for place in places]
        group = of.rollouts[places[0]].sample // group_size
        notes = write(assembler, *members, problems, group)
        by_place |= zip(places, assembler.teacher_contexts(*members, problems, notes), strict=True)
    return [by_place[place] for place in range(len(of.rollouts))]
