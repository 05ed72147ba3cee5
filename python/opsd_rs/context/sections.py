"""Which row reads what: from a graded rollout and its group to the text of each section (arXiv 2605.30070, Table 3,
with SDPO's rules where it is silent).

In: one context, a step's graded groups, the notes that were written. Out: a ``Filled`` per rollout. Nothing is
tokenised here; a function of the user's may replace the rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from opsd_rs.config import SECTIONS, ContextConfig
from opsd_rs.context.controls import corrupted, other_solution
from opsd_rs.context.examples import Examples
from opsd_rs.context.notes.notes import Group, Note, Notes, first_success, shown
from opsd_rs.context.text import as_answer
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.records import Grade, Problem, Rollout


class View(NamedTuple):
    """What a context's function is given of one rollout."""

    problem: Problem
    """With the tests that training sees; do not show them beyond what ``grade.feedback`` tells."""
    rollout: Rollout
    grade: Grade
    group: Sequence[tuple[Rollout, Grade]]
    """All rollouts of the problem with their grades, this one among them, in sample order."""


Written: TypeAlias = str | Mapping[str, str] | None
ContextFunction: TypeAlias = Callable[[View], Written]
"""Returns the text of the slot notes, or texts by slot (one of ``SECTIONS``), or None: bare."""


_MUST = f"it must return None, a text, or texts by {', '.join(SECTIONS)}"


class Filled(NamedTuple):
    """One rollout's sections."""

    texts: tuple[str | None, ...]
    """In the order of ``SECTIONS``."""
    parts: tuple[str, ...]
    """What is in them, for the status: ``peer``, ``feedback``, ``reflection``..."""
    flags: tuple[str, ...] = ()
    dropped: bool = False


class Rules:
    """The rules of one context."""

    def __init__(
        self, context: ContextConfig, pool: Sequence[Problem], function: ContextFunction | None = None
    ) -> None:
        self.context = context
        self.function = function
        self._examples = Examples(context.examples, pool, context.name)
        self._references = {p.problem_id: as_answer(p.solution) for p in pool if p.solution}

    def fill(
        self,
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        groups: Mapping[str, Group],
        problems: Mapping[str, Problem],
        notes: Notes | None,
    ) -> list[Filled]:
        """The sections of every rollout, in order."""
        firsts = {name: first_success(group) for name, group in groups.items()}
        answers = {name: shown(first, self.context) for name, first in firsts.items() if first is not None}
        rows = []
        for rollout, grade in zip(rollouts, grades, strict=True):
            name = rollout.problem_id
            view = View(problems[name], rollout, grade, groups[name])
            rows.append(self._by_function(view) if self.function else self._by_rules(view, answers, notes))
        return rows

    def _by_rules(self, view: View, answers: Mapping[str, str], notes: Notes | None) -> Filled:
        context, grade = self.context, view.grade
        if grade.passed is None:  # an infrastructure fault says nothing about the answer
            return Filled((None,) * len(SECTIONS), ())
        texts: dict[str, str] = {}
        parts: list[str] = []
        flags: list[str] = []
        solution = self._solution(view, answers)
        if solution is not None:
            texts["solution"] = solution[1]
            parts.append(solution[0])
        note = self._note(view, notes)
        if note is not None and notes is not None:
            texts[context.notes.slot] = note.text
            parts.append(context.notes.kind)
            flags += [f"leak:{context.notes.slot}"] if note.leaked else []
        suppressed = "solution" in texts and context.feedback_with_solution == "never"
        told = context.feedback == "own" and not grade.passed and bool(grade.feedback.strip())
        if told and not suppressed and "feedback" not in texts:
            texts["feedback"] = grade.feedback
            parts.append("feedback")
        if context.attempt == "own" and not grade.passed and texts.keys() & {"feedback", "notes"}:
            texts["attempt"] = shown(view.rollout, context)
            parts.insert(0, "attempt")
        examples = self._examples.of(view.problem)
        if examples is not None:
            texts["examples"] = examples
            parts.append("examples")
        dropped = not texts and bool(grade.passed) and context.feedback_on_success == "drop"
        return Filled(tuple(texts.get(name) for name in SECTIONS), tuple(parts), tuple(flags), dropped)

    def _solution(self, view: View, answers: Mapping[str, str]) -> tuple[str, str] | None:
        """(what it is, its text) of the solution that this row may read."""
        context, (problem, rollout, grade, group) = self.context, view
        name, passed = problem.problem_id, bool(grade.passed)
        text: str | None = None
        if context.solution == "own" and passed:
            text = shown(rollout, context)
        elif context.solution == "peer" and not (passed and context.on_own_success == "bare"):
            other = first_success(list(group), other_than=rollout.sample)
            text = shown(other, context) if other is not None else None
        elif context.solution == "reference" and problem.solution:
            text = as_answer(problem.solution)
        if text is None:
            return None
        if context.solution_from == "other_problem":
            text = other_solution(name, self._references if context.solution == "reference" else answers)
            return ("other_problem", text) if text is not None else None
        if context.solution_corrupt:
            return "corrupted", corrupted(text)
        return context.solution, text

    def _note(self, view: View, notes: Notes | None) -> Note | None:
        """The text of the model's that this row may read."""
        settings = self.context.notes
        if settings.kind == "none":
            return None
        if notes is None:
            raise OpsdError(
                f'context "{self.context.name}" needs {settings.kind}: call note_requests, then notes_from'
            )
        rollout, passed = view.rollout, bool(view.grade.passed)
        from_peers = "{solution}" in settings.prompt and settings.solution == "peer"
        if settings.kind != "experience" and from_peers:
            # A text drawn from this row's own success alone would tell it nothing new.
            if passed and self.context.on_own_success == "bare":
                return None
            if first_success(list(view.group), other_than=rollout.sample) is None:
                return None
        return notes.of(view.problem.problem_id, rollout.sample)

    def _by_function(self, view: View) -> Filled:
        assert self.function is not None
        try:
            written = self.function(view)
        except Exception as error:  # the user's own code: it may fail in any way
            raise BadInput(
                f'context "{self.context.name}": its function failed on problem {view.problem.problem_id}, sample '
                f"{view.rollout.sample}: {type(error).__name__}: {error}"
            ) from error
        if written is None:
            return Filled((None,) * len(SECTIONS), ())
        if not isinstance(written, (str, Mapping)):
            raise BadInput(f'context "{self.context.name}": its function gave {written!r:.80}; {_MUST}')
        texts = {"notes": written} if isinstance(written, str) else dict(written)
        wrong = sorted(
            name for name, text in texts.items() if name not in SECTIONS or not isinstance(text, str)
        )
        if wrong:
            given = ", ".join(map(repr, wrong))
            raise BadInput(f'context "{self.context.name}": its function gave {given}; {_MUST}')
        return Filled(tuple(texts.get(name) for name in SECTIONS), tuple(n for n in SECTIONS if n in texts))


def groups_of(rollouts: Sequence[Rollout], grades: Sequence[Grade]) -> dict[str, Group]:
    """Rollouts with their grades by problem, each group in sample order."""
    groups: defaultdict[str, Group] = defaultdict(list)
    for rollout, grade in zip(rollouts, grades, strict=True):
        if (rollout.problem_id, rollout.sample) != (grade.problem_id, grade.sample):
            raise OpsdError(
                f"grade of {grade.problem_id}/{grade.sample} beside rollout {rollout.problem_id}/{rollout.sample}"
            )
        groups[rollout.problem_id].append((rollout, grade))
    for group in groups.values():
        group.sort(key=lambda pair: pair[0].sample)
    return dict(groups)
