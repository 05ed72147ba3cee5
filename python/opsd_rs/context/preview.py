"""What student and teacher read of one problem, section by section: the text, its tokens, and what was cut.

In: an assembler (a tokenizer, no weights) and a case: a graded rollout with its group, read from files or from a run's
``rollouts/``. Out: a ``Preview``. What a model would have to write is taken from the case, or is a placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from opsd_rs.base import read_lines, read_table
from opsd_rs.config import SECTIONS
from opsd_rs.context.assembler import Assembler
from opsd_rs.context.notes.cache import NoteCache
from opsd_rs.context.notes.memory import WHOLE, Memory
from opsd_rs.context.templates import STAND_INS
from opsd_rs.errors import BadInput
from opsd_rs.records import Grade, Problem, Rollout

_CUT = re.compile(r"\n\[\.\.\. (\d+) characters cut \.\.\.\]\n")
"""The marker that Rust leaves where a section was cut."""


@dataclass(frozen=True)
class Case:
    """One rollout to look at, with its group."""

    problem: Problem
    rollouts: Sequence[Rollout]
    grades: Sequence[Grade]
    sample: int
    notes: Mapping[int, str] = field(default_factory=dict)
    """What the model wrote, by sample (0 where one text serves the problem); placeholders where absent."""
    memory: Memory = field(default_factory=Memory)
    """Experience as it was when the rollout was read; a placeholder where empty."""


class SectionCount(NamedTuple):
    """One part of the teacher's message."""

    section: str
    """A slot, or ``fixed words`` for the template's own and the chat's."""
    characters: int
    tokens: int
    """Of the text as it stands in the prompt; parts may share a token at their edge, so ``fixed words`` is the rest."""
    cut_characters: int


@dataclass(frozen=True)
class Preview:
    """The prompts of student and teacher, and what is in them."""

    context: str
    context_sha256: str
    problem_id: str
    sample: int
    status: str
    has_context: bool
    flags: tuple[str, ...]
    budget: int
    student_tokens: int
    teacher_tokens: int
    sections: tuple[SectionCount, ...]
    student: str
    teacher: str


def preview_context(assembler: Assembler, case: Case, *, budget: int) -> Preview:
    """Assemble ``case`` and take the result apart; ``budget`` is the assembler's ``max_context_tokens``."""
    problems = {case.problem.problem_id: case.problem}
    settings = assembler.context.notes
    requests = assembler.note_requests(case.rollouts, case.grades, problems)
    stand_in = f"[{settings.kind} that the model wrote]"
    texts = [case.notes.get(request.sample, stand_in) for request in requests]
    read = case.memory.others(case.problem.problem_id, settings.memory_items) or case.notes.get(0, stand_in)
    memory = Memory({WHOLE: read} if settings.kind == "experience" else {})
    notes = assembler.notes_from(requests, texts, case.rollouts, case.grades, problems, memory)
    if notes is not None and settings.merge_prompt:
        # One problem's own text is not merged into what its rows read: there is nothing to ask.
        notes = assembler.merged_from(notes, [], [], case.rollouts, case.grades, problems)
    rows = [i for i, rollout in enumerate(case.rollouts) if rollout.sample == case.sample]
    if not rows:
        raise BadInput(f"problem {case.problem.problem_id} has no sample {case.sample} here")
    row = assembler.teacher_contexts(case.rollouts, case.grades, problems, notes)[rows[0]]
    whole = assembler.sections(case.rollouts, case.grades, problems, notes)[rows[0]]
    teacher = assembler.chat.text_of(row.prompt_ids)
    student_ids = assembler.student_prompt(case.problem)
    given = {name: text for name, text in zip(SECTIONS, whole.texts, strict=True) if text is not None}
    given = given if row.status not in ("bare", "dropped") else {}
    return Preview(
        context=assembler.context.name,
        context_sha256=assembler.context.sha256,
        problem_id=row.problem_id,
        sample=row.sample,
        status=row.status,
        has_context=row.has_context,
        flags=row.flags,
        budget=budget,
        student_tokens=len(student_ids),
        teacher_tokens=len(row.prompt_ids),
        sections=_counts(assembler, case.problem, given, row.flags, teacher, len(row.prompt_ids)),
        student=assembler.chat.text_of(student_ids),
        teacher=teacher,
    )


def diff_previews(left: Preview, right: Preview) -> list[str]:
    """The teacher's two prompts as a unified diff, no line ends."""
    return list(
        unified_diff(
            left.teacher.splitlines(), right.teacher.splitlines(), left.context, right.context, lineterm=""
        )
    )


