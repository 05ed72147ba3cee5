"""One step's graded rollouts of three problems, and what a context makes of them, for the tests of contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opsd_rs import Assembler, Context
from opsd_rs.config import load_context
from opsd_rs.records import Case, Grade, Problem, Rollout

if TYPE_CHECKING:
    from pathlib import Path

    from opsd_rs.config import ContextConfig
    from opsd_rs.context import Memory

ADD = Problem(
    "add",
    "Add two integers.",
    (Case("1\n2", "3"),),
    entry_point="add",
    solution="def add(a, b):\n    return a + b",
)
SUB = Problem(
    "sub",
    "Subtract one integer from another.",
    (),
    entry_point="sub",
    solution="def sub(a, b):\n    return a - b",
)
MUL = Problem(
    "mul", "Multiply two integers.", (), entry_point="mul", solution="def mul(a, b):\n    return a * b"
)
PROBLEMS = {p.problem_id: p for p in (ADD, SUB, MUL)}


def rollout(name: str, sample: int, text: str) -> Rollout:
    return Rollout(name, sample, (1,), (5, 2), (-0.1, -0.2), text, truncated=False, policy_version=0)


def grade(name: str, sample: int, passed: bool | None, feedback: str = "") -> Grade:
    verdict: Any = {True: "accepted", False: "wrong_answer", None: "infra_error"}[passed]
    return Grade(name, sample, passed, verdict, (), feedback)


ROLLOUTS = [
    rollout("add", 0, "bad add"), rollout("add", 1, "```python\ndef add(a, b):\n    return a + b\n```"),
    rollout("add", 2, "odd add"), rollout("sub", 0, "bad sub"), rollout("sub", 1, "good sub"),
    rollout("mul", 0, "bad mul"), rollout("mul", 1, "lost mul"),
]  # fmt: skip
GRADES = [
    grade("add", 0, False, "said of add 0"), grade("add", 1, True), grade("add", 2, False, "said of add 2"),
    grade("sub", 0, False, "said of sub 0"), grade("sub", 1, True),
    grade("mul", 0, False, "said of mul 0"), grade("mul", 1, None),
]  # fmt: skip


def make_assembler(path: Path, context: str | ContextConfig | Context, **options: Any) -> Assembler:
    loaded = load_context(context) if isinstance(context, str) else context
    return Assembler(path, loaded, **{"max_context_tokens": 4096, "pool": list(PROBLEMS.values()), **options})


def read(
    assembler: Assembler, write: Any = lambda request: "A note.", memory: Memory | None = None
) -> list[tuple[str, str]]:
    """(status, what the teacher reads) of every rollout, notes written by ``write``."""
    requests = assembler.note_requests(ROLLOUTS, GRADES, PROBLEMS)
    notes = assembler.notes_from(requests, [write(r) for r in requests], ROLLOUTS, GRADES, PROBLEMS, memory)
    contexts = assembler.teacher_contexts(ROLLOUTS, GRADES, PROBLEMS, notes)
    return [(c.status, assembler.chat.text_of(c.prompt_ids)) for c in contexts]
