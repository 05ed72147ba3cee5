"""The words around a problem, and what a hint may say: pure text, no tokenizer.

In: a ``Problem``, or a model-written hint and the solution it was written from. Out: the user's message for the
student (also the ``{prompt}`` slot of every context), or the hint without the code it gave away.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from opsd_rs.records import Problem

PromptStyle = Literal["plain", "sdpo"]

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
"""A line of code shorter than this (``return x``) may well stand in a hint by chance."""


def statement(problem: Problem, style: PromptStyle) -> str:
    """The user's message for ``problem``: as it stands, or in SDPO's LiveCodeBench wording.

    SDPO asks for a function at top level: ``self`` leaves the signature even where the starter code has a class.
    """
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


class CheckedHint(NamedTuple):
    """A hint after the leak check."""

    text: str
    """Without fenced code and without lines that are lines of the solution."""
    leaked: tuple[str, ...]
    """Lines of the solution that still stand, verbatim, inside its sentences."""


def check_hint(hint: str, solution: str) -> CheckedHint:
    """Take the code out of a hint: advice is wanted, not a copy of the solution.

    >>> check_hint("Sort first.\\n```\\nx.sort()\\n```\\nThen scan.", "x.sort()").text
    'Sort first.\\n\\nThen scan.'
    """
    telling = {
        line.strip() for line in _code_of(solution).splitlines() if len(line.strip()) >= _TELLING_CHARACTERS
    }
    lines = _FENCE.sub("", without_thinking(hint)).splitlines()
    kept = "\n".join(line for line in lines if line.strip(" \t`") not in telling).strip()
    return CheckedHint(kept, tuple(sorted(line for line in telling if line in kept)))


def _code_of(solution: str) -> str:
    """The fenced blocks of an answer; all of it where nothing is fenced."""
    return "\n".join(_FENCE.findall(solution)) or solution
