"""Where each key of a TOML text was set: ``tomllib`` keeps no lines, and an error message needs one.

In: a text that ``tomllib`` has accepted. Out: dotted path -> line number, from 1. A small scanner: it reads
headers and keys and skips values. Keys inside an inline table have the line of the key that holds the table.

What it does not do: validate the text (``tomllib`` does) or count the elements of arrays.
"""

from __future__ import annotations

import re
import tomllib

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # multi-line basic; up to two quotes may stand before the closing three
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)

Path = tuple[str, ...]


def key_lines(text: str) -> dict[Path, int]:
    """Line of each header and key of ``text``.

    >>> key_lines("seed = 1\\n[rollout]\\nn = 8 # eight\\n")
    {('seed',): 1, ('rollout',): 2, ('rollout', 'n'): 3}
    """
    lines: dict[Path, int] = {}
    table: Path = ()
    at = _skip_gap(text, 0)
    while at < len(text):
        start = at
        header = text[at] == "["
        while text[at] == "[":
            at += 1
        path, at = _key(text, at)
        if header:
            table = path
            at = _line_end(text, at)
        else:
            path = table + path
            at = _skip_value(text, at + 1)
        line = text.count("\n", 0, start) + 1
        for depth in range(1, len(path) + 1):
            lines.setdefault(path[:depth], line)
        at = _skip_gap(text, at)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """Line of ``path``, or of the nearest key above it that has one."""
    for depth in range(len(path), 0, -1):
        if path[:depth] in lines:
            return lines[path[:depth]]
    return 1


def _skip_gap(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    return match.end() if match else at


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _key(text: str, at: int) -> tuple[Path, int]:
    """A dotted key, bare or quoted parts, and the place of the ``=`` or ``]`` behind it."""
    parts: list[str] = []
    while True:
        while text[at] in " \t":
            at += 1
        if quoted := _STRING.match(text, at):
            parts.append(_unquote(quoted.group()))
            at = quoted.end()
        elif bare := _BARE.match(text, at):
            parts.append(bare.group())
            at = bare.end()
        while at < len(text) and text[at] in " \t":
            at += 1
        if at >= len(text) or text[at] != ".":
            return tuple(parts), at
        at += 1


def _unquote(raw: str) -> str:
    name: str = next(iter(tomllib.loads(f"{raw} = 0")))
    return name


def _skip_value(text: str, at: int) -> int:
    """The end of the value that begins at ``at``: a newline or comment outside strings and brackets."""
    depth = 0
    while at < len(text):
        if string := _STRING.match(text, at):
            at = string.end()
            continue
        character = text[at]
        if character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "#":
            at = _line_end(text, at)
            continue
        elif character == "\n" and depth == 0:
            return at
        at += 1
    return at
