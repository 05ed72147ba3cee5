"""Rows of the public data sets and of trainers' tables, as people have them: read, or named by row and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars
import pytest
from opsd_rs import Case
from opsd_rs.errors import BadInput
from opsd_rs.problems import Unsupported, index, load, read, row_problem

PAIR = {"input": "1 2\n", "output": "3\n"}
LISTS = {"inputs": ["1 2\n"], "outputs": ["3\n"]}
CALL = {"input": "1\n[2]", "output": "[3]"}
STDIN = (Case("1 2\n", "3\n"),)
PUBLIC = (Case("1 2\n", "3\n", public=True),)
CALLED = (Case("1\n[2]", "[3]"),)


def of(**row: Any) -> Any:
    return row_problem(row, "p")


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"input_output": LISTS},
        {"input_output": json.dumps(LISTS)},
        {"input_output": repr(LISTS)},
        {"input_output": json.dumps(json.dumps(LISTS))},
        {"input_output": {"inputs": [["1 2", ""]], "outputs": [["3", ""]]}},
        {"input_output": {"input": ["1 2\n"], "output": ["3\n"]}},
        {"input_output": {"inputs": json.dumps(LISTS["inputs"]), "outputs": repr(LISTS["outputs"])}},
        {"input_output": [PAIR]},
        {"tests": json.dumps([PAIR])},
        {"tests": repr([PAIR])},
        {"tests": [{**PAIR, "testtype": "stdin", "metadata": {"func_name": None}}]},
        {"tests": [{**PAIR, "testtype": "stdin_stdout", "metadata": '{"func_name": null}'}], "entry_point": "unused"},
        {"tests": {"input": ["1 2\n"], "output": ["3\n"], "testtype": ["stdin"]}},
        {"tests": [["1 2\n", "3\n"]]},
        {"tests": {**LISTS, "time_limit": None, "fn_name": None, "testtype": None}},
        {"tests": {**LISTS, "time_limit": float("nan"), "fn_name": ""}},
        {"test_cases": [{**PAIR, "type": "stdin_stdout", "fn_name": None}]},
        {"verification_info": {"language": "py", "test_cases": [{**PAIR, "type": "stdin_stdout", "fn_name": None}]}},
        {"verification_info": json.dumps({"language": "python", "test_cases": [PAIR]})},
        {"verification_info": repr({"language": "python", "test_cases": [{**PAIR, "fn_name": None}]})},
        {"reward_model": {"style": "rule", "ground_truth": json.dumps([PAIR])}},
        {"reward_model": json.dumps({"ground_truth": json.dumps(LISTS)})},
        {"ground_truth": json.dumps([{**PAIR, "testtype": "stdin"}])},
        {"official_tests": [PAIR], "input_mode": "stdio", "generated_checker": None, "time_limit": 2.0},
        {"unit_tests": json.dumps(LISTS)},
        {"input_output": None, "tests": [PAIR]},
        {"input_output": "", "reward_model": {"ground_truth": LISTS}},
    ],
    ids=lambda row: json.dumps(row)[:60],
)  # fmt: skip
def test_programs_on_standard_input(row: dict[str, Any]) -> None:
    problem = of(**row)
    assert [(test.input.rstrip("\n"), test.output.rstrip("\n")) for test in problem.tests] == [("1 2", "3")]
    assert (problem.entry_point, problem.time_limit_seconds) == (None, 6.0)


@pytest.mark.parametrize(
    "row",
    [
        {"input_output": {"inputs": [[1, [2]]], "outputs": [[[3]]], "fn_name": "add"}},
        {"input_output": repr({"inputs": [[1, (2,)]], "outputs": [[[3]]], "fn_name": "add"})},
        {"input_output": json.dumps({"inputs": ["1\n[2]"], "outputs": ["[3]"], "fn_name": " add "})},
        {"tests": [{**CALL, "testtype": "functional", "metadata": {"func_name": "add"}}]},
        {"tests": [{**CALL, "testtype": "functional"}], "metadata": {"func_name": "add"}},
        {"tests": [{**CALL, "testtype": "functional"}], "entry_point": "add"},
        {"tests": [{**CALL, "fn_name": "add", "type": "function_call"}]},
        {"test_cases": [{"input": [1, [2]], "output": [[3]], "fn_name": "add", "type": "function_call"}]},
        {"input_output": [{"input": "a = 1, b = [2]", "output": "[3]"}], "entry_point": "add"},
        {"input_output": [{"input": "1, [2]", "output": "[3]"}], "entry_point": "add"},
        {"test_list": ["assert add(1, [2]) == [3]"], "task_id": 2},
        {"test_cases": ["assert add(1, [2]) == [3]"]},
        {"reward_model": {"ground_truth": {"assert_case": ["assert add(1, [2]) == [3]"]}}},
        {"ground_truth": {"test_code": "def check(c):\n    assert c(1, [2]) == [3]\n", "entry_point": "add"}},
        {"test": "def check(candidate):\n    assert candidate(1, [2]) == [3]\n", "entry_point": "add", "prompt": ""},
    ],
    ids=lambda row: json.dumps(row)[:60],
)  # fmt: skip
def test_calls(row: dict[str, Any]) -> None:
    problem = of(**row)
    assert [(test.input, test.output) for test in problem.tests] == [("1\n[2]", "[3]")]
    assert problem.entry_point == "add"


def test_code_contests() -> None:
    empty: dict[str, list[str]] = {"input": [], "output": []}
    problem = of(
        name="1_A. Add", description="Add.", public_tests={"input": ["1 2\n"], "output": ["3\n"]}, private_tests=empty,
        generated_tests={"input": ["4 5\n"], "output": ["9\n"]}, time_limit={"seconds": 1, "nanos": 0}, input_file="",
    )  # fmt: skip
    assert problem.tests == (Case("1 2\n", "3\n", public=True), Case("4 5\n", "9\n"))
    assert (problem.prompt, problem.time_limit_seconds) == ("Add.", 6.0)
    with pytest.raises(Unsupported, match="hold no test"):
        of(public_tests=empty, private_tests=None, generated_tests=empty)


def test_names_as_leetcode_writes_them_and_names_that_none_can_have(tmp_path: Path) -> None:
    assert (
        of(input_output={**LISTS, "fn_name": "Solution().add", "inputs": [[1]]}).entry_point == "Solution.add"
    )
    for name in ("not a name!", "a.b.c", "class", "add()", "2x", "Solution().a b"):
        for row in (
            {"input_output": {**LISTS, "fn_name": name}},
            {"tests": [{**CALL, "testtype": "functional", "metadata": {"func_name": name}}]},
            {"input_output": [CALL], "entry_point": name},
        ):
            with pytest.raises(BadInput, match=r"neither a name nor Class\.name"):
                of(**row)
    ours = {
        "problem_id": "a",
        "prompt": "",
        "tests": [{"input": "1", "output": "1"}],
        "entry_point": "Solution().f",
    }
    assert load(write(tmp_path / "p.jsonl", ours))[0].entry_point == "Solution.f"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"tests": [{**CALL, "testtype": "functional"}]}, "testtype is functional, but no function is named"),
        ({"tests": [{**PAIR, "testtype": "stdin"}, {**CALL, "testtype": "functional"}]}, "stdin in some tests"),
        ({"tests": [{**CALL, "fn_name": "f"}, {**CALL, "fn_name": "g"}]}, "several functions: f, g"),
        ({"tests": [{"input": "1", "metadata": {}}]}, "test 1: needs output"),
        ({"tests": [{**PAIR, "output": None, "testtype": "stdin"}]}, "test 1: needs output"),
        ({"input_output": {"inputs": ["1"], "outputs": []}}, "1 inputs and 0 outputs"),
        ({"input_output": "[1, 2"}, "not JSON in a string .*nor a Python literal"),
        ({"input_output": "__import__('os').system('x')"}, "holds no tests, but the text"),
        ({"input_output": "[__import__('os').system('x')]"}, "nor a Python literal"),
        ({"input_output": {**LISTS, "time_limit": "2 seconds"}}, "time_limit: must be a positive number"),
        ({"input_output": [{"input": "a = b", "output": "3"}], "entry_point": "f"}, "input 'a = b' is not JSON"),
        ({"input_output": [{"input": "1", "output": "Error: x"}], "entry_point": "f"}, "test 1: output 'Error: x' is"),
        ({"input_output": {**LISTS, "fn_name": 3}}, "fn_name: must be a string, found int"),
    ],
)  # fmt: skip
def test_faults_of_a_row_name_key_and_test(row: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=f"key .*{words}"):
        of(**row)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"reward_model": {"ground_truth": "\\frac{1}{2}"}}, "holds no tests, but the text"),
        ({"reward_model": {"ground_truth": "42"}}, "must hold inputs and outputs"),
        ({"reward_model": {"ground_truth": None}}, "holds no test"),
        ({"verification_info": {"ground_truth": "42"}}, "must hold inputs and outputs"),
        ({"input_output": None}, "holds no test"),
        ({"kind": "mcq", "tests": "-"}, "only code can be graded"),
        ({"tests": {**LISTS, "testtype": "code"}}, "testtype 'code' cannot be graded"),
        ({"official_tests": [PAIR], "generated_checker": "print(1)"}, "the row's own checker"),
        ({"test_cases": [PAIR], "checker": "int main() {}"}, "the row's own checker"),
        ({"official_tests": [PAIR], "interaction_format": "ask"}, "talks with the judge"),
        ({"official_tests": [PAIR], "input_mode": "file"}, "reads and writes files"),
        ({"input_output": [CALL], "entry_point": "f", "starter_code": "class Solution:\n    def f(self, a: ListNode):"},
         "objects of ListNode or TreeNode"),
        ({"test_list": ["assert set(f(1)) == {1}"]}, "'assert set.f.1.. == .1.' cannot be graded"),
        ({"test_list": ["assert f({1}) == 1"]}, "holds set, which JSON does not have"),
        ({"test_list": ["assert f(1) == {1: 2}"]}, "a dictionary's key is int"),
        ({"test_list": ["assert f((1, (2, 3))) == 1"]}, "tuples beside other values"),
        ({"test_list": ["assert f(([1], [2])) == 2", "assert f([[1], [2]]) == 1"]}, "argument 1 is a tuple in some"),
        ({"test_list": ["assert math.isclose(f(1), 2.0)"]}, "no comparison"),
        ({"test_list": ["assert f(9 ** 9 ** 9) == 1"]}, "an operation that is no constant"),
        ({"test_list": ["assert f(x) == 1"]}, "'x' is no constant"),
        ({"test_list": ["assert f(1) == 1", "assert g(1) == 1"]}, "several functions: f, g"),
        ({"test": "def check(candidate):\n    for x in [3]:\n        assert candidate(x) == x", "entry_point": "f"},
         "no assertion"),
        ({"base_input": [[1]], "plus_input": [[2]], "task_id": "HumanEval/0"}, "inputs without outputs"),
    ],
)  # fmt: skip
def test_rows_that_are_no_problem_of_ours(row: dict[str, Any], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        of(**row)


def test_mbpp_and_humaneval_give_tests_prompt_and_solution() -> None:
    mbpp = of(
        task_id=7, text="Double a number.", code="def double(n):\n    return 2 * n", challenge_test_list=[],
        test_list=["assert double(2) == 4", "assert double(3 * 2) == 12", "assert double(0) is None"],
        test_setup_code="",
    )  # fmt: skip
    assert [(test.input, test.output, test.public) for test in mbpp.tests] == [
        ("2", "4", True), ("6", "12", False), ("0", "null", False),
    ]  # fmt: skip
    assert mbpp.starter_code == "def double(n):"
    assert "def double(n):\n    # Double a number.\n" in mbpp.prompt
    prompt = 'def is_small(n):\n    """True or False."""\n'
    test = (
        "METADATA = {}\n\ndef check(f):\n    'words'\n    assert True\n    assert f(1) == True, 'one'\n"
        "    assert not f(9)\n    assert f(n=-1)\n"
    )
    found = of(
        task_id="HumanEval/0",
        prompt=prompt,
        entry_point="is_small",
        test=test,
        canonical_solution="    return n < 5\n",
    )
    assert [(case.input, case.output) for case in found.tests] == [
        ("1", "true"),
        ("9", "false"),
        ("-1", "true"),
    ]
    assert found.solution == prompt + "    return n < 5\n"
    assert prompt.rstrip() in found.prompt


DIGITS = "7" * 5000


@pytest.mark.parametrize(
    "row",
    [
        {"input_output": f'{{"fn_name": "f", "inputs": [[{DIGITS}], [[-{DIGITS}, 1]]], "outputs": [[{DIGITS}], [2]]}}'},
        {"input_output": f"{{'fn_name': 'f', 'inputs': [({DIGITS},), [[-{DIGITS}, 1]]], 'outputs': [[{DIGITS}],[2]]}}"},
    ],
    ids=["json", "python"],
)  # fmt: skip
def test_integers_of_any_length(tmp_path: Path, row: dict[str, str]) -> None:
    (problem,) = load(write(tmp_path / "p.jsonl", row))
    assert [test.input for test in problem.tests] == [DIGITS, f"[-{DIGITS}, 1]"]
    assert [test.output for test in problem.tests] == [DIGITS, "2"]


def test_integers_of_any_length_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(
        f'[{{"input_output": {{"fn_name": "f", "inputs": [[{DIGITS}]], "outputs": [{DIGITS}]}}}}]'
    )
    assert load(path)[0].tests == (Case(DIGITS, DIGITS),)


def test_a_table_has_nulls_in_every_column_of_the_others(tmp_path: Path) -> None:
    call = {"inputs": ["1\n[2]"], "outputs": ["[3]"], "fn_name": "add"}
    rows = [
        {"problem_id": 1.0, "tests": {**LISTS, "time_limit": 2.0, "fn_name": None}, "input_output": None},
        {"problem_id": 2.0, "tests": call, "input_output": None},
        {"problem_id": 3.0, "tests": None, "input_output": json.dumps(LISTS)},
        {"problem_id": None, "tests": None, "input_output": None},
    ]
    path = tmp_path / "p.parquet"
    polars.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    found = load(path)
    limits = [(problem.problem_id, problem.entry_point, problem.time_limit_seconds) for problem in found]
    assert limits == [("1", None, 2.0), ("2", "add", 6.0), ("3", None, 6.0)]
    assert [p.tests for p in found] == [STDIN, CALLED, STDIN]


def test_mixed_tables_are_read_row_by_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl",
        {"data_source": "math", "reward_model": {"ground_truth": "\\frac{1}{2}"}, "extra_info": {"index": 0}},
        {"data_source": "taco", "reward_model": {"ground_truth": json.dumps(LISTS)}, "extra_info": {"index": 0}},
        {"data_source": "apps", "reward_model": {"ground_truth": repr(LISTS)}, "extra_info": {"index": 0,"split":"t"}},
        {"data_source": "taco", "reward_model": {"ground_truth": json.dumps([PAIR])}, "extra_info": {"index": 3}},
    )  # fmt: skip
    said: list[str] = []
    kept, num_read, dropped = read(path, progress=said.append)
    assert [problem.problem_id for problem in kept] == ["taco/0", "apps/t/0", "3"]
    assert (num_read, dropped) == (4, {"unsupported": 1})
    assert "p.jsonl:1: key reward_model.ground_truth: holds no tests" in said[-1]
    entries = index(path)
    assert list(entries) == ["math/0", "taco/0", "apps/t/0", "3"]
    assert entries.ambiguous == {"0": ["math/0", "taco/0", "apps/t/0"]}
    with pytest.raises(Unsupported, match=r"p\.jsonl:1: key reward_model"):
        entries["math/0"].open()


def test_an_index_opens_no_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl",
        {"problem_id": 0, "input_output": json.dumps(LISTS)},
        {"problem_id": 1, "input_output": "{broken"},
        {"problem_id": True, "input_output": ""},
    )
    path.write_text(path.read_text() + '{"problem_id": 3, "inp')
    entries = index(path)
    assert list(entries) == ["0", "1"]
    assert [fault.partition(":")[2][:2] for fault in entries.unreadable] == ["3:", "4:"]
    assert entries["0"].open().tests == STDIN
    with pytest.raises(BadInput, match=r"p\.jsonl:2: key input_output: not JSON"):
        entries["1"].open()


def test_a_file_of_no_known_form_says_what_is_known(tmp_path: Path) -> None:
    for row in ({"text": "x", "label": 1}, {"task_id": "a", "prompt": "b"}):
        with pytest.raises(BadInput, match=r"of no form that is known: it has .*docs/grader\.md"):
            load(write(tmp_path / "p.jsonl", row))
