"""What the student is asked and what the self-teacher gets to see, to the token.

In: problems, rollouts, their grades, and one context (``configs/contexts/*.toml``). Out: prompt ids for the
sampler and one packed ``Batch`` of teacher prompts, each followed by its completion ids verbatim; a
``TeacherContext`` is a row of it. ``context.sections`` decides who is shown what; filling, cutting and encoding are
done in Rust.

What it does not do: it samples nothing (notes are asked for and handed in), and it never reads hidden tests; all
it knows of them is the feedback text in a ``Grade``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from opsd_rs.config import SECTIONS, ContextConfig, TeacherConfig
from opsd_rs.context.batch import pack_rows, student_batch
from opsd_rs.context.chat import DATE, chat_template
from opsd_rs.context.notes import notes as context_notes
from opsd_rs.context.notes.memory import NOTHING_YET, Memory, merges
from opsd_rs.context.notes.notes import NoteRequest, Notes
from opsd_rs.context.pieces import token_bytes
from opsd_rs.context.sections import Filled, Rules, groups_of
from opsd_rs.context.source import Context
from opsd_rs.context.templates import (
    compile_context,
    compile_merge,
    compile_prompt,
    render_message,
    section_bounds,
)
from opsd_rs.context.text import PromptStyle, half_pair, statement
from opsd_rs.errors import BadInput
from opsd_rs.records import Case, Grade, Problem, Rollout, TeacherContext

if TYPE_CHECKING:
    from pathlib import Path

    from opsd_rs.base import Batch

_NO_BUDGET = 2**31


class Assembler:
    """Prompts of one model under one context.

    :param tokenizer_dir: model directory or hub name
    :param max_context_tokens: bound of every teacher prompt (``teacher.max_context_tokens``)
    :param control_mask: ``one`` keeps rows without context in the loss
    :param chat_date: the day, ISO, for templates that print today's; None: a fixed one
    :param pool: problems of the training split, for examples and other problems' solutions
    :param section_tokens: bounds of single sections, instead of the context's own (``context.section_tokens``)
    :raises BadInput: a tokenizer, chat template or context that cannot be used
    """

    def __init__(
        self,
        tokenizer_dir: str | Path,
        context: ContextConfig | Context,
        *,
        enable_thinking: bool = False,
        chat_date: str | None = None,
        max_context_tokens: int = TeacherConfig().max_context_tokens,
        prompt_style: PromptStyle = "plain",
        control_mask: Literal["zero", "one"] = "zero",
        pool: Sequence[Problem] = (),
        section_tokens: Mapping[str, int] | None = None,
    ) -> None:
        if isinstance(context, ContextConfig):
            context = Context.with_function(context)
        self.context = context.config
        self.chat = chat_template(str(tokenizer_dir), enable_thinking, chat_date or DATE)
        self._template = compile_context(self.context)
        self._rules = Rules(self.context, pool, context.function)
        self._max_context_tokens = max_context_tokens
        self._section_tokens = section_bounds(self.context, section_tokens or {})
        self._prompt_style: PromptStyle = prompt_style
        self._control_mask = control_mask
        self._student_prompts: dict[str, tuple[int, ...]] = {}

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Token ids that end an answer, the chat template's own first."""
        return self.chat.eos_ids

    @property
    def pad_id(self) -> int:
        """Token id for padding."""
        return self.chat.pad_id

    def decode(self, ids: Sequence[int]) -> str:
        """Text of completion ids, special tokens left out."""
        return self.chat.decode(ids)

    def token_bytes(self) -> dict[int, bytes]:
        """The bytes of every token of the vocabulary, by id."""
        return token_bytes(self.chat.tokenizer.backend_tokenizer.to_str())

    def student_message(self, problem: Problem) -> str:
        """The user's message that the student reads."""
        return statement(problem, self._prompt_style)

    def student_prompt(self, problem: Problem) -> tuple[int, ...]:
        """The student's prompt ids; remembered by the text of the message."""
        message = statement(problem, self._prompt_style)
        ids = self._student_prompts.get(message)
        if ids is None:
            try:
                ids = self.chat.encoder.encode(problem.problem_id, message)
            except UnicodeEncodeError as error:
                raise half_pair(error, [(problem.problem_id, (message,))]) from None
            self._student_prompts[message] = ids
        return ids

    def teacher_contexts(
        self,
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Mapping[str, Problem],
        notes: Notes | None = None,
    ) -> list[TeacherContext]:
        """What the teacher reads before it re-reads each rollout, in the order of ``rollouts``.

        :param notes: what the model wrote, for a context that has notes (``notes_from``)
        :raises BadInput: a problem whose statement alone exceeds ``teacher.max_context_tokens``
        """
        batch = self.teacher_batch(rollouts, grades, problems, notes)
        return [
            TeacherContext(
                problem_id=rollout.problem_id,
                sample=rollout.sample,
                status=batch.statuses[row],
                has_context=bool(batch.has_context[row]),
                flags=batch.flags[row],
                batch=batch,
                row=row,
            )
            for row, rollout in enumerate(rollouts)
        ]

    def teacher_batch(
        self,
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Mapping[str, Problem],
        notes: Notes | None = None,
    ) -> Batch:
        """The teacher's prompts, each followed by its completion verbatim, as flat buffers.

        :raises BadInput: as ``teacher_contexts``
        """
        return self._packed(rollouts, self.sections(rollouts, grades, problems, notes), problems)

    @staticmethod
    def student_batch(rollouts: Sequence[Rollout]) -> Batch:
        """The student's rows, each prompt as it was sampled from."""
        return student_batch(rollouts)

    def sections(
        self,
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Mapping[str, Problem],
        notes: Notes | None = None,
    ) -> list[Filled]:
        """The texts that ``teacher_contexts`` encodes, whole."""
        return self._rules.fill(rollouts, grades, groups_of(rollouts, grades), problems, notes)

    def note_requests(
        self,
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Mapping[str, Problem],
        memory: Memory | None = None,
    ) -> list[NoteRequest]:
        """Prompts for the texts that the model writes itself; none where the context has no notes.

        :param memory: experience so far, for a prompt with the slot experience
        """
        settings = self.context.notes
        if settings.kind == "none" or settings.generator == "file":
            return []
        found = context_notes.wanted(self.context, groups_of(rollouts, grades), problems, memory or Memory())
        template = compile_prompt(self.context)
        rows = [(w.problem_id, problems[w.problem_id].prompt, w.texts) for w in found]
        try:
            prompts = self.chat.encoder.assemble(template, rows, self._max_context_tokens)
        except UnicodeEncodeError as error:
            raise half_pair(error, ((name, (prompt, *texts)) for name, prompt, texts in rows)) from None
        return [NoteRequest(w.problem_id, w.sample, ids) for w, (ids, _) in zip(found, prompts, strict=True)]

    def notes_from(
        self,
        requests: Sequence[NoteRequest],
        texts: Sequence[str],
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Mapping[str, Problem],
        memory: Memory | None = None,
    ) -> Notes | None:
        """What may be shown of the model's texts (in the order of ``requests``); None where the context has no notes.

        Under ``notes.generator = "file"`` both lists are empty and the texts come from the file.

        :param memory: experience so far; what these texts add to it is added
        """
        settings = self.context.notes
        if settings.kind == "none":
            return None
        groups, known = groups_of(rollouts, grades), Memory() if memory is None else memory
        if settings.generator == "file":
            needed = context_notes.wanted(self.context, groups, problems, known)
            found = context_notes.from_file(settings, needed)
        else:
            found = context_notes.by_request(requests, texts)
        return context_notes.checked(self.context, found, groups, problems, known)

    def merge_requests(self, notes: Notes) -> list[NoteRequest]:
        """Prompts for the merges of experience (``notes.merge_prompt``) that ``notes`` wait for.

        ``problem_id`` is empty where the memory itself is merged.
        """
        if not self.context.notes.merge_prompt:
            return []
        found = merges(notes.memory)
        rows = [(m.problem_id, "", (m.experience or NOTHING_YET, m.notes)) for m in found]
        prompts = self.chat.encoder.assemble(compile_merge(self.context), rows, self._max_context_tokens)
        return [NoteRequest(m.problem_id, 0, ids) for m, (ids, _) in zip(found, prompts, strict=True)]

    def merged_from(
        self,
        notes: Notes,
        requests: Sequence[NoteRequest],
        texts: Sequence[str],
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Mapping[str, Problem],
    ) -> Notes:
        """``notes`` with the merged experience, which their memory then holds.

        :param texts: in the order of ``requests``, which are those of ``merge_requests``
        """
        found = {name: text for (name, _), text in context_notes.by_request(requests, texts).items()}
        return context_notes.merged(self.context, notes, found, groups_of(rollouts, grades), problems)

    def assert_generation_header(self) -> None:
        """Check on this tokenizer that teacher and student answer from the same generation header.

        :raises BadInput: naming ``model.path``, where ids differ from ``apply_chat_template``'s, the teacher's
            prompt ends otherwise than the student's, or ``model.enable_thinking`` cannot be honoured
        """
        probe = Problem("probe", "Add two integers, 12 and 7.\n", tests=(Case("12\n7", "19"),))
        prompt = statement(probe, self._prompt_style)
        row = (probe.problem_id, prompt, [f"Some text, {name}:\n    return a + b" for name in SECTIONS])
        ((teacher_ids, _),) = self.chat.encoder.assemble(self._template, [row], _NO_BUDGET)
        prompts = {
            "student": (self.student_prompt(probe), prompt),
            "teacher": (teacher_ids, self._template.fill(*row[1:])),
        }
        for side, (ids, message) in prompts.items():
            header = self.chat.encoder.tail_ids
            if ids[-len(header) :] != header or ids != self.chat.slow_encode(message):
                raise BadInput(
                    f"model.path = {self.chat.path}: the {side}'s prompt ids differ from the tokenizer's own; this "
                    "tokenizer cannot be cut at its turn markers"
                )
        self._assert_thinking()

    def show(self, problem: Problem, texts: Mapping[str, str] | None = None) -> str:
        """The teacher's prompt for ``problem`` as text, as ``render_message`` fills it."""
        return self.chat.encoder.render(render_message(self.context, problem, self._prompt_style, texts))

    def _packed(
        self,
        rollouts: Sequence[Rollout],
        filled: Sequence[Filled],
        problems: Mapping[str, Problem],
    ) -> Batch:
        parts = [[*(["static"] if self.context.static else []), *row.parts] for row in filled]
        return pack_rows(
            self.chat.encoder,
            self._template,
            [
                (rollout.problem_id, statement(problems[rollout.problem_id], self._prompt_style), row.texts)
                for rollout, row in zip(rollouts, filled, strict=True)
            ],
            [rollout.completion_ids for rollout in rollouts],
            section_names=SECTIONS,
            max_tokens=self._max_context_tokens,
            section_tokens=self._section_tokens,
            has_context=[
                not row.dropped and (bool(names) or self._control_mask == "one")
                for row, names in zip(filled, parts, strict=True)
            ],
            statuses=[
                "dropped" if row.dropped else "+".join(names) or "bare"
                for row, names in zip(filled, parts, strict=True)
            ],
            flags=[row.flags for row in filled],
        )

    def _assert_thinking(self) -> None:
        chat = self.chat
        opens = chat.tail.rfind("<think>") > chat.tail.rfind("</think>")
        if not chat.enable_thinking and opens:
            raise BadInput(
                f"model.path = {chat.path}: its generation header opens a <think> block although "
                "model.enable_thinking = false; set it to true or use a model that can answer without thinking"
            )
        if chat.enable_thinking and not opens and chat.tail == chat.other_tail:
            raise BadInput(
                f"model.path = {chat.path}: its chat template knows no thinking; set model.enable_thinking = false"
            )
