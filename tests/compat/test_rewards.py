"""The grader behind verl's and TRL's calling conventions, called as those two call."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import json
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import opsd_rs
import pytest
from graded import ADD, RIGHT
from opsd_rs import Problem
from opsd_rs.compat import shared, trl, verl
from opsd_rs.errors import BadInput, OpsdError

KEYS = [
    "score", "acc", "pred", "incorrect_format", "error_in_test_cases", "timed_out", "truncated",
    "truncated_and_missing_answer", "feedback",
]  # fmt: skip
pytestmark = pytest.mark.usefixtures("ended_graders")

STDIN = {"inputs": ["1 2\n", "4 5\n"], "outputs": ["3\n", "9\n"]}
CALL = {"inputs": ["1\n2", "[1]\n[2]"], "outputs": ["3", "[1, 2]"], "fn_name": "add"}
SDPO = {**STDIN, "testtype": "stdin", "fn_name": "", "time_limit": 0.5}


def fenced(code: str) -> str:
    return f"Here it is:\n```python\n{code}\n```\n"


def score(code: str, truth: Any = STDIN, **more: Any) -> dict[str, Any]:
    text = truth if isinstance(truth, str) else json.dumps(truth)
    return verl.compute_score("taco", fenced(code), text, **more)


# ---- verl ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "code", "expected"),
    [
        (STDIN, RIGHT, {"score": 1.0, "acc": 1.0, "pred": "['accepted', 'accepted']"}),
        (STDIN, "print(3)", {"score": 0.0, "acc": 0.5, "error_in_test_cases": 0}),
        (STDIN, "1 / 0", {"score": 0.0, "acc": 0.0, "error_in_test_cases": 1}),
        (SDPO, RIGHT, {"score": 1.0}),
        (SDPO, "while True: pass", {"score": 0.0, "timed_out": 1, "pred": "['time_limit', 'not_run']"}),
        (CALL, "def add(a, b): return a + b", {"score": 1.0}),
        (CALL, "class Solution:\n    def add(self, a, b): return a + b", {"score": 1.0}),
        (CALL, "def add(a, b): return 3", {"score": 0.0, "acc": 0.5}),
        (
            {"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"},
            "def add(a, b): return a + b",
            {"score": 1.0},
        ),
        (
            {"inputs": [["1", "2"]], "outputs": [["3", ""]]},
            "print(int(input()) + int(input()))",
            {"score": 1.0},
        ),
    ],
)
def test_verl_scores(truth: Mapping[str, Any], code: str, expected: Mapping[str, Any]) -> None:
    found = score(code, truth)
    assert list(found) == KEYS
    assert {key: found[key] for key in expected} == expected
    assert (found["feedback"] == "") is (found["score"] == 1.0)
    assert found == verl.compute_score("taco", fenced(code), truth), "an object serves as well as its text"


def test_verl_without_code() -> None:
    found = verl.compute_score("x", "I cannot.", json.dumps(STDIN), {"truncated": True, "split": "train"})
    assert found["score"] == found["acc"] == 0.0
    assert (found["incorrect_format"], found["truncated"], found["truncated_and_missing_answer"]) == (1, 1, 1)
    assert found["pred"] == "['no_code']"
    assert "length limit" in found["feedback"]
    assert verl.compute_score("x", "I cannot.", json.dumps(STDIN))["truncated_and_missing_answer"] == 0


def test_verl_continuous_score_is_the_share() -> None:
    assert score("print(3)", continuous=True)["score"] == 0.5


def test_verl_calls_by_keyword_with_more_than_we_know() -> None:
    """As recent versions do: the function loaded by the path of its file, wrapped, called in a thread."""
    file = Path(opsd_rs.__file__).parent / "compat/verl.py"
    spec = importlib.util.spec_from_file_location("custom_module_1", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wrapped = functools.partial(module.compute_score, grader={"workers": 2})

    async def main() -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        calls = [
            functools.partial(
                wrapped,
                data_source="code",
                solution_str=fenced(RIGHT if n % 2 else "print(0)"),
                ground_truth=json.dumps(STDIN),
                extra_info={"num_turns": None, "rollout_reward_scores": {}},
                reward_router_address="host:1",
                reward_model_tokenizer=None,
            )
            for n in range(8)
        ]
        return list(await asyncio.gather(*(loop.run_in_executor(None, call) for call in calls)))

    assert [found["score"] for found in asyncio.run(main())] == [0.0, 1.0] * 4


def test_verl_async_and_batch() -> None:
    answers = [fenced(RIGHT if n % 2 else "print(0)") for n in range(6)]
    truths = [json.dumps(STDIN)] * 6

    async def main() -> list[dict[str, Any]]:
        calls = [
            verl.compute_score_async("x", *row, extra_info={}) for row in zip(answers, truths, strict=True)
        ]
        return list(await asyncio.gather(*calls))

    assert [found["score"] for found in asyncio.run(main())] == [0.0, 1.0] * 3
    infos = np.array([{"truncated": n == 0} for n in range(6)], dtype=object)
    found = verl.compute_score_batch(
        data_sources=np.array(["x"] * 6, dtype=object),
        solution_strs=answers,
        ground_truths=truths,
        extra_infos=infos,
    )
    assert [row["score"] for row in found] == [0.0, 1.0] * 3
    assert [row["truncated"] for row in found] == [1, 0, 0, 0, 0, 0]
    arrays = {"inputs": np.array(["1 2", "4 5"], dtype=object), "outputs": np.array(["3", "9"], dtype=object)}
    assert verl.compute_score("x", answers[1], arrays)["score"] == 1.0, (
        "as a parquet reader gives nested columns"
    )


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        ("{", "reward_model.ground_truth: not JSON"),
        ({"inputs": ["1"], "outputs": []}, "1 inputs and 0 outputs"),
        ({"inputs": [], "outputs": []}, "holds no test"),
        ("null", "holds no test"),
        ({**STDIN, "testtype": "code"}, "testtype 'code' cannot be graded"),
        ({"assert_case": ["assert len(add(1, 2)) > 3"]}, "cannot be graded"),
        ("\\frac{1}{2}", "holds no tests, but the text"),
        (
            [{"input": "1", "output": "2", "testtype": "functional"}],
            "testtype is functional, but no function",
        ),
    ],
)
def test_verl_ground_truth_that_cannot_be_used_raises(truth: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        score(RIGHT, truth)
    assert type(caught.value) is BadInput


def test_verl_settings_are_the_graders() -> None:
    assert score("print(0)")["pred"].count("wrong_answer") == 2
    assert score("print(0)", grader={"stop": "first-failure"})["pred"].count("not_run") == 1
    with pytest.raises(BadInput, match=r"grader settings: .*wrokers"):
        score(RIGHT, grader={"wrokers": 2})
    assert score(RIGHT, grader={"workers": 2})["score"] == 1.0
    assert len({id(shared.grader({"workers": 2})) for _ in range(3)}) == 1


def test_an_infrastructure_fault_raises_and_the_next_call_works() -> None:
    grader = shared.grader(None)
    starved = {"wall_seconds": 0.05, "idle_seconds": 30.0}
    with pytest.raises(OpsdError, match="could not be graded, which is no fault of it: starved"):
        score("import time\ntime.sleep(9)", grader=starved)
    assert trl.make_reward_func(**starved)(
        completions=[fenced("import time\ntime.sleep(9)"), fenced(RIGHT)],
        ground_truth=[json.dumps(STDIN)] * 2,
    ) == [None, 1.0]
    assert grader._backend is not None
    grader._backend.process.kill()
    grader._backend.process.wait()
    with pytest.raises(OpsdError, match="supervisor died"):
        grader.grade([(ADD, opsd_rs.Solution("add", 0, code=RIGHT))])
    assert score(RIGHT)["score"] == 1.0
    assert shared.grader(None) is not grader


def test_threads_and_forked_copies() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: score(f"{RIGHT}  # {n}")["score"], range(16)))
    assert found == [1.0] * 16
    ours = shared.grader(None)
    held = threading.Event()

    def hold() -> None:
        with shared._lock:
            held.set()
            threading.Event().wait(0.5)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    pid = os.fork()  # as the prime manager does, with a thread in the midst of things
    if pid == 0:
        try:
            again = shared.grader(None)
            right = again is not ours and score(RIGHT)["score"] == 1.0
            again.close()
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    holder.join()
    assert score(RIGHT)["score"] == 1.0, "the parent's grader is as it was"
    assert shared.grader(None) is ours


def test_old_problems_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared._problems, "limit", 3000)
    for number in range(30):
        truth = {"inputs": [f"{number} {'0' * 200}"], "outputs": [str(number)]}
        assert shared.from_tests(truth) is shared.from_tests(json.dumps(truth, sort_keys=True))
        assert shared._problems.total_size <= 3000
    assert len(shared._problems) < 30


# ---- TRL ----------------------------------------------------------------------------------------------


def rewards(completions: list[Any], **columns: Any) -> list[float | None]:
    """As GRPOTrainer calls: everything by keyword, and more than a reward function needs."""
    logged: dict[str, float] = {}
    function = columns.pop("function", trl.reward_func)
    found: list[float | None] = function(
        prompts=["?"] * len(completions),
        completions=completions,
        completion_ids=[[1, 2]] * len(completions),
        trainer_state=object(),
        log_extra=lambda column, values: None,
        log_metric=logged.__setitem__,
        **columns,
    )
    assert logged == {"infra_error": 0.0}
    return found


def test_trl_text_and_messages() -> None:
    good, bad = fenced(RIGHT), fenced("print(0)")
    truths = {"ground_truth": [json.dumps(STDIN)] * 4}
    assert rewards([good, bad, "no code", good], **truths) == [1.0, 0.0, 0.0, 1.0]
    chats = [
        [{"role": "assistant", "content": good}],
        [{"role": "assistant", "content": bad}],
        [{"role": "assistant", "content": [{"type": "text", "text": good}]}],
        [
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "name": "run", "content": "ok"},
            {"role": "assistant", "content": good},
        ],
    ]
    assert rewards(chats, **truths) == [1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "columns",
    [
        {"input_output": [STDIN]},
        {"reward_model": [{"style": "rule", "ground_truth": json.dumps(STDIN)}]},
        {"tests": [[{"input": "1 2", "output": "3"}]], "entry_point": [None], "time_limit_seconds": [2.0]},
        {"answer": [json.dumps(SDPO)], "function": trl.make_reward_func(column="answer")},
        {"problem_id": ["add"], "function": trl.make_reward_func(problems={"add": ADD})},
    ],
    ids=lambda columns: next(iter(columns)),
)
def test_trl_columns(columns: dict[str, Any]) -> None:
    assert rewards([fenced(RIGHT)], **columns) == [1.0]


SUM = {"input": "1 2\n", "output": "3\n"}
ADDS = {"input": "1\n2", "output": "3"}
METHOD = "class Solution:\n    def add(self, a, b): return a + b"


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        ([{**SUM, "testtype": "stdin"}], RIGHT),
        (repr([SUM]), RIGHT),
        (repr(STDIN), RIGHT),
        ({"inputs": ["1 2"], "outputs": ["3"], "fn_name": None, "time_limit": None, "testtype": None}, RIGHT),
        ({"input": ["1 2"], "output": ["3"]}, RIGHT),
        ([{**ADDS, "testtype": "functional", "metadata": {"func_name": "add"}}], METHOD),
        ([{**ADDS, "testtype": "functional", "metadata": {"func_name": "Solution().add"}}], METHOD),
        ([{**ADDS, "fn_name": "add", "type": "function_call"}], METHOD),
        (["assert add(1, 2) == 3"], METHOD),
        ({"assert_case": ["assert add(1, 2) == 3"]}, METHOD),
    ],
    ids=repr,
)
def test_both_adapters_take_the_shapes_of_files(tests: Any, code: str) -> None:
    """As an object and as its text, by the same code that reads files."""
    wrong = "print(0)" if code == RIGHT else METHOD.replace("a + b", "0")
    for value in (tests, tests if isinstance(tests, str) else json.dumps(tests)):
        assert score(code, value)["score"] == 1.0
        assert score(wrong, value)["score"] == 0.0
        assert rewards([fenced(code), fenced(wrong)], tests=[value] * 2) == [1.0, 0.0]
        assert rewards([fenced(code)], verification_info=[{"test_cases": value}]) == [1.0]
        assert rewards([fenced(code)], function=trl.make_reward_func(column="t"), t=[value]) == [1.0]


def test_trl_joined_datasets_have_null_in_the_columns_of_the_others() -> None:
    columns = {
        "input_output": [STDIN, None, None, None],
        "tests": [None, [{**SUM, "testtype": "stdin"}], None, None],
        "test_list": [None, None, ["assert add(1, 2) == 3"], None],
    }
    answers = [fenced(RIGHT), fenced(RIGHT), fenced(METHOD), "?"]
    assert rewards(answers, **columns) == [1.0, 1.0, 1.0, None]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"tests": [[{**ADDS, "testtype": "functional"}]]},
            "column tests, row 0 of the batch: .*no function is named",
        ),
        ({"tests": [[{**ADDS, "testtype": "regex"}]]}, "testtype 'regex' cannot be graded"),
        ({"tests": [[]]}, "column tests, row 0 of the batch: key tests: holds no test"),
        (
            {"tests": [[SUM]], "entry_point": ["not a name"]},
            "key entry_point: 'not a name' is neither a name",
        ),
        ({"verification_info": [{"test_cases": []}]}, "column verification_info, row 0 .*holds no test"),
        ({"ground_truth": ["42"]}, "column ground_truth, row 0 .*must hold inputs and outputs"),
        ({"test_list": [["assert set(add(1, 2)) == {3}"]]}, "column test_list, row 0 .*cannot be graded"),
    ],
)
def test_trl_faults_of_the_data_raise(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        rewards([fenced(RIGHT)], **columns)


def test_trl_rows_without_tests_are_left_out() -> None:
    assert rewards([fenced(RIGHT), "a poem"], ground_truth=[json.dumps(STDIN), None]) == [1.0, None]
    assert rewards(["a poem"], ground_truth=[None]) == [None]
    calls = {"tests": [[{"input": "1\n2", "output": "3"}]], "entry_point": ["add"]}
    assert rewards([fenced("def add(a, b): return a + b")], **calls) == [1.0]


def test_trl_settings_and_name() -> None:
    function = trl.make_reward_func(continuous=True, name="tests_passed", workers=2)
    assert function.__name__ == "tests_passed"
    assert rewards([fenced("print(3)")], function=function, ground_truth=[json.dumps(STDIN)]) == [0.5]


def test_trl_bad_columns_are_named() -> None:
    with pytest.raises(BadInput, match="none of the columns ground_truth, input_output, reward_model, tests"):
        trl.reward_func(completions=["x"], prompts=["?"])
    with pytest.raises(BadInput, match=r"column tests, row 0 of the batch: key tests: test 1: needs output"):
        trl.reward_func(completions=["x"], tests=[[{"input": "1"}]])
    with pytest.raises(BadInput, match="column ground_truth: 1 values for 2 completions"):
        trl.reward_func(completions=["x", "y"], ground_truth=["{}"])
    with pytest.raises(BadInput, match="no such problem: other"):
        trl.make_reward_func(problems={"add": Problem("add", "", ADD.tests)})(
            completions=["x"], problem_id=["other"]
        )
