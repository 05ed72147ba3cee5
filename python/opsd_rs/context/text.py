"""The words around a problem, and what the model may say about it: pure text, no tokenizer.

In: a ``Problem``, or a text of the model's and the solutions it must not copy. Out: the user's message for the
student (also the ``{prompt}`` slot of every context), or the text without the code it gave away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from opsd_rs.errors import BadInput
from opsd_rs.records import Problem

PromptStyle = Literal["plain", "sdpo"] | Callable[[Problem], str]
"""The statement as it stands, SDPO's wording, or a function of an environment."""

# What SDPO's LiveCodeBench prompt says, in its order (lasgroup/SDPO, data/format/prompts.py), in our words. It
# names no input or output channel; the stated second is not the enforced limit.
SDPO_PROMPT = (
    "You are an expert programmer. You are given a programming problem and must write a correct Python program "
    "that meets its specification and passes all of its tests. The time limit is 1 second. You may outline your "
    "thoughts first. At the end, give the complete program in a code block enclosed with ``` ```.\n\n"
)
SDPO_SIGNATURE = "\n\nYour solution should have the following signature: ```python\n{signature}\n```"
_THINK = re.compile(r"<think>.*?</think>\s*", re.DOTALL)
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_TELLING_CHARACTERS = 12
"""A line of code shorter than this (``return x``) may be in a note by chance."""


def statement(problem: Problem, style: PromptStyle) -> str:
    """The user's message for ``problem``: as it stands, in SDPO's LiveCodeBench wording, or as a function writes it.

    SDPO asks for a function at top level: ``self`` leaves the signature even where the starter code has a class.
    """
    if callable(style):
        return style(problem)
    if style == "plain":
        return problem.prompt
    signature = ""
    if problem.starter_code and "def " in problem.starter_code:
        after = problem.starter_code.partition("def ")[2].strip()
        signature = SDPO_SIGNATURE.format(
            signature="def " + after.replace("(self, ", "(").replace("(self)", "()")
        )
    return SDPO_PROMPT + problem.prompt + signature


def without_thinking(text: str) -> str:
    """``text`` without its ``<think>...</think>`` blocks.

    Where the generation header itself opens the block, only the closing tag is in the completion: all before it
    goes too.

    >>> without_thinking("<think>hm</think>\\n\\nprint(1)"), without_thinking("hm</think>print(1)")
    ('print(1)', 'print(1)')
    """
    text = _THINK.sub("", text)
    _, closing, after = text.partition("</think>")
    return after.lstrip() if closing else text


def as_answer(code: str) -> str:
    """A solution written as code, in the form of an answer: fenced, unless it holds a fence.

    >>> as_answer("print(1)\\n")
    '```python\\nprint(1)\\n```'
    """
    return code if "```" in code else f"```python\n{code.strip()}\n```"


def half_pair(error: UnicodeEncodeError, texts: Iterable[tuple[str, Sequence[str | None]]]) -> BadInput:
    """The message for a text with half a surrogate pair, which JSON can hold and no tokenizer reads.

    :param texts: problem ids with the texts among which the faulty one is
    """
    name = next((name for name, found in texts if error.object in found), "?")
    return BadInput(
        f"problem {name}: half a surrogate pair at character {error.start} of {error.object[:40]!r}"
    )


class CheckedNote(NamedTuple):
    """A text of the model's after the leak check."""

    text: str
    leaked: tuple[str, ...]
    """Lines of a solution that stand in it, verbatim."""


def check_note(note: str, solutions: Sequence[str], *, given: str = "", strip: bool = True) -> CheckedNote:
    """Find lines of ``solutions`` in what the model wrote: advice is wanted, not a copy.

    Lines that stand in ``given``, the statement, give nothing away. ``strip`` takes out fenced code and lines that
    are lines of a solution; what stands inside sentences stays.

    >>> check_note("Sort first.\\n```\\nx.sort()\\n```\\nThen scan.", ["x.sort()"]).text
    'Sort first.\\n\\nThen scan.'
    """
    telling = {
        line.strip()
        for solution in solutions
        for line in _code_of(solution).splitlines()
        if len(line.strip()) >= _TELLING_CHARACTERS
        and not line.strip().startswith("```")
        and line.strip() not in given
    }
    kept = without_thinking(note).strip()
    if strip:
        lines = _FENCE.sub("", kept).splitlines()
        kept = "\n".join(line for line in lines if line.strip(" \t`") not in telling).strip()
    return CheckedNote(kept, tuple(sorted(line for line in telling if line in kept)))


def _code_of(solution: str) -> str:
    """The fenced blocks of an answer; all of it where nothing is fenced."""
    return "\n".join(_FENCE.findall(solution)) or solution
