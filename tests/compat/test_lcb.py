"""``codegen_metrics``: the official arguments in, the official shapes out, odd samples included."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from opsd_rs.compat.lcb import codegen_metrics
from opsd_rs.errors import BadInput


def sample(*tests: tuple[Any, Any], fn_name: str | None = None, **extra: Any) -> dict[str, str]:
    content = {"inputs": [t[0] for t in tests], "outputs": [t[1] for t in tests], "fn_name": fn_name, **extra}
    return {"input_output": json.dumps(content)}


ADD = sample(("1 2\n", "3"), ("4 5\n", "9"))
RIGHT = "print(sum(map(int, input().split())))"
GONE = {
    "error": "IndexError('list index out of range')",
    "error_code": -5,
    "error_message": "TestRunnerError",
}


def run(*pairs: tuple[dict[str, Any], str], **settings: Any) -> tuple[list[list[Any]], list[dict[str, Any]]]:
    _, results, metadata = codegen_metrics([p[0] for p in pairs], [[p[1]] for p in pairs], **settings)
    return [results[index][0] for index in range(len(pairs))], [json.loads(texts[0]) for texts in metadata]


def test_the_shapes() -> None:
    call = sample(("1\n2", "3"), fn_name="plus")
    metrics, results, metadata = codegen_metrics(
        [ADD, call], [[RIGHT, "print(3)"], ["def plus(a, b): return a - b", ""]], [1, 2, 5], 2, 6, False
    )
    assert results == {0: [[True, True], [True, -2]], 1: [[False], [-4]]}
    assert metrics == {
        "pass@1": 0.25,
        "pass@2": 0.5,
        "detail": {"pass@1": {0: 0.5, 1: 0.0}, "pass@2": {0: 1.0, 1: 0.0}},
    }
    assert [[type(text) for text in texts] for texts in metadata] == [[str, str], [str, str]]
    assert [*json.loads(metadata[0][0])] == ["execution time"]
    assert metadata[0][1] == (
        '{"output": "3\\n", "inputs": "4 5\\n", "expected": "9", "error_code": -2, '
        '"error_message": "Wrong answer at output_line_idx=0: 3 != 9"}'
    )
    assert metadata[1][0] == (
        '{"output": "-1", "inputs": "[1, 2]", "expected": "3", "error_code": -2, "error_message": "Wrong Answer"}'
    )


def test_profiles() -> None:
    lines = "import sys\nfor line in sys.stdin: print(sum(map(int, line.split())))"
    assert run((ADD, lines))[0] == [[-4]]
    assert run((ADD, lines), profile="lcb-2025-01")[0] == [[True, True]]


def test_samples_that_are_odd() -> None:
    """What the runner says about tests that ours cannot hold. None of them stops the others."""
    five = "print(5)"
    pairs = [
        ({}, five),
        ({"input_output": "{"}, five),
        ({"input_output": "[]"}, five),
        ({"input_output": '{"inputs": [""]}'}, five),
        (sample(("1", "5"), (["1", "2"], "5")), five),
        (sample((["1", "2"], "3")), "print(int(input()) + int(input()))"),
        (sample((["1", 2], "3")), five),
        (sample(("", "5"), ("", ["5"])), five),
        (sample((7, "5")), five),
        (sample(("", "5"), inputs=["", "", ""], outputs=["5"]), five),
        (sample(inputs="ab", outputs="55"), five),
        (sample(), five),
        (sample(("1", "1"), fn_name="f", inputs=["1", "'"]), "def f(x): return x"),
        (sample(("1", "1"), fn_name=""), "def f(x): return x"),
        (sample(("1", 5), fn_name="f"), "def f(x): return x"),
        (sample(outputs=None, inputs=[""]), five),
        (sample(("1", "1"), fn_name="Solution.f"), "class Solution:\n    def f(self, x): return x"),
        (sample(("\ud800", "?")), "print(input())"),
        (sample(("1", "\ud800")), "print('?')"),
    ]
    results, metadata = run(*pairs)
    outside = "Error during testing: "
    assert list(zip(results, [about.get("error_message") for about in metadata], strict=True)) == [
        ([-2], "TestRunnerError"),
        ([-2], "TestRunnerError"),
        ([-2], "TestRunnerError"),
        ([-4], f"{outside}'outputs'"),
        ([True, True], None),
        ([True], None),
        ([-4], "Runtime Error"),
        ([-4], f"{outside}'list' object has no attribute 'strip'"),
        ([-4], "Runtime Error"),
        ([True], None),
        ([True, True], None),
        ([], None),
        ([-4], f"{outside}Expecting value: line 1 column 1 (char 0)"),
        ([-4], f"{outside}cannot unpack non-iterable NoneType object"),
        ([-4], f"{outside}the JSON object must be str, bytes or bytearray, not int"),
        ([-4], f"{outside}'NoneType' object is not iterable"),
        ([-4], f"{outside}cannot unpack non-iterable NoneType object"),
        ([-4], "Runtime Error"),
        (
            [-4],
            f"{outside}'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed",
        ),
    ]
    assert [about["error"] for about in metadata[:3]] == [
        "KeyError('input_output')",
        "JSONDecodeError('Expecting property name enclosed in double quotes: line 1 column 2 (char 1)')",
        "TypeError('list indices must be integers or slices, not str')",
    ]
    assert metadata[6] == {
        "error": "TypeError('sequence item 1: expected str instance, int found')",
        "error_code": -4,
        "error_message": "Runtime Error",
        "inputs": "['1', 2]",
        "expected": "3",
    }
    assert metadata[8]["error"] == "AttributeError(\"'int' object has no attribute 'split'\")"


def test_a_name_of_the_prelude_is_found() -> None:
    """``operator.add`` answers for a program that defines nothing, officially too."""
    assert run((sample(("1\n2", "3"), fn_name="add"), ""))[0] == [[True]]


def test_what_is_asserted_officially() -> None:
    with pytest.raises(AssertionError):
        codegen_metrics([ADD, ADD], [[RIGHT], [RIGHT, RIGHT]])
    with pytest.raises(AssertionError):
        codegen_metrics([ADD], [[None]])  # type: ignore[list-item]
    with pytest.raises(AssertionError):
        codegen_metrics([ADD], [RIGHT])  # type: ignore[list-item]
    metrics, results, metadata = codegen_metrics([], [], [1])
    assert (results, metadata) == ({}, [])
    assert math.isnan(metrics["pass@1"])


@pytest.mark.parametrize("settings", [{"timeout": 0.5}, {"timeout": 0}, {"num_process_evaluate": 0}])
def test_limits_are_whole(settings: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="must be a whole number above 0"):
        codegen_metrics([ADD], [[RIGHT]], **settings)
    with pytest.raises(BadInput, match="profile = 'lcb': must be one of"):
        codegen_metrics([ADD], [[RIGHT]], profile="lcb")  # type: ignore[arg-type]


def test_a_program_that_is_gone() -> None:
    assert run((ADD, "import os\nos._exit(0)")) == ([[-2]], [GONE])
