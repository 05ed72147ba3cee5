"""Problem files of every form: the same problem, whoever wrote it down; faults named by file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars
import pytest
from lcb_records import record
from opsd_rs import Case
from opsd_rs.errors import BadInput
from opsd_rs.problems import index, load

STDIN = {"inputs": ["1 2\n", "4 5\n"], "outputs": ["3\n", "9\n"]}
CALLED = {"inputs": [[1, [2]], [4, [5]]], "outputs": [[[3]], [[9]]], "fn_name": "add"}

APPS: list[dict[str, Any]] = [
    {"problem_id": 17, "question": "Add.", "input_output": json.dumps(STDIN), "difficulty": "interview",
     "solutions": json.dumps(["print(3)"])},
    {"problem_id": 18, "question": "Add.", "input_output": json.dumps(CALLED), "difficulty": "interview"},
]  # fmt: skip
SDPO: list[dict[str, Any]] = [
    {"idx": 0, "kind": "code", "dataset": "livecodebench", "prompt": "Add.",
     "tests": json.dumps({**STDIN, "testtype": "stdin", "fn_name": "", "time_limit": 7})},
    {"idx": 1, "kind": "code", "dataset": "livecodebench", "prompt": "Add.",
     "tests": json.dumps({"inputs": ["1\n[2]", "4\n[5]"], "outputs": ["[3]", "[9]"], "testtype": "functional",
                          "fn_name": "add", "time_limit": 7})},
]  # fmt: skip
VERL: list[dict[str, Any]] = [
    {"data_source": "livecodebench", "prompt": [{"role": "user", "content": row["prompt"]}], "ability": "code",
     "reward_model": {"style": "code", "ground_truth": row["tests"]}, "extra_info": {"index": str(row["idx"])}}
    for row in SDPO
]  # fmt: skip
FUNCTION = [
    {"input": "1\n[2]", "output": "[3]", "testtype": "functional"},
    {"input": "4\n[5]", "output": "[9]", "testtype": "functional"},
]
LCB: list[dict[str, Any]] = [
    record("abc", public_test_cases=json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
           private=[{"input": "4 5\n", "output": "9\n", "testtype": "stdin"}]),
    record("xyz", public_test_cases="[]", private=FUNCTION, metadata='{"func_name": "add"}'),
]  # fmt: skip
OURS: list[dict[str, Any]] = [
    {"problem_id": "a", "prompt": "Add.",
     "tests": [{"input": "1 2\n", "output": "3\n", "public": True}, {"input": "4 5\n", "output": "9\n"}]},
    {"problem_id": "b", "prompt": "Add.", "entry_point": "add",
     "tests": [{"input": "1\n[2]", "output": "[3]"}, {"input": "4\n[5]", "output": "[9]"}]},
]  # fmt: skip
FORMS = {"apps": APPS, "sdpo": SDPO, "verl": VERL, "lcb": LCB, "ours": OURS}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        polars.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=2))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_every_file_gives_the_same_problems(tmp_path: Path, form: str, suffix: str) -> None:
    path = write(tmp_path / f"p.{suffix}", FORMS[form])
    stdin, called = load(path)
    assert [(test.input, test.output) for test in stdin.tests] == [("1 2\n", "3\n"), ("4 5\n", "9\n")]
    assert [(test.input, test.output) for test in called.tests] == [("1\n[2]", "[3]"), ("4\n[5]", "[9]")]
    assert (stdin.entry_point, called.entry_point) == (None, "add")
    entries = index(path)
    assert [entry.open() for entry in entries.values()] == [stdin, called]
    assert all(entry.head.tests == () for entry in entries.values())


def test_what_each_form_says_beside_the_tests(tmp_path: Path) -> None:
    apps = load(write(tmp_path / "apps.jsonl", APPS))
    assert [problem.problem_id for problem in apps] == ["17", "18"]
    assert (apps[0].difficulty, apps[0].solution, apps[0].prompt) == ("interview", "print(3)", "Add.")
    sdpo = load(write(tmp_path / "sdpo.json", SDPO))
    assert [(p.problem_id, p.time_limit_seconds) for p in sdpo] == [("0", 7.0), ("1", 7.0)]
    assert load(write(tmp_path / "verl.parquet", VERL)) == sdpo
    entries = index(write(tmp_path / "lcb.parquet", LCB))
    card = entries["abc"].card
    assert card is not None
    assert (card["question_title"], card["contest_date"]) == ("Abc", "2025-02-08T00:00:00")
    assert entries["abc"].open().tests[0] == Case("1 2\n", "3\n", public=True)


def test_a_table_of_many_rows_is_read_in_parts_and_again(tmp_path: Path) -> None:
    rows = [record(f"p{n:03}", private=[{"input": f"{n}", "output": f"{n}"}]) for n in range(100)]
    entries = index(write(tmp_path / "lcb.parquet", rows))
    assert len(entries) == 100
    for n in (99, 0, 64, 31):
        assert entries[f"p{n:03}"].open().tests[-1] == Case(str(n), str(n))


def test_results_of_calls_are_unwrapped_only_where_all_are_wrapped(tmp_path: Path) -> None:
    mixed = {"inputs": [[1], [2]], "outputs": [[3], 4], "fn_name": "f"}
    lines = {"inputs": [["1", "2"]], "outputs": [["3", "4"]]}
    rows = [{"problem_id": n, "input_output": json.dumps(io)} for n, io in enumerate((mixed, lines))]
    called, stream = load(write(tmp_path / "p.jsonl", rows))
    assert [test.output for test in called.tests] == ["[3]", "4"]
    assert stream.tests == (Case("1\n2", "3\n4"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[\n{"input_output": {"inputs": ["1"], "outputs": ["1"]}},\n{"input_output"', r"p.json:3: not JSON"),
        ('[\n  {"question": "a", "input_output": "{]"}\n]', r"p.json:2: key input_output: not JSON in a string"),
        ('[\n\n{"input_output": {"inputs": ["1"], "outputs": []}}]', r"p.json:3: key input_output: 1 inputs and 0"),
        ('{"input_output": ""}\n', r"p.json:1: key input_output: holds no test"),
        ('[{"a": 1}\n{"a": 2}]', r"p.json:(1|2): "),
        ("[3]", r"p.json:1: one JSON object per problem is expected, found int"),
        ("[]", r"p.json: holds no problem"),
        ('{"idx": 0, "kind": "mcq", "tests": "-"}', r"p.json:1: key kind: only code can be graded"),
        ('{"idx": 0, "kind": "code", "tests": "{\\"inputs\\": [], \\"outputs\\": [], \\"time_limit\\": -1}"}',
         r"p.json:1: key tests.time_limit: must be a positive"),
        ('{"input_output": "{\\"inputs\\": [1], \\"outputs\\": [1]}"}\n{"x": 1}', r"p.json:2: none of the keys"),
    ],
)  # fmt: skip
def test_faults_are_named_by_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        load(path)


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "p.parquet", APPS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadInput, match=r"p\.parquet: not a readable parquet file"):
        load(path)


def test_a_file_that_changes_under_us_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", OURS)
    entries = index(path)
    write(path, [{"problem_id": "other", "prompt": "", "tests": [{"input": "", "output": ""}]}])
    with pytest.raises(BadInput, match=r"p\.jsonl:2: .*changed"):
        entries["b"].open()
    table = write(tmp_path / "p.parquet", OURS)
    entries = index(table)
    assert entries["a"].open().kind == "stdin"
    write(table, [{"problem_id": "c", "prompt": "", "tests": [{"input": "1", "output": "1"}]}])
    assert [problem.problem_id for problem in load(table)] == ["c"], "not what was read before"
    with pytest.raises(BadInput, match=r"p\.parquet: .*changed"):
        entries["a"].open()
