"""Random bytes against what reads other people's: packed tests, outputs, results, completions.

Each target takes known-good data, changes it in a few places and compares the outcome with a plain twin or with what
must hold whatever the bytes. Deterministic: the same seed tries the same things in the same order;
``OPSD_RS_FUZZ_SECONDS`` says how long each goes on (the reader of the sandbox's reports has its own, in Rust).
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import pickletools
import random
import re
import time
import zlib
from collections.abc import Iterator
from typing import Any

import comparator_twin as twin
import pytest
from lcb_records import pack
from opsd_rs._core import extract_code, same_output, same_value
from opsd_rs.livecodebench import decode_tests, read_pickled_str

SECONDS = float(os.environ.get("OPSD_RS_FUZZ_SECONDS", "1"))
RULES = ["official", "exact", "tokens", "tokens_ci", "float"]


def dice(fewest: int = 300) -> Iterator[random.Random]:
    """One source of chance, given out again until the time is over, at least ``fewest`` times."""
    source, deadline, rounds = random.Random(20250201), time.monotonic() + SECONDS, 0
    while rounds < fewest or time.monotonic() < deadline:
        rounds += 1
        yield source
    print(f"{rounds} rounds")


def mutate(source: random.Random, data: bytes, pieces: list[bytes]) -> bytes:
    """``data`` with up to five changes: a bit, a piece put in, a part left out, a part repeated, a cut."""
    changed = bytearray(data)
    for _ in range(source.randint(0, 5)):
        at, length = source.randint(0, len(changed)), source.randint(0, 9)
        match source.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << source.randrange(8)
            case 1:
                changed[at:at] = source.choice(pieces)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length] * source.randint(1, 5)
            case _:
                del changed[at + length :]
    return bytes(changed)


HARMLESS = {"PROTO", "FRAME", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "MEMOIZE", "BINPUT", "STOP"}


def unpickle(data: bytes) -> Any:
    """Python's own reader, after a look that nothing in the data can call anything."""
    assert {opcode.name for opcode, _, _ in pickletools.genops(data)} <= HARMLESS
    return pickle.loads(data)


def test_packed_tests_are_read_as_pickle_reads_them_or_refused() -> None:
    texts = [
        "",
        "[]",
        "é" * 130,
        json.dumps([{"input": "1\n", "output": "2", "testtype": "stdin"}]) * 3,
        "\ud800",
    ]
    good = [pickle.dumps(text, protocol) for text in texts for protocol in range(1, 6)]
    pieces = [
        b".",
        b"\x80\x04",
        b"\x8c\x01a",
        b"X\x01\x00\x00\x00a",
        b"\x94",
        b"cos\nsystem\n",
        b"(",
        b"tR",
        b"\x95" + bytes(8),
    ]
    accepted = 0
    for source in dice():
        data = mutate(source, source.choice(good), pieces)
        try:
            text = read_pickled_str(data)
        except ValueError:
            continue
        accepted += 1
        assert unpickle(data) == text
    assert accepted > 20


def test_a_packed_field_opens_or_says_which_layer_does_not() -> None:
    tests = [{"input": "1 2\n" * 9, "output": "3\n", "testtype": "stdin"}]
    pieces = [b"=", b"A", b"x\x9c", b"[1", b"\xff", b'"']
    opened = 0
    for source in dice():
        layers = [json.dumps(tests).encode()]
        layers[0] = mutate(source, layers[0], pieces) if source.random() < 0.3 else layers[0]
        pickled = pickle.dumps(layers[0].decode("utf-8", "replace"), source.randint(1, 5))
        pickled = mutate(source, pickled, pieces) if source.random() < 0.2 else pickled
        packed = zlib.compress(pickled)
        packed = mutate(source, packed, pieces) if source.random() < 0.2 else packed
        field = base64.b64encode(packed)
        field = mutate(source, field, pieces) if source.random() < 0.2 else field
        try:
            value = decode_tests(field.decode("utf-8", "replace"))
        except ValueError:
            continue
        opened += 1
        assert value is None or isinstance(value, (list, dict, str, int, float, bool))
    assert opened > 20
    assert decode_tests(pack(tests)) == tests


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
        raw = mutate(source, actual.encode(), [b"\xff", b"\xc2", b"\xe3\x80"])
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
            actual = mutate(source, actual.encode(), [b",", b"]", b"1", b"."]).decode("utf-8", "replace")
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
