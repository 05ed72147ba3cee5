"""Texts that the model writes for its teacher: what is asked, for whom, and what of the answers may be shown.

In: graded groups and a context's ``notes``. Out: one request per text, and of the texts a ``Notes`` that says what each
row reads. A text is written only where every slot of its prompt can be filled; so the prompt itself says whether hints
need a success, or a reflection a failure. Experience goes through a ``Memory`` and is read beside *other* problems.

What it does not do: it samples nothing; who does hands the texts in, in the order of the requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import NamedTuple

from opsd_rs.config import ContextConfig, NotesConfig
from opsd_rs.context_words import as_answer, check_note, without_thinking
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.records import Grade, Problem, Rollout

Group = list[tuple[Rollout, Grade]]
"""One problem's rollouts with their grades, in sample order."""

PROMPT_SLOTS = ("solution", "attempt", "feedback")
"""What a note may be written from, besides the problem."""


class NoteRequest(NamedTuple):
    """One text wanted of the model."""

    problem_id: str
    sample: int
    """0 where one text serves the whole problem."""
    prompt_ids: tuple[int, ...]


class Wanted(NamedTuple):
    """A request before its prompt is encoded: a text per slot of ``PROMPT_SLOTS``."""

    problem_id: str
    sample: int
    texts: tuple[str | None, str | None, str | None]


class Note(NamedTuple):
    """What a row reads of the model's own writing."""

    text: str
    leaked: bool
    """Lines of a solution of this problem stand in it."""


@dataclass
class Memory:
    """Experience so far, oldest first; a new text about a problem takes the place of the old one."""

    items: dict[str, str] = field(default_factory=dict)

    def add(self, texts: Mapping[str, str]) -> None:
        """Remember ``texts`` by problem, as the newest."""
        for name, text in texts.items():
            self.items.pop(name, None)
            self.items[name] = text

    def others(self, problem_id: str, num: int) -> str:
        """The newest ``num`` texts about other problems, oldest of them first; empty where there is none."""
        found = [text for name, text in self.items.items() if name != problem_id]
        return "\n\n".join(found[-num:])


@dataclass(frozen=True)
class Notes:
    """Texts fit to be shown, by (problem, sample); ``sample`` is 0 under ``per_problem``."""

    settings: NotesConfig
    by_row: Mapping[tuple[str, int], Note]
    memory: Memory = field(default_factory=Memory)

    def of(self, problem_id: str, sample: int) -> Note | None:
        """What the row reads, whoever may read it."""
        if self.settings.kind == "experience":
            text = self.memory.others(problem_id, self.settings.memory_items)
            return Note(text, leaked=False) if text else None
        return self.by_row.get((problem_id, 0 if self.settings.scope == "per_problem" else sample))


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
    context: ContextConfig, groups: Mapping[str, Group], problems: Mapping[str, Problem]
) -> list[Wanted]:
    """Every text that can be written, in the order of the groups."""
    settings, needed = context.notes, slots(context.notes.prompt)
    found = []
    for name, group in groups.items():
        rows = [(r, g) for r, g in group if g.passed is not None]
        if not rows:
            continue
        chosen = rows if settings.scope == "per_rollout" else [_spokesman(rows, needed)]
        for rollout, grade in chosen:
            texts = {
                "solution": _solution(context, rollout, rows, problems[name]),
                "attempt": shown(rollout, context),
                "feedback": grade.feedback if grade.feedback.strip() else None,
            }
            if all(texts[slot] for slot in PROMPT_SLOTS if slot in needed):
                sample = rollout.sample if settings.scope == "per_rollout" else 0
                found.append(Wanted(name, sample, (texts["solution"], texts["attempt"], texts["feedback"])))
    return found


def checked(
    context: ContextConfig,
    texts: Mapping[tuple[str, int], str],
    groups: Mapping[str, Group],
    problems: Mapping[str, Problem],
    memory: Memory,
) -> Notes:
    """``texts`` by (problem, sample) after the leak check against every solution that is known of the problem.

    A text of which nothing is left is not shown. Experience is remembered; it was written about one problem and is
    read beside others, but loses its code all the same.
    """
    settings = context.notes
    kept: dict[tuple[str, int], Note] = {}
    for (name, sample), text in texts.items():
        known = [shown(r, context) for r, g in groups.get(name, []) if g.passed]
        known += [problems[name].solution or ""] if name in problems else []
        if settings.leak_check == "off":
            note = Note(without_thinking(text).strip(), leaked=False)
        else:
            given = problems[name].prompt if name in problems else ""
            strip = settings.leak_check == "strip"
            found = check_note(text, [k for k in known if k], given=given, strip=strip)
            note = Note(found.text, bool(found.leaked))
        if note.text:
            kept[name, sample] = note
    if settings.kind == "experience":
        memory.add({name: note.text for (name, _), note in kept.items()})
    return Notes(settings, kept, memory)


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


def _spokesman(rows: Group, needed: frozenset[str]) -> tuple[Rollout, Grade]:
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
