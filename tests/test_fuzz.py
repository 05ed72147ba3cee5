"""Random texts against what reads other people's, through the extension: outputs, results, completions.

Each test takes known-good data, changes it in a few places and compares the outcome with a plain twin or with what
must hold whatever the bytes; the same things in the same order each time. The targets that look for new ways
through the code, and those of packed tests and of the sandbox's reports, are in ``fuzz/``.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import comparator_twin as twin
import pytest
from mutations import mutate
from opsd_rs._core import extract_code, same_output, same_value

RULES = ["official", "exact", "tokens", "tokens_ci", "float"]


def dice(rounds: int = 2_000) -> Iterator[random.Random]:
    """One source of chance, given out so often."""
    source = random.Random(20250201)
    for _ in range(rounds):
        yield source


def changed(source: random.Random, text: str, pieces: list[bytes]) -> bytes:
    """The text's bytes with up to five changes, or as they are."""
    data = text.encode()
    return mutate(source, data, source.randint(0, 5), pieces, [data])


WORDS = [
    *"0123456789+-._eE \n\t\r", "1.0", "1e1", "10", "inf", "-Infinity", "NaN", "sNaN", "0.30000001", "0.3", "A", "a",
    "É", "é", "\xa0", "\u2028", "\x1f", "\u3000", "\ufeff", "٣", "1e400", "1_0", "ß", "Σ",
]  # fmt: skip


def test_outputs_are_compared_as_the_twin_compares_them() -> None:
    right = 0
    for source in dice():
        expected = "".join(source.choices(WORDS, k=source.randint(0, 12)))
        actual = expected
        for _ in range(source.randint(0, 3)):
            at = source.randint(0, len(actual))
            actual = actual[:at] + source.choice(WORDS) + actual[at + source.randint(0, 1) :]
        for rule in RULES:
            wanted = twin.same_output(actual, expected, rule)
            right += wanted
            assert same_output(actual.encode(), expected.encode(), rule) is wanted, (actual, expected, rule)
        raw = changed(source, actual, [b"\xff", b"\xc2", b"\xe3\x80"])
        for rule in RULES:  # whatever the bytes, a text is itself
            assert same_output(raw, raw, rule), raw
    assert right > 100


def test_results_are_compared_as_the_twin_compares_them() -> None:
    leaves = [
        "0",
        "1",
        "-0",
        "true",
        "null",
        "1.0",
        "1.0000001",
        "1e400",
        "NaN",
        '"a"',
        '"\\ud800"',
        "9" * 400,
        "[]",
        "{}",
    ]
    right = 0
    for source in dice():

        def value(depth: int, source: random.Random = source) -> str:
            if depth == 0 or source.random() < 0.4:
                return source.choice(leaves)
            parts = [value(depth - 1) for _ in range(source.randint(0, 3))]
            if source.random() < 0.5:
                return "[" + ", ".join(parts) + "]"
            return "{" + ", ".join(f'"{source.choice("ab")}": {part}' for part in parts) + "}"

        expected = value(3)
        actual = expected if source.random() < 0.3 else value(3)
        if source.random() < 0.3:
            actual = changed(source, actual, [b",", b"]", b"1", b"."]).decode("utf-8", "replace")
        try:
            left, other = (json.loads(text, parse_constant=float) for text in (actual, expected))
        except ValueError:
            left = None
            assert not same_value(actual.encode(), actual.encode())
            continue
        for rule in ("official", "float"):
            wanted = twin.same_value(left, other, rule)
            right += wanted
            assert same_value(actual.encode(), expected.encode(), rule) is wanted, (actual, expected, rule)
    assert right > 20


def longest(text: str) -> str | None:
    """SDPO's rule, as a regular expression."""
    blocks = re.findall(r"```(?:\w+)?\n(.*?)```", text, re.DOTALL)
    return max(blocks, key=len) if blocks else None


def official(text: str) -> str:
    """LiveCodeBench's rule for most model styles."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) > 1 else ""


@pytest.mark.parametrize("rule", [longest, official])
def test_code_is_found_as_the_twin_finds_it(rule: Any) -> None:
    found = 0
    words = [
        "```",
        "```python",
        "```c++",
        "~~~",
        "\n",
        "\n",
        "x = 1",
        "`",
        "```py x",
        "\r\n",
        "<think>",
        "</think>",
        " ",
    ]
    for source in dice():
        text = "".join(source.choices(words, k=source.randint(0, 14)))
        wanted = rule(text)
        wanted = wanted if wanted and wanted.strip() else None
        found += wanted is not None
        assert extract_code(text, rule.__name__) == wanted, text
        answer = text.rsplit("</think>", 1)[-1]
        endless = "<think>" in answer
        after = None if endless else extract_code(answer, rule.__name__)
        assert extract_code(text, f"after-think:{rule.__name__}") == after, text
    assert found > 20


BEFORE = [
    "",
    "Code:\n",
    "Sure! ",
    "<answer>",
    "1. ",
    "- ",
    "> ",
    "### Solution ",
    "`f` is: ",
    "<code>",
    "    ",
    "x.",
]
INFO = [
    "",
    "python",
    "py",
    "python3 ",
    "PYTHON",
    "{.python}",
    'python title="a.py"',
    "python (final)",
    "code",
    "text",
]
AFTER = [
    "",
    "</answer>",
    " Done.",
    "<|im_end|>",
    "}",
    "python",
    "\nDone.",
    ".",
    "*",
    " (end)",
    "<|eot_id|>\n",
    "`",
]
CLOSING = ["```", "````", "    ```", "> ```", "\n```"]
PROGRAMS = [
    "n = int(input())\nprint(n)",
    "class Solution:\n    def f(self, a):\n        return a",
    "def f(a):\n    '''x'''",
]


def test_the_default_takes_what_the_official_rule_takes_from_one_block() -> None:
    compared = 0
    for source in dice():
        code, mark = source.choice(PROGRAMS), "`" * source.randint(3, 5)
        head, tail = (
            source.choice(BEFORE) + mark + source.choice(INFO),
            source.choice(CLOSING) + source.choice(AFTER),
        )
        text = f"{head}\n{code}\n{tail}"
        if (extract_code(text, "official") or "").strip() == code:
            compared += 1
            assert (extract_code(text, "last") or "").strip() == code, text
    assert compared > 20
