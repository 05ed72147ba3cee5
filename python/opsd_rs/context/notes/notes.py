"""Texts that the model writes for its teacher: what is asked, for whom, and what of the answers may be shown.

In: graded groups and a context's ``notes``. Out: one request per text, and of the texts a ``Notes`` that says what each
row reads. A text is written only where every slot of its prompt can be filled; so the prompt itself says whether hints
need a success, or a reflection a failure. Experience goes through a ``Memory`` and is read beside *other* problems.

What it does not do: sample. The caller samples and passes the texts in, in the order of the requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import NamedTuple

from opsd_rs.config import ContextConfig, NotesConfig
from opsd_rs.context.notes.memory import NOTHING_YET, WHOLE, Memory, merged_for
from opsd_rs.context.text import as_answer, check_note, without_thinking
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.records import Grade, Problem, Rollout

Group = list[tuple[Rollout, Grade]]
"""One problem's rollouts with their grades, in sample order."""
PROMPT_SLOTS = ("solution", "attempt", "feedback", "experience")
"""What a note may be written from, besides the problem."""
MERGE_SLOTS = ("experience", "notes")
"""What experience is merged from: what was remembered, and what is new."""


class NoteRequest(NamedTuple):
    """One text to ask the model for."""

    problem_id: str
    sample: int
    """0 where one text serves the whole problem."""
    prompt_ids: tuple[int, ...]


class Wanted(NamedTuple):
    """A request before its prompt is encoded: a text per slot of ``PROMPT_SLOTS``."""

    problem_id: str
    sample: int
    texts: tuple[str | None, ...]


class Note(NamedTuple):
    """What a row reads of the model's own writing."""

    text: str
    leaked: bool
    """Lines of a solution of this problem stand in it."""


@dataclass(frozen=True)
class Notes:
    """Texts fit to be shown, by (problem, sample); ``sample`` is 0 under ``per_problem``."""

    settings: NotesConfig
    by_row: Mapping[tuple[str, int], Note]
    memory: Memory
    """Experience, these texts among it."""
    read: Mapping[str, Note] | None = None
    """What the rows of a problem read of experience; None while it waits to be merged."""

    def of(self, problem_id: str, sample: int) -> Note | None:
        """What the row reads."""
        if self.settings.kind != "experience":
            return self.by_row.get((problem_id, 0 if self.settings.scope == "per_problem" else sample))
        if self.read is None:
            raise OpsdError("this experience waits to be merged: call merge_requests, then merged_from")
        return self.read.get(problem_id)

    @property
    def learned(self) -> dict[str, str]:
        """What a run keeps of this step's experience, by problem: new texts, or the memory that they went into."""
        if self.settings.merge_prompt:
            return dict(self.memory.items)
        return {name: note.text for (name, _), note in self.by_row.items()}


def slots(prompt: str) -> frozenset[str]:
    """The names in braces of a template.

    >>> sorted(slots("{problem} {{x}} {solution}"))
    ['problem', 'solution']
    """
    try:
        return frozenset(name for _, name, _, _ in Formatter().parse(prompt) if name is not None)
    except ValueError:
        return frozenset()  # Rust's parser names the fault


def wanted(
    context: ContextConfig, groups: Mapping[str, Group], problems: Mapping[str, Problem], memory: Memory
) -> list[Wanted]:
    """Every text that can be written, in the order of the groups; who writes may read ``memory``."""
    settings, needed = context.notes, slots(context.notes.prompt)
    found = []
    for name, group in groups.items():
        rows = [(r, g) for r, g in group if g.passed is not None]
        if not rows:
            continue
        chosen = rows if settings.scope == "per_rollout" else [_representative(rows, needed)]
        for rollout, grade in chosen:
            texts = {
                "solution": _solution(context, rollout, rows, problems[name]),
                "attempt": shown(rollout, context),
                "feedback": grade.feedback if grade.feedback.strip() else None,
                "experience": memory.others(name, settings.memory_items) or NOTHING_YET,
            }
            if all(texts[slot] for slot in PROMPT_SLOTS if slot in needed):
                sample = rollout.sample if settings.scope == "per_rollout" else 0
                found.append(Wanted(name, sample, tuple(texts[slot] for slot in PROMPT_SLOTS)))
    return found


