"""Solutions files as people have them: ours, LiveCodeBench's runner's, HumanEval's, EvalPlus's; read, or named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars
import pytest
from lcb_records import record
from opsd_rs.errors import BadInput
from opsd_rs.grading.files.solutions import read_solutions
from opsd_rs.problems import index
from opsd_rs.records import Solution

KNOWN: dict[str, Any] = {"a": None, "b": None, "7": None}
A, B = Solution("a", 0, code="x"), Solution("b", 0, code="y")


def read(path: Path, *rows: Any, known: Any = KNOWN) -> list[Solution]:
    path.write_text(rows[0] if isinstance(rows[0], str) else "".join(json.dumps(row) + "\n" for row in rows))
    return read_solutions(path, known)


@pytest.mark.parametrize(
    "rows",
    [
        [{"problem_id": "a", "sample": 0, "code": "x"}, {"problem_id": "b", "sample": 0, "code": "y"}],
        [{"problem_id": "a", "code": "x"}, {"problem_id": "b", "code": "y", "completion": None}],
        [{"question_id": "a", "code_list": ["x"]}, {"question_id": "b", "code_list": ["y"]}],
        [{"problem_id": "a", "codes": ["x"]}, {"problem_id": "b", "solution": ["y"]}],
        ['{"a": "x", "b": ["y"]}'],
        [json.dumps({"a": ["x"], "b": "y"}, indent=2)],
        [{"task_id": "a", "solution": "x"}, {"task_id": "b", "solution": "y"}],
        [json.dumps([{"question_id": "a", "code_list": ["x"]}, {"question_id": "b", "code_list": ["y"]}])],
        [
            json.dumps(
                [{"problem_id": "a", "code": "x"}, {"problem_id": "b", "sample": 0, "code": "y"}], indent=2
            )
        ],
        ['\n{"problem_id": "a", "code": "x"}\r\n\r\n{"problem_id": "b", "code": "y"}'],
    ],
)
def test_the_same_solutions(tmp_path: Path, rows: list[Any]) -> None:
    assert read(tmp_path / "s.jsonl", *rows) == [A, B]


def test_integer_names_answers_and_the_token_limit(tmp_path: Path) -> None:
    assert read(
        tmp_path / "s.jsonl",
        {"problem_id": 7, "completion": "c", "truncated": True},
        {"id": 7.0, "response": "d", "finish_reason": "length"},
        {"question_id": "7", "output": "e", "finish_reason": "stop", "sample_id": 9},
        {"question_id": "a", "output_list": ["f", "g"]},
        {"question_id": "b", "completions": ["h"]},
    ) == [
        Solution("7", 0, completion="c", truncated=True),
        Solution("7", 1, completion="d", truncated=True),
        Solution("7", 9, completion="e"),
        Solution("a", 0, completion="f"),
        Solution("a", 1, completion="g"),
        Solution("b", 0, completion="h"),
    ]


def test_a_missing_number_is_the_next_that_is_left(tmp_path: Path) -> None:
    rows = [{"problem_id": "a", "code": str(n), **({"sample": 1} if n == 3 else {})} for n in range(4)]
    assert [(s.code, s.sample) for s in read(tmp_path / "s.jsonl", *rows)] == [
        ("0", 0),
        ("1", 2),
        ("2", 3),
        ("3", 1),
    ]


def test_lists_without_names_go_by_the_problems_order(tmp_path: Path) -> None:
    problems = tmp_path / "p.jsonl"
    problems.write_text("".join(json.dumps(record(name)) + "\n" for name in ("b", "a")))
    lists = json.dumps([["first", "again"], ["second"]])
    found = read(tmp_path / "s.json", lists, known=index(problems))
    assert [(s.problem_id, s.sample, s.code) for s in found] == [
        ("a", 0, "first"), ("a", 1, "again"), ("b", 0, "second"),
    ], "the official evaluator sorts LiveCodeBench's problems"  # fmt: skip
    assert [s.problem_id for s in read(tmp_path / "s.json", '["x", "y"]', known={"b": None, "a": None})] == [
        "b",
        "a",
    ]
    with pytest.raises(BadInput, match=r"s\.json: 1 lists of programs for 2 problems"):
        read(tmp_path / "s.json", '[["x"]]', known={"b": None, "a": None})


def test_packed_files_and_tables(tmp_path: Path) -> None:
    packed = tmp_path / "s.jsonl.gz"
    packed.write_bytes(
        gzip.compress(b'\xef\xbb\xbf{"problem_id": "a", "code": "x"}\n{"problem_id": "b", "code": "y"}')
    )
    assert read_solutions(packed, KNOWN) == [A, B]
    table = tmp_path / "s.parquet"
    rows = [{"problem_id": "a", "sample": 0, "code": "x"}, {"problem_id": "b", "sample": None, "code": "y"}]
    polars.DataFrame(rows).write_parquet(table)
    assert read_solutions(table, KNOWN) == [A, B]


HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def double(n):\n    """Twice n."""\n',
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}


def test_answers_of_humaneval_go_on_where_the_prompt_ends(tmp_path: Path) -> None:
    problems = tmp_path / "p.jsonl"
    problems.write_text(json.dumps(HUMANEVAL))
    whole = "def double(n):\n    return 2 * n"
    found = read(
        tmp_path / "s.jsonl",
        {"task_id": "HumanEval/0", "completion": "    return 2 * n\n"},
        {"task_id": "HumanEval/0", "completion": whole},
        {"task_id": "humaneval-0", "completion": f"```python\n{whole}\n```"},
        known=index(problems),
    )
    assert [s.code for s in found] == [HUMANEVAL["prompt"] + "    return 2 * n\n", whole, None]
    assert {s.problem_id for s in found} == {"HumanEval/0"}
    problems.write_text(json.dumps({"task_id": 4, "text": "", "code": "", "test_list": ["assert f(1) == 2"]}))
    names = [{"task_id": name, "solution": "x"} for name in (4, "4", "Mbpp/4", "mbpp-4")]
    assert {s.problem_id for s in read(tmp_path / "s.jsonl", *names, known=index(problems))} == {"4"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([""], "s.jsonl: holds no solution"),
        (["\n \n"], "s.jsonl: holds no solution"),
        (["[]"], "s.jsonl: holds no solution"),
        ([{"question_id": "a", "code_list": []}], "s.jsonl: holds no solution"),
        (
            [{"code": "x"}],
            "line 1: key problem_id is missing, the row has code: a row has problem_id .or question_id",
        ),
        ([{"problem_id": "a"}], "line 1: needs the key code or the key completion, the row has problem_id"),
        ([{"problem_id": True, "code": "x"}], "line 1: key problem_id: must be a string or an integer"),
        ([{"problem_id": "a", "code": {"x": 1}}], "line 1: key code: must be a string"),
        ([{"task_id": "a", "solution": 3}], "line 1: key solution: must be a string"),
        ([{"problem_id": "a", "sample": "0", "code": "x"}], "line 1: key sample: must be an integer"),
        ([{"problem_id": "c", "code": "x"}], "line 1: problem_id 'c' is not among the problems"),
        ([{"question_id": "a", "code_list": ["x", None]}], "line 1: key code_list: item 1 is null"),
        (
            [{"problem_id": "a", "sample": 0, "code": ""}] * 2,
            "line 2: sample 0 of 'a' is already at .*line 1",
        ),
        (["3"], "line 1: must be a JSON object"),
        (['{"problem_id": "a"'], "line 1: .*one JSON object per line is expected"),
    ],
)
def test_faults_are_named(tmp_path: Path, rows: list[Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read(tmp_path / "s.jsonl", *rows)


def test_a_name_that_several_rows_have(tmp_path: Path) -> None:
    problems = tmp_path / "p.jsonl"
    rows = [
        {"data_source": source, "reward_model": {"ground_truth": {"inputs": ["1"], "outputs": ["1"]}},
         "extra_info": {"index": 0}}
        for source in ("taco", "apps")
    ]  # fmt: skip
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = index(problems)
    with pytest.raises(BadInput, match="'0' is the index of several rows: write taco/0 or apps/0"):
        read(tmp_path / "s.jsonl", {"problem_id": 0, "code": "x"}, known=known)
    assert read(tmp_path / "s.jsonl", {"problem_id": "apps/0", "code": "x"}, known=known) == [
        Solution("apps/0", 0, code="x")
    ]
