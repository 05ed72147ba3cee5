"""A privileged context as data: what fills each section of the teacher's message, and the words around it.

Defaults are SDPO's strings (lasgroup/SDPO, actor.yaml: one newline before a section's heading, none after it).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field

from opsd_rs.config.section import PositiveInt, Section

SECTIONS = ("solution", "attempt", "feedback", "notes", "examples")
"""The slots that a row may fill, in the order in which Rust is given their texts."""


class NotesConfig(Section):
    """A text that the model writes for the teacher to read: hints, a reflection, a critique, an explanation, or
    experience that is kept for other problems."""

    kind: Literal["none", "hints", "reflection", "critique", "explanation", "experience"] = "none"
    """What the text is called in statuses. ``experience`` goes into a memory, and a row reads what was written
    about other problems; every other kind is read by the rows it was written for."""
    slot: Literal["notes", "solution", "feedback"] = "notes"
    """Which slot shows it: its own, or that of a solution or of feedback (with that heading)."""
    scope: Literal["per_problem", "per_rollout"] = "per_problem"
    """One text for all rollouts of a problem, or one for each."""
    solution: Literal["peer", "reference"] = "peer"
    """What fills the slot solution of ``prompt``: a rollout that passed (per rollout: another one), or the
    problem's own solution."""
    generator: Literal["current", "initial", "file"] = "current"
    """Who writes: the sampler's present weights, the weights the run began with, or no model: texts by problem
    are read from ``file``."""
    file: str = ""
    """JSON lines with problem_id, text and, where each rollout of ``scope`` has its own, sample."""
    leak_check: Literal["strip", "flag", "off"] = "strip"
    """``strip`` takes fenced code, and lines that are lines of a solution, out of the text; ``flag`` leaves it
    whole; both flag rows ``leak:SLOT`` where lines of a solution still stand in it."""
    max_tokens: PositiveInt = 256
    """Longest text."""
    temperature: Annotated[float, Field(ge=0.0)] = 0.0
    """0 is greedy."""
    memory_items: PositiveInt = 4
    """How many texts of experience a row reads: the newest about other problems. Merged experience is one text."""
    prompt: str = ""
    """What the generator is asked; slots: problem, solution, attempt, feedback, experience (what it would read of the
    memory). A text is written only where each slot that stands here can be filled."""
    merge_prompt: str = ""
    """Set: the memory is one text, and this is what the model is asked each step to work the new texts into it; slots:
    experience (the memory so far), notes (the new texts). Unset: the new texts are appended as they are."""
    merge_tokens: PositiveInt = 512
    """Longest merged memory."""


class ExamplesConfig(Section):
    """Solved problems of the training split, shown beside the problem."""

    kind: Literal["none", "fixed", "nearest"] = "none"
    """``fixed``: the same ones for every problem. ``nearest``: those whose statements are most alike (BM25)."""
    num: PositiveInt = 2
    """How many."""
    template: str = "Problem:\n\n{problem}\n\nSolution:\n\n{solution}"
    """One example; examples are joined by a blank line."""


LEAST_SECTION = 32
"""Fewest tokens that a section may be bound to: the line that stands where a text was cut takes up to about twenty."""

SectionBound = Annotated[int, Field(ge=LEAST_SECTION)]


class SectionTokensConfig(Section):
    """How long single sections may be, in tokens of the model's own tokenizer; a longer text loses its middle. Unset:
    only ``teacher.max_context_tokens`` bounds it."""

    solution: SectionBound | None = None
    """The solution, or what stands in its place."""
    attempt: SectionBound | None = None
    """This rollout's own text."""
    feedback: SectionBound | None = None
    """What the failed tests said."""
    notes: SectionBound | None = None
    """What the model wrote."""
    examples: SectionBound | None = None
    """All examples together."""


class ContextConfig(Section):
    """One privileged context, as data: ``configs/contexts/*.toml``."""

    name: str = "none"
    """What tables and the law call it."""
    template: str = "{prompt}"
    """The teacher's message. Slots: prompt, preamble, solution, attempt, feedback, notes, examples."""
    solution_template: str = "\nCorrect solution:\n\n{solution}"
    """The solution slot, where there is a solution; else the slot is empty."""
    attempt_template: str = "\nYour earlier attempt:\n\n{attempt}"
    """The attempt slot, where the rollout itself is shown."""
    feedback_template: str = (
        "\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback}"
    )
    """The feedback slot, where there is feedback; else the slot is empty."""
    notes_template: str = "\nNotes:\n\n{notes}"
    """The notes slot, where there is a text of ``notes`` or of ``function``."""
    examples_template: str = "{examples}\n\n"
    """The examples slot, where there are examples."""
    bare_template: str = "{prompt}"
    """What the teacher reads where no section applies."""
    solution: Literal["none", "peer", "own", "reference"] = "none"
    """What fills the solution slot: another rollout that passed, this one if it passed, or the problem's own
    solution."""
    solution_from: Literal["this_problem", "other_problem"] = "this_problem"
    """``other_problem`` is a control: where a row would read a solution, it reads one of another problem."""
    solution_corrupt: bool = False
    """A control: the code of the solution is damaged in one place."""
    attempt: Literal["none", "own"] = "none"
    """What fills the attempt slot: this rollout, if it failed and feedback or notes stand beside it."""
    feedback: Literal["none", "own"] = "none"
    """What fills the feedback slot: what this rollout's failed tests said."""
    feedback_with_solution: Literal["always", "never"] = "always"
    """``never`` is SDPO's default: a solution suppresses the feedback."""
    feedback_on_success: Literal["bare", "drop"] = "bare"
    """A rollout that passed and has no context: ``bare`` keeps it as a masked row, ``drop`` takes it out of the
    batch (it then counts in no denominator)."""
    on_own_success: Literal["other_peer", "bare"] = "other_peer"
    """What a rollout that passed is given of others (a peer's solution, hints): the same as all, or nothing."""
    static: bool = False
    """The template itself is the context: every row has one."""
    preamble: str = ""
    """Fills the preamble slot."""
    preamble_id: str = ""
    """Name and version of the preamble, for tables; its text is hashed beside it."""
    strip_think: bool = True
    """Leave ``<think>`` blocks out of solutions and attempts that are shown."""
    function: str = ""
    """``file.py:name`` or ``module:name`` of a Python function that fills the sections instead of the rules above;
    see ``opsd_rs.context.source``."""
    notes: NotesConfig = NotesConfig()
    examples: ExamplesConfig = ExamplesConfig()
    section_tokens: SectionTokensConfig = SectionTokensConfig()

    @property
    def sha256(self) -> str:
        """The first 16 hexadecimal digits of the hash of all keys: two contexts of one name may differ."""
        return _digest(self.model_dump_json())

    @property
    def preamble_sha256(self) -> str:
        """The same of the preamble alone; empty without one."""
        return _digest(self.preamble) if self.preamble else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
