"""Types of the native extension."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Chat",
    "ContextTemplate",
    "Sandbox",
    "all_plain_json",
    "as_official_function",
    "extract_code",
    "probe",
    "probe_levels",
    "same_output",
    "same_value",
    "sandbox_zygote",
    "supervise",
]

@final
class Chat:
    """A chat template compiled for messages of one user, with its tokenizer."""

    def __new__(cls, *, tokenizer_json: str, head: str, tail: str, trims: bool) -> Chat: ...
    def encode(self, label: str, message: str) -> tuple[int, ...]: ...
    def assemble(
        self,
        context: ContextTemplate,
        rows: Sequence[tuple[str, str, Sequence[str | None]]],
        max_tokens: int,
    ) -> list[tuple[tuple[int, ...], list[str]]]: ...
    def assemble_packed(
        self,
        context: ContextTemplate,
        rows: Sequence[tuple[str, str, Sequence[str | None]]],
        max_tokens: int,
        section_tokens: Sequence[int | None],
        completion_ids: NDArray[np.uint32],
        completion_offsets: NDArray[np.uint64],
    ) -> dict[str, Any]: ...
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
        sections: Sequence[tuple[str, str]],
        bare_template: str,
        preamble: str,
        is_static: bool,
    ) -> ContextTemplate: ...
    def fill(self, prompt: str, sections: Sequence[str | None]) -> str: ...

def all_plain_json(texts: Sequence[str]) -> bool:
    """Whether each text is JSON that Python's reader takes without a word; False where it has to be asked."""

def as_official_function(source: str) -> str | None:
    """A program on standard input as the official runner rewrites it; None where its own process finds that out."""

def extract_code(text: str, rule: str = "last", truncated: bool = False) -> str | None:
    """The code inside a completion by an extraction rule of ``Grader(extract=...)``; None where there is none.

    ``truncated``: the completion ended at the token limit.
    """

def same_output(actual: bytes, expected: bytes, compare: str = "official") -> bool:
    """Whether a standard output answers the expected one, by a rule of ``Grader(compare=...)``."""

def same_value(actual: bytes, expected: bytes, compare: str = "official") -> bool:
    """Whether two JSON texts are equal by a rule of ``Grader(compare=...)``; one that is no JSON equals nothing."""

def supervise() -> None:
    """Serve the process at the other end of the socket on descriptor 0; for the grader's supervisor only."""

@final
class Sandbox:
    """One warm interpreter whose programs are isolated; the thread that made it drives it.

    For tests: only an extension built with the cargo feature `testing` has it, the wheel does not.
    """

    def __new__(
        cls,
        python: str | Path,
        core: str | Path,
        *,
        level: str = "S2",
        site_packages: Sequence[str | Path] = ...,
        packages: Sequence[str | Path] = ...,
        numpy: bool = False,
        without: Sequence[str] = ...,
    ) -> Sandbox: ...
    def run(
        self,
        code: str,
        inputs: Sequence[bytes],
        *,
        entry_point: str | None = None,
        judge: Callable[[int, dict[str, Any]], str | None] | None = None,
        cpu_seconds: float = 6.0,
        idle_seconds: float = 3.0,
        wall_seconds: float = 90.0,
        memory_mib: int = 1024,
        output_mib: int = 16,
        stderr_kib: int = 64,
        threads: int = 32,
    ) -> list[dict[str, Any]]: ...
    def prove(self) -> int: ...
    @property
    def pid(self) -> int: ...
    def describe(self) -> str: ...

def probe_levels(python: str | Path, core: str | Path) -> list[tuple[str, bool, str, str]]:
    """Try every level of isolation on this machine, best first: (level, holds, detail, policy)."""

def probe() -> list[tuple[str, bool, bool, str]]:
    """What this machine offers: (name, required, available, detail)."""

def sandbox_zygote(
    parent: int, without: int, numpy: int, num_packages: int, harness: str, folders: Sequence[str]
) -> None:
    """Become a zygote: only for the interpreter that a sandbox starts."""
