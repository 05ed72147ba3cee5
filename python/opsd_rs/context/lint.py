"""What is wrong with a context, or rarely intended: faults stop a run, warnings do not.

In: a name or a file. Out: findings that name the key. No tokenizer, model or problem is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from opsd_rs.config import SECTIONS, ContextConfig, load_context
from opsd_rs.context.notes.notes import slots
from opsd_rs.context.source import Context
from opsd_rs.context.templates import compile_context, filled_slots
from opsd_rs.errors import BadInput

_SPECIAL = re.compile(r"<\|[^|>\s]+\|>|\[/?INST\]|</?think>|<｜[^｜]+｜>")
"""Turn markers of the models' families; in a message they are text, not markers."""


class Finding(NamedTuple):
    """One thing found in a context."""

    level: Literal["fault", "warning"]
    key: str
    text: str


def lint_context(source: str) -> list[Finding]:
    """Everything found in the context ``source``; empty when there is nothing to say."""
    try:
        context = load_context(source)
    except BadInput as error:
        faults = getattr(error, "faults", (str(error),))
        return [Finding("fault", "", fault) for fault in faults]
    try:
        compile_context(context)
        Context.with_function(context)
    except BadInput as error:
        return [Finding("fault", _key(str(error)), str(error))]
    stem = Path(source).name.removesuffix(".toml")
    named = [] if context.name == stem else [
        Finding("warning", "context.name", f'"{context.name}" stands in a file called {stem}: tables use the name')
    ]  # fmt: skip
    return [*named, *(Finding("warning", key, text) for key, text in _unlikely(context))]


def _key(message: str) -> str:
    found = re.search(r"context\.[a-z_.]*[a-z_]", message)
    return found[0] if found else ""


def _unlikely(context: ContextConfig) -> Iterator[tuple[str, str]]:
    yield from _words(context)
    yield from _rules(context)
    yield from _notes(context)


def _words(context: ContextConfig) -> Iterator[tuple[str, str]]:
    """The templates as text."""
    filled = filled_slots(context)
    written = slots(context.template)
    for name in SECTIONS:
        # SDPO's own templates keep both slots whatever its flags fill: not worth a finding.
        idle = name in written - filled - {"solution", "feedback"}
        if idle and (filled or context.static):
            yield "context.template", f"no rule fills {{{name}}}: it is always empty"
        if name not in filled:
            continue
        key, wrapper = f"context.{name}_template", str(getattr(context, f"{name}_template"))
        before = context.template.partition(f"{{{name}}}")[0]
        touches = bool(before) and not before.endswith(("\n", " ")) and not wrapper.startswith(("\n", " "))
        if touches:
            yield key, f"runs on from what stands before {{{name}}}: begin it with a new line"
        after = context.template.partition(f"{{{name}}}")[2]
        if after.startswith("{prompt}") and not wrapper.endswith(("\n", " ")):
            yield key, "the problem runs on from it: end it with a new line"
    for key in ("template", "bare_template", *(f"{name}_template" for name in SECTIONS), "preamble"):
        text = str(getattr(context, key))
        if marker := _SPECIAL.search(text):
            yield (
                f"context.{key}",
                f"{marker[0]} is read as plain text here: a message cannot open or close a turn",
            )
    for key in ("template", "bare_template"):
        text = str(getattr(context, key))
        if text != text.strip():
            yield (
                f"context.{key}",
                "begins or ends with white space, which some chat templates strip (Llama's)",
            )
    if context.bare_template != "{prompt}":
        yield (
            "context.bare_template",
            "differs from {prompt}: where the teacher has no context it reads other words than the student",
        )
    if context.preamble and not context.preamble_id:
        yield "context.preamble_id", "is empty: tables cannot say which version of the preamble it was"


def _rules(context: ContextConfig) -> Iterator[tuple[str, str]]:
    """Options that nothing uses, and what no row would get."""
    if not filled_slots(context) and not context.static:
        yield "context.template", 'every row is bare: a control, which trains only under control.mask = "one"'
    if context.static and not context.preamble and context.template.strip() == "{prompt}":
        yield "context.static", "is set, yet the template adds nothing to {prompt}"
    shared = context.notes.kind != "none" and "{solution}" in context.notes.prompt
    unused = {
        "feedback_with_solution": context.feedback_with_solution == "never"
        and (context.feedback == "none" or "solution" not in filled_slots(context)),
        "feedback_on_success": context.feedback_on_success == "drop" and context.feedback == "none",
        "on_own_success": context.on_own_success == "bare" and context.solution != "peer" and not shared,
        "solution_from": context.solution_from == "other_problem" and context.solution == "none",
        "solution_corrupt": context.solution_corrupt and context.solution == "none",
    }
    unused |= {
        f"section_tokens.{name}": getattr(context.section_tokens, name) is not None
        and name not in filled_slots(context)
        for name in SECTIONS
    }
    for key, found in unused.items():
        if found and not context.function:
            yield f"context.{key}", "is set, but nothing here depends on it"
    if context.solution_corrupt and context.solution_from == "other_problem":
        yield "context.solution_corrupt", "is not applied to another problem's solution"
    if context.attempt == "own" and context.feedback == "none" and context.notes.kind == "none":
        yield "context.attempt", "is never shown: it stands only beside feedback or notes"


def _notes(context: ContextConfig) -> Iterator[tuple[str, str]]:
    notes = context.notes
    if notes.kind == "none":
        if notes.prompt or notes.file:
            yield "context.notes.kind", '"none": nothing is written, whatever the prompt says'
        return
    if notes.generator == "file" and not notes.file:
        yield "context.notes.file", "is empty, and notes.generator reads texts from it"
    elif notes.generator == "file" and not Path(notes.file).is_file():
        yield "context.notes.file", f"{notes.file}: no such file from here"
    if notes.slot == "solution" and context.solution != "none":
        yield (
            "context.notes.slot",
            "solution: the notes take the place of the solution that context.solution would show",
        )
    if notes.kind in ("reflection", "critique") and notes.scope == "per_problem":
        yield (
            "context.notes.scope",
            f'"per_problem": one {notes.kind} would serve all rollouts, whatever each did',
        )
    if (
        "{attempt}" not in notes.prompt
        and notes.kind in ("reflection", "critique")
        and notes.generator != "file"
    ):
        yield "context.notes.prompt", f"lacks {{attempt}}: a {notes.kind} of what?"
    if notes.kind == "experience" and notes.scope == "per_rollout":
        yield (
            "context.notes.scope",
            '"per_rollout": a memory holds one text of a problem, the last rollout\'s',
        )
    if notes.kind != "experience" and "{experience}" in notes.prompt:
        yield "context.notes.prompt", f"{{experience}} is always empty: {notes.kind} goes into no memory"
    if notes.merge_prompt and "memory_items" in notes.model_fields_set:
        yield "context.notes.memory_items", "is set, but merged experience is one text"
    if not notes.merge_prompt and "merge_tokens" in notes.model_fields_set:
        yield "context.notes.merge_tokens", "is set, but nothing is merged without notes.merge_prompt"
    if notes.kind != "experience" and notes.leak_check == "off" and "{solution}" in notes.prompt:
        yield "context.notes.leak_check", '"off": the model may copy the solution it was shown'