def made_up_case(
    problem: Problem,
    *,
    attempt: str | None = None,
    feedback: str | None = None,
    solution: str | None = None,
    note: str | None = None,
    passed: bool = False,
    peer: bool = True,
) -> Case:
    """A group of two: this rollout, and (``peer``) another one that passed; placeholders where no text is given."""
    mine = Rollout(problem.problem_id, 0, (), (), (), attempt or STAND_INS["attempt"], False, 0)
    told = "" if passed else feedback or STAND_INS["feedback"]
    grades = [Grade(problem.problem_id, 0, passed, "accepted" if passed else "wrong_answer", (), told)]
    rollouts = [mine]
    if peer:
        text = solution or STAND_INS["solution"]
        rollouts.append(Rollout(problem.problem_id, 1, (), (), (), text, False, 0))
        grades.append(Grade(problem.problem_id, 1, True, "accepted", ()))
    return Case(problem, rollouts, grades, 0, {} if note is None else {0: note})


def case_of_run(run_dir: Path, step: int, sample: int, problem: Problem, context: str) -> Case:
    """A rollout of a finished step, with its group and (where the run kept them) the model's notes.

    :raises BadInput: the run holds no such step or problem
    """
    path = run_dir / "rollouts" / f"step-{step:06d}.parquet"
    rows = [row for row in read_table(path) if row["problem_id"] == problem.problem_id]
    if not rows:
        raise BadInput(
            f"{path}: no rollouts of problem {problem.problem_id}; `--step` and `--problem` name them"
        )
    rollouts = [
        Rollout(
            row["problem_id"], row["sample"], tuple(row["prompt_ids"]), tuple(row["completion_ids"]),
            tuple(row["logprobs"]), row["text"], row["truncated"], row["policy_version"],
        )
        for row in rows
    ]  # fmt: skip
    grades = [
        Grade(row["problem_id"], row["sample"], row["passed"], row["verdict"], (), row["feedback"])
        for row in rows
    ]
    name, cache = problem.problem_id, NoteCache(run_dir)
    lines = read_lines(run_dir / "notes" / f"{context}-{step:06d}.jsonl")
    notes = {
        line["sample"]: line["text"]
        for line in lines
        if line["problem_id"] == name and line["kind"] != "merge"
    }
    merged = {line["problem_id"]: line["text"] for line in lines if line["kind"] == "merge"}
    # What a merge came to for this problem's rows, or for everybody's; else what was joined.
    read = merged.get(name if notes else WHOLE)
    memory = Memory({WHOLE: read} if read else cache.remembered(context, step if merged else step + 1))
    return Case(problem, rollouts, grades, sample, notes, memory)


def _cut(text: str, lost: int) -> str:
    """``text`` as Rust leaves it: the middle replaced by a marker line."""
    head = -(-(len(text) - lost) // 2)
    return f"{text[:head]}\n[... {lost} characters cut ...]\n{text[head + lost :]}"


def _lost(text: str, teacher: str) -> int:
    """How many characters of ``text`` are missing in ``teacher``; a text may itself hold a line like a marker."""
    counts = {int(found) for found in _CUT.findall(teacher)}
    # The tokenizer may have composed the text (NFC), and the teacher's prompt is read back from its ids.
    whole = normalize("NFC", teacher)
    found = [n for n in counts if n <= len(text) and normalize("NFC", _cut(text, n)) in whole]
    return max(found, default=0)


def _counts(
    assembler: Assembler,
    problem: Problem,
    given: Mapping[str, str],
    flags: Sequence[str],
    teacher: str,
    num_tokens: int,
) -> tuple[SectionCount, ...]:
    """Tokens and losses of each section, in the order of the template's slots."""
    template = assembler.context.template
    order = sorted(
        (name for name in given if f"{{{name}}}" in template), key=lambda n: template.index(f"{{{n}}}")
    )
    lost = {name: _lost(given[name], teacher) for name in order if f"cut:{name}" in flags}
    parts = {"prompt": assembler.student_message(problem)}
    if assembler.context.preamble:
        parts["preamble"] = assembler.context.preamble
    for name in order:
        parts[name] = _cut(given[name], lost[name]) if name in lost else given[name]
    rows = [
        SectionCount(name, len(text), assembler.chat.count(text), lost.get(name, 0))
        for name, text in parts.items()
    ]
    rest = num_tokens - sum(row.tokens for row in rows)
    characters = len(teacher) - sum(row.characters for row in rows)
    return (*rows, SectionCount("fixed words", characters, rest, 0))
