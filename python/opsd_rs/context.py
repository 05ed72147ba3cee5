"""What the student is asked and what the self-teacher gets to see, to the token.

In: problems, rollouts, their grades, and one context (``configs/contexts/*.toml``). Out: prompt ids for the
sampler and, per rollout, a ``TeacherContext``. Here live the rules (who is whose peer, when feedback is shown);
filling, cutting and encoding are Rust's. The completion ids follow the teacher's prompt verbatim, elsewhere.

What it does not do: it samples nothing (hints are asked for and handed in), and it never reads hidden tests; all
it knows of them is the feedback text in a ``Grade``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from opsd_rs import _core
from opsd_rs.config import ContextConfig
from opsd_rs.context_chat import chat_template
from opsd_rs.context_words import PromptStyle, check_hint, statement, without_thinking
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.records import Case, Grade, Problem, Rollout, TeacherContext

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE_SOLUTION = "[the whole text of a passing answer]"
EXAMPLE_HINT = "[a hint written from a passing answer]"
EXAMPLE_FEEDBACK = "[what the sandbox said about this attempt]"

_NO_BUDGET = 2**31

Group = list[tuple[Rollout, Grade]]
"""One problem's rollouts with their grades, in sample order."""


class Sections(NamedTuple):
    """What one rollout's teacher reads besides the problem."""

    solution: str | None
    feedback: str | None