def checked(
    context: ContextConfig,
    texts: Mapping[tuple[str, int], str],
    groups: Mapping[str, Group],
    problems: Mapping[str, Problem],
    memory: Memory,
) -> Notes:
    """``texts`` by (problem, sample) after the leak check against every solution that is known of the problem.

    A text of which nothing is left is not shown. Experience was written about one problem and is read beside others:
    it is checked again by what they know.
    """
    kept: dict[tuple[str, int], Note] = {}
    for (name, sample), text in texts.items():
        note = _check(context, text, [name], groups, problems)
        if note.text:
            kept[name, sample] = note
    notes = Notes(context.notes, kept, memory)
    if context.notes.kind != "experience":
        return notes
    memory.add({name: note.text for (name, _), note in kept.items()})
    if context.notes.merge_prompt:
        return notes
    shown_to = {name: memory.others(name, context.notes.memory_items) for name in groups}
    read = {name: _check(context, text, [name], groups, problems) for name, text in shown_to.items()}
    return replace(notes, read={name: note for name, note in read.items() if note.text})


def merged(
    context: ContextConfig,
    notes: Notes,
    texts: Mapping[str, str],
    groups: Mapping[str, Group],
    problems: Mapping[str, Problem],
) -> Notes:
    """``notes`` after the model merged its experience: ``texts`` by the problem of each ``Merge``.

    What it wrote was written from many problems, and is checked against the solutions of all of them. The memory
    that later steps find is one text.
    """
    every = list(groups)
    whole = {name: _check(context, text, every, groups, problems).text for name, text in texts.items()}
    read = {
        name: _check(context, merged_for(name, notes.memory, whole), every, groups, problems)
        for name in every
    }
    notes.memory.merge(merged_for(WHOLE, notes.memory, whole))
    return replace(notes, read={name: note for name, note in read.items() if note.text})


def _check(
    context: ContextConfig,
    text: str,
    names: Sequence[str],
    groups: Mapping[str, Group],
    problems: Mapping[str, Problem],
) -> Note:
    """The leak check of ``text`` against every solution known of the problems ``names``."""
    if context.notes.leak_check == "off":
        return Note(without_thinking(text).strip(), leaked=False)
    known = [shown(r, context) for name in names for r, g in groups.get(name, []) if g.passed]
    known += [problems[name].solution or "" for name in names if name in problems]
    given = "\n".join(problems[name].prompt for name in names if name in problems)
    strip = context.notes.leak_check == "strip"
    found = check_note(text, [k for k in known if k], given=given, strip=strip)
    return Note(found.text, bool(found.leaked))


def from_file(settings: NotesConfig, needed: Iterable[Wanted]) -> dict[tuple[str, int], str]:
    """The texts of ``notes.file`` for the rows that want one."""
    path = Path(settings.file)
    if not path.is_file():
        raise BadInput(
            f"context.notes.file = {path}: no such file; write JSON lines with problem_id and text"
        )
    texts: dict[tuple[str, int], str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            texts[str(record["problem_id"]), int(record.get("sample", 0))] = str(record["text"])
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BadInput(
                f"{path}:{number}: expected problem_id and text, and sample where each rollout has its own"
            ) from None
    return {
        (w.problem_id, w.sample): texts[w.problem_id, w.sample]
        for w in needed
        if (w.problem_id, w.sample) in texts
    }


def by_request(requests: Sequence[NoteRequest], texts: Sequence[str]) -> dict[tuple[str, int], str]:
    """Texts in the order of their requests, by (problem, sample)."""
    if len(requests) != len(texts):
        raise OpsdError(f"{len(texts)} notes for {len(requests)} requests")
    return {(r.problem_id, r.sample): text for r, text in zip(requests, texts, strict=True)}


def shown(rollout: Rollout, context: ContextConfig) -> str:
    """A rollout's text as others may read it."""
    return without_thinking(rollout.text) if context.strip_think else rollout.text


def first_success(group: Group, *, other_than: int | None = None) -> Rollout | None:
    """The first rollout that passed, ``other_than`` this sample (SDPO's choice of a demonstration)."""
    return next((r for r, g in group if g.passed and r.sample != other_than), None)


def _representative(rows: Group, needed: frozenset[str]) -> tuple[Rollout, Grade]:
    """Which rollout a text about the whole problem is written from: a failed one where feedback is asked for,
    else the first success, else the first."""
    if "feedback" in needed:
        return next(((r, g) for r, g in rows if not g.passed and g.feedback.strip()), rows[0])
    return next(((r, g) for r, g in rows if g.passed), rows[0])


def _solution(context: ContextConfig, rollout: Rollout, group: Group, problem: Problem) -> str | None:
    if context.notes.solution == "reference":
        return as_answer(problem.solution) if problem.solution else None
    alone = context.notes.scope == "per_rollout"
    found = first_success(group, other_than=rollout.sample if alone else None)
    return shown(found, context) if found is not None else None
