"""A context's templates: what its rules fill, checked and compiled, and the message as text.

In: the keys of ``[context]``. Out: Rust's compiled templates, or the teacher's message with placeholders in its slots.
What it does not do: tokenise or cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opsd_rs import _core
from opsd_rs.config import LEAST_SECTION, SECTIONS, ContextConfig
from opsd_rs.context.notes.notes import MERGE_SLOTS, PROMPT_SLOTS, slots
from opsd_rs.context.text import PromptStyle, statement
from opsd_rs.errors import BadInput
from opsd_rs.records import Problem

STAND_INS = {
    "solution": "[the whole text of a passing answer]",
    "attempt": "[the whole text of this attempt]",
    "feedback": "[what the sandbox said about this attempt]",
    "notes": "[what the model wrote]",
    "examples": "[solved problems of the training split]",
}
"""What ``render_message`` puts where nothing is given."""


def section_bounds(context: ContextConfig, bounds: Mapping[str, int]) -> dict[str, int]:
    """Tokens that single sections may take: the context's, where ``bounds`` does not override them.

    :raises BadInput: ``bounds`` name no section, or too few tokens for what stands where a text was cut
    """
    for name, tokens in bounds.items():
        if name not in SECTIONS:
            raise BadInput(f"section_tokens: no section {name!r}; there are {', '.join(SECTIONS)}")
        if tokens < LEAST_SECTION:
            raise BadInput(
                f"section_tokens: {name} = {tokens}; give a section {LEAST_SECTION} tokens or more"
            )
    own = {name: getattr(context.section_tokens, name) for name in SECTIONS}
    return {name: tokens for name, tokens in {**own, **bounds}.items() if tokens is not None}


def render_message(
    context: ContextConfig,
    problem: Problem,
    style: PromptStyle,
    texts: Mapping[str, str] | None = None,
) -> str:
    """The teacher's user message for ``problem``: no chat template, no tokenizer, nothing cut.

    Without ``texts`` (by section), placeholders show where the context's sections go.
    """
    if texts is None:
        texts = {name: STAND_INS[name] for name in SECTIONS if name in filled_slots(context)}
        if context.notes.kind != "none" and context.notes.slot in texts:
            texts[context.notes.slot] = f"[{context.notes.kind} that the model wrote]"
        # A passing answer has no feedback, and SDPO's peer suppresses it.
        if "solution" in texts and (context.solution == "own" or context.feedback_with_solution == "never"):
            texts.pop("feedback", None)
    sections = [texts.get(name) for name in SECTIONS]
    return compile_context(context).fill(statement(problem, style), sections)


def filled_slots(context: ContextConfig) -> frozenset[str]:
    """The slots that a context's rules (or its function) may fill."""
    if context.function:
        return slots(context.template) & frozenset(SECTIONS)
    kinds = {
        "solution": context.solution,
        "attempt": context.attempt,
        "feedback": context.feedback,
        "examples": context.examples.kind,
    }
    found = {name for name, kind in kinds.items() if kind != "none"}
    return frozenset(found | ({context.notes.slot} if context.notes.kind != "none" else set()))


def compile_context(context: ContextConfig) -> _core.ContextTemplate:
    """Parse a context's templates; every slot that its rules fill must be there.

    :raises BadInput: naming the key of the template
    """
    needed = {
        "prompt",
        *filled_slots(context),
        *(["preamble"] if context.preamble else []),
    }
    for slot in ("prompt", "preamble", *SECTIONS):
        if slot in needed and f"{{{slot}}}" not in context.template:
            raise BadInput(
                f'context "{context.name}": context.template lacks the slot {{{slot}}}, which its rules fill'
            )
    notes = context.notes
    if notes.kind != "none" and notes.generator != "file":
        if "{problem}" not in notes.prompt:
            raise BadInput(f'context "{context.name}": context.notes.prompt lacks the slot {{problem}}')
        compile_prompt(context)
    if notes.merge_prompt:
        compile_merge(context)
    return _compile(
        template=context.template,
        sections=[(name, getattr(context, f"{name}_template")) for name in SECTIONS],
        bare_template=context.bare_template,
        preamble=context.preamble,
        is_static=context.static,
    )


def compile_prompt(context: ContextConfig) -> _core.ContextTemplate:
    """Parse what the model is asked to write.

    :raises BadInput: naming ``context.notes.prompt``
    """
    return _compile_question("prompt", context.notes.prompt, PROMPT_SLOTS)


def compile_merge(context: ContextConfig) -> _core.ContextTemplate:
    """Parse what the model is asked where it merges its experience.

    :raises BadInput: naming ``context.notes.merge_prompt``
    """
    notes, where = context.notes, f'context "{context.name}": context.notes.merge_prompt'
    if notes.kind != "experience":
        raise BadInput(f'{where} merges experience, and context.notes.kind = "{notes.kind}"')
    if notes.generator == "file":
        raise BadInput(f'{where}: under context.notes.generator = "file" no model writes; leave it empty')
    for slot in ("{problem}", "{prompt}", "{preamble}"):
        if slot in notes.merge_prompt:
            raise BadInput(f"{where}: a memory is of no single problem; it has no slot {slot}")
    for slot in MERGE_SLOTS:
        if f"{{{slot}}}" not in notes.merge_prompt:
            raise BadInput(f"{where} lacks the slot {{{slot}}}")
    return _compile_question("merge_prompt", notes.merge_prompt, MERGE_SLOTS)


def _compile_question(key: str, text: str, named: Sequence[str]) -> _core.ContextTemplate:
    try:
        return _compile(template=text, sections=[(slot, f"{{{slot}}}") for slot in named])
    except BadInput as error:
        raise BadInput(str(error).replace("context.template", f"context.notes.{key}", 1)) from None


def _compile(
    *,
    template: str,
    sections: Sequence[tuple[str, str]] = (),
    bare_template: str = "{prompt}",
    preamble: str = "",
    is_static: bool = False,
) -> _core.ContextTemplate:
    return _core.ContextTemplate(
        template=template,
        sections=sections,
        bare_template=bare_template,
        preamble=preamble,
        is_static=is_static,
    )
