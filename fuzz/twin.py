"""Answers the fuzzer of comparators: reads pairs of texts on stdin, writes the plain twin's verdict on each.

A question is a byte (``o`` output, ``v`` value), two lengths of four bytes, little-endian, and the two texts; its
answer is a byte per rule: ``1`` equal, ``0`` not, ``!`` no JSON, ``?`` no text that Python can hold.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from struct import unpack
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
import comparator_twin as twin

RULES = ("official", "exact", "tokens", "tokens_ci", "float")
NO_TEXT, NO_JSON = b"?" * len(RULES), b"!" * len(RULES)


def outputs(actual: str, expected: str) -> bytes:
    return b"".join(b"%d" % twin.same_output(actual, expected, rule) for rule in RULES)


def values(actual: str, expected: str) -> bytes:
    try:  # a NaN of its own each time: the reader's one constant would equal itself inside lists
        left, right = (json.loads(text, parse_constant=float) for text in (actual, expected))
    except ValueError:
        return NO_JSON
    except RecursionError:
        return NO_TEXT
    return b"".join(b"%d" % twin.same_value(left, right, rule) for rule in RULES)


def text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def main() -> None:
    sys.set_int_max_str_digits(50_000)  # as the official runner does
    ask, tell = sys.stdin.buffer, sys.stdout.buffer
    while head := ask.read(9):
        kind, length, other = unpack("<cII", head)
        actual, expected = text(ask.read(length)), text(ask.read(other))
        compare: Any = outputs if kind == b"o" else values
        answer = NO_TEXT if actual is None or expected is None else compare(actual, expected)
        tell.write(answer)
        tell.flush()


if __name__ == "__main__":
    main()