class Assembler:
    """Prompts of one model under one context.

    :param tokenizer_dir: model directory or hub name
    :param max_context_tokens: bound of every teacher prompt (``teacher.max_context_tokens``)
    :param control_mask: ``one`` keeps rows without context in the loss
    :raises BadInput: a tokenizer, chat template or context that cannot be used
    """

    def __init__(
        self,
        tokenizer_dir: str | Path,
        context: ContextConfig,
        *,
        enable_thinking: bool,
        max_context_tokens: int,
        prompt_style: PromptStyle,
        control_mask: Literal["zero", "one"] = "zero",
    ) -> None:
        self.context = context
        self.chat = chat_template(str(tokenizer_dir), enable_thinking)
        self._template = compile_context(context)
        self._max_context_tokens = max_context_tokens
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

    def student_text(self, problem: Problem) -> str:
        """The student's prompt as text, generation header included."""
        return self.chat.encoder.render(statement(problem, self._prompt_style))

    def student_prompt(self, problem: Problem) -> tuple[int, ...]:
        """The student's prompt ids; remembered by the text of the message."""
        message = statement(problem, self._prompt_style)
        ids = self._student_prompts.get(message)
        if ids is None:
            ids = self.chat.encoder.encode(problem.problem_id, message)
            self._student_prompts[message] = ids
        return ids

    def teacher_contexts(
        self,
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Mapping[str, Problem],
        hints: Mapping[str, str] | None = None,
    ) -> list[TeacherContext]:
        """What the teacher reads before it re-reads each rollout, in the order of ``rollouts``.

        :param hints: hint per problem, for a context whose solution slot holds hints (``hints_from``)
        :raises BadInput: a problem whose statement alone exceeds ``teacher.max_context_tokens``
        """
        if self.context.solution == "hints" and hints is None:
            raise OpsdError(f'context "{self.context.name}" needs hints: ask hint_requests, then hints_from')
        groups = _groups(rollouts, grades)
        sections = [
            self._sections(rollout, grade, groups[rollout.problem_id], hints or {})
            for rollout, grade in zip(rollouts, grades, strict=True)
        ]
        rows = [
            (rollout.problem_id, statement(problems[rollout.problem_id], self._prompt_style), section)
            for rollout, section in zip(rollouts, sections, strict=True)
        ]
        prompts = self.chat.encoder.assemble(self._template, rows, self._max_context_tokens)
        leaky = self._leaky(groups, hints or {})
        return [
            self._teacher_context(rollout, section, ids, flags, leaky)
            for rollout, section, (ids, flags) in zip(rollouts, sections, prompts, strict=True)
        ]

    def hint_requests(
        self, rollouts: Sequence[Rollout], grades: Sequence[Grade], problems: Mapping[str, Problem]
    ) -> dict[str, tuple[int, ...]]:
        """Prompt ids that ask for a hint from the first success of each problem that has one."""
        solutions = self._first_successes(_groups(rollouts, grades))
        template = _compile(template=self.context.hints.prompt, sections=[("solution", "{solution}")])
        rows = [(name, problems[name].prompt, [solution]) for name, solution in solutions.items()]
        prompts = self.chat.encoder.assemble(template, rows, self._max_context_tokens)
        return {name: ids for name, (ids, _) in zip(solutions, prompts, strict=True)}

    def hints_from(
        self, texts: Mapping[str, str], rollouts: Sequence[Rollout], grades: Sequence[Grade]
    ) -> dict[str, str]:
        """Hints fit to be shown: without code copied from the success they were written from.

        A hint that held nothing else is left out. Copies inside sentences stay and flag the rows
        ``leak:solution``.

        :param texts: the generator's answers by problem
        """
        solutions = self._first_successes(_groups(rollouts, grades))
        checked = {name: check_hint(text, solutions[name]).text for name, text in texts.items()}
        return {name: text for name, text in checked.items() if text}

    def assert_generation_header(self) -> None:
        """Check on this tokenizer that teacher and student answer from the same generation header.

        :raises BadInput: naming ``model.path``, where ids differ from ``apply_chat_template``'s, the teacher's
            prompt ends otherwise than the student's, or ``model.enable_thinking`` cannot be honoured
        """
        probe = Problem("probe", "Add two integers, 12 and 7.\n", tests=(Case("12\n7", "19"),))
        prompt = statement(probe, self._prompt_style)
        row = (probe.problem_id, prompt, ["def add(a, b):\n    return a + b", "Test Case 1: Wrong Answer"])
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

    def show(self, problem: Problem, *, solution: str | None = None, feedback: str | None = None) -> str:
        """The teacher's prompt for ``problem`` as text, as ``render_message`` fills it."""
        message = render_message(
            self.context, problem, self._prompt_style, solution=solution, feedback=feedback
        )
        return self.chat.encoder.render(message)

    @staticmethod
    def coverage(contexts: Sequence[TeacherContext]) -> float:
        """Share of rollouts whose teacher had context; 0.0 of none."""
        return sum(context.has_context for context in contexts) / len(contexts) if contexts else 0.0

    def _sections(self, rollout: Rollout, grade: Grade, group: Group, hints: Mapping[str, str]) -> Sections:
        """Who is shown what; ``arXiv 2605.30070`` Table 3, with SDPO's rules where it is silent."""
        if grade.passed is None:  # an infrastructure fault says nothing about the answer
            return Sections(None, None)
        context = self.context
        other = next((r for r, g in group if g.passed and r.sample != rollout.sample), None)
        wants_other = other is not None and not (grade.passed and context.on_own_success == "bare")
        solution: str | None = None
        if context.solution == "own" and grade.passed:
            solution = self._shown(rollout)
        elif context.solution == "peer" and wants_other and other is not None:
            solution = self._shown(other)
        elif context.solution == "hints" and wants_other:
            solution = hints.get(rollout.problem_id)
        feedback: str | None = None
        suppressed = solution is not None and context.feedback_with_solution == "never"
        if context.feedback == "own" and not grade.passed and grade.feedback.strip() and not suppressed:
            feedback = grade.feedback
        return Sections(solution, feedback)

    def _teacher_context(
        self,
        rollout: Rollout,
        sections: Sections,
        ids: tuple[int, ...],
        flags: Sequence[str],
        leaky: frozenset[str],
    ) -> TeacherContext:
        parts = ["static"] if self.context.static else []
        if sections.solution is not None:
            parts.append(self.context.solution)
            flags = [*flags, *(["leak:solution"] if rollout.problem_id in leaky else [])]
        if sections.feedback is not None:
            parts.append("feedback")
        return TeacherContext(
            problem_id=rollout.problem_id,
            sample=rollout.sample,
            prompt_ids=ids,
            status="+".join(parts) or "bare",
            has_context=bool(parts) or self._control_mask == "one",
            flags=tuple(flags),
        )

    def _shown(self, rollout: Rollout) -> str:
        return without_thinking(rollout.text) if self.context.strip_think else rollout.text

    def _first_successes(self, groups: Mapping[str, Group]) -> dict[str, str]:
        firsts = {name: next((r for r, g in group if g.passed), None) for name, group in groups.items()}
        return {name: self._shown(first) for name, first in firsts.items() if first is not None}

    def _leaky(self, groups: Mapping[str, Group], hints: Mapping[str, str]) -> frozenset[str]:
        solutions = self._first_successes(groups) if hints else {}
        return frozenset(
            n for n, hint in hints.items() if n in solutions and check_hint(hint, solutions[n]).leaked
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


def render_message(
    context: ContextConfig,
    problem: Problem,
    style: PromptStyle,
    *,
    solution: str | None = None,
    feedback: str | None = None,
) -> str:
    """The teacher's user message for ``problem``: no chat template, no tokenizer, nothing cut.

    With neither ``solution`` nor ``feedback`` given, stand-ins show where the context's sections go.
    """
    given = (solution, feedback) != (None, None)
    if not given:
        solution = EXAMPLE_HINT if context.solution == "hints" else EXAMPLE_SOLUTION
        # A passing answer has no feedback, and SDPO's peer suppresses it.
        exclusive = context.solution == "own" or context.feedback_with_solution == "never"
        feedback = None if context.solution != "none" and exclusive else EXAMPLE_FEEDBACK
    solution = None if context.solution == "none" else solution
    feedback = None if context.feedback == "none" else feedback
    return compile_context(context).fill(statement(problem, style), [solution, feedback])


def compile_context(context: ContextConfig) -> _core.ContextTemplate:
    """Parse a context's templates; every slot that its rules fill must be there.

    :raises BadInput: naming the key of the template
    """
    wanted = {
        "prompt": True,
        "solution": context.solution != "none",
        "feedback": context.feedback != "none",
        "preamble": bool(context.preamble),
    }
    for slot, needed in wanted.items():
        if needed and f"{{{slot}}}" not in context.template:
            raise BadInput(
                f'context "{context.name}": context.template lacks the slot {{{slot}}}, which its rules fill'
            )
    if context.solution == "hints" and "{solution}" not in context.hints.prompt:
        raise BadInput(f'context "{context.name}": context.hints.prompt lacks the slot {{solution}}')
    return _compile(
        template=context.template,
        sections=[("solution", context.solution_template), ("feedback", context.feedback_template)],
        bare_template=context.bare_template,
        preamble=context.preamble,
        is_static=context.static,
    )


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


def _groups(rollouts: Sequence[Rollout], grades: Sequence[Grade]) -> dict[str, Group]:
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
