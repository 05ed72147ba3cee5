"""Types of the native extension."""

from collections.abc import Sequence
from typing import final

__all__: list[str]

@final
class Chat:
    """A chat template compiled for messages of one user, with its tokenizer."""

    def __new__(cls, *, tokenizer_json: str, head: str, tail: str, trims: bool) -> Chat: ...
    def encode(self, label: str, message: str) -> tuple[int, ...]: ...
    def assemble(
        self,
        context: ContextTemplate,
        rows: Sequence[tuple[str, str, str | None, str | None]],
        max_tokens: int,
    ) -> list[tuple[tuple[int, ...], list[str]]]: ...
    def render(self, message: str) -> str: ...
    def spells_special(self, text: str) -> bool: ...
    @property
    def tail_ids(self) -> tuple[int, ...]: ...

@final
class ContextTemplate:
    """A context's templates, parsed."""

    def __new__(
        cls,
        *,
        template: str,
        solution_template: str,
        feedback_template: str,
        bare_template: str,
        preamble: str,
        is_static: bool,
    ) -> ContextTemplate: ...
    def fill(self, prompt: str, solution: str | None, feedback: str | None) -> str: ...

def extract_code(text: str, rule: str = "last") -> str | None:
    """The code inside a completion by rule "last", "longest" or "official"; None where there is none."""

def same_output(actual: bytes, expected: bytes) -> bool:
    """Whether a standard output answers the expected one (LiveCodeBench's comparison)."""

def supervise() -> None:
    """Serve the process at the other end of the socket on descriptor 0; for the grader's supervisor only."""
