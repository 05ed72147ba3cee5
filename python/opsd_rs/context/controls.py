"""Controls for solutions in context: another problem's, or the right one with its code damaged.

In: solutions as text. Out: solutions that a fair control would show. Choices that look random are ranks by hash, so
that a problem gets the same other problem, and a text the same damage, in every step and on every machine.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Mapping
from hashlib import blake2b

_FENCED = re.compile(r"(```[^\n]*\n)(.*?)(```|\Z)", re.DOTALL)
_SWAPS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+": "-", "-": "+", "*": "+", "//": "*",
    "%": "//", "and": "or", "or": "and", "min": "max", "max": "min", "True": "False", "False": "True",
}  # fmt: skip
"""What a token of a program becomes: a small change, and mostly wrong."""


def other_solution(problem_id: str, solutions: Mapping[str, str]) -> str | None:
    """The solution of another problem, the same one each time while it is there; None where there is no other.

    >>> other_solution("a", {"a": "mine", "b": "theirs"}), other_solution("a", {"a": "mine"})
    ('theirs', None)
    """
    names = [name for name in solutions if name != problem_id]
    return solutions[min(names, key=lambda name: _rank(problem_id, name))] if names else None


def corrupted(text: str) -> str:
    """``text`` with its longest fenced program (or the whole, unfenced) damaged in one place.

    Whether the damaged program is really wrong is not checked: no test is run here.

    >>> corrupted("```python\\ndef f(a, b):\\n    return a + b\\n```")
    '```python\\ndef f(a, b):\\n    return a - b\\n```'
    """
    blocks = list(_FENCED.finditer(text))
    if not blocks:
        return _damaged(text)
    block = max(blocks, key=lambda found: len(found[2]))
    return text[: block.start(2)] + _damaged(block[2]) + text[block.end(2) :]


def _damaged(code: str) -> str:
    """One token swapped; where none can be, what the last ``return`` or ``print`` gives is lost."""
    places = list(_places(code))
    if places:
        row, start, end, new = min(places, key=lambda place: _rank(code, f"{place[0]}:{place[1]}"))
        lines = code.splitlines(keepends=True)
        lines[row] = lines[row][:start] + new + lines[row][end:]
        return "".join(lines)
    lost = re.sub(r"\b(return|print)\b(?!.*\b(?:return|print)\b).*", r"\1(None)", code, flags=re.DOTALL)
    return lost if lost != code else f"{code.rstrip()}\nraise SystemExit\n"


def _places(code: str) -> list[tuple[int, int, int, str]]:
    """(line, start, end, new text) of each token that can be swapped; numbers grow by one."""
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            new = _SWAPS.get(token.string)
            if token.type == tokenize.NUMBER and token.string.isdecimal():
                new = str(int(token.string) + 1)
            if new is not None and token.start[0] == token.end[0]:
                found.append((token.start[0] - 1, token.start[1], token.end[1], new))
    except (tokenize.TokenError, IndentationError):
        pass  # a program that cannot be read to its end is damaged where it could be read
    return found


def _rank(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode(), digest_size=8).digest()
