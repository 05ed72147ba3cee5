"""The problems package: what is read is what was written, every corrupt line is named, every choice is repeatable."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opsd_rs.config import ProblemsConfig, load_config
from opsd_rs.environments import make_environment
from opsd_rs.errors import BadInput
from opsd_rs.problems import describe, from_config, load, read
from opsd_rs.problems.ours import format_line, parse
from opsd_rs.problems.sets import Filters, dump
from opsd_rs.records import Case, Problem
from problem_cases import stdin_problems

LEAST: dict[str, Any] = {"problem_id": "add", "prompt": "Add.", "tests": [{"input": "1 2", "output": "3"}]}
FUNCTION: dict[str, Any] = {**LEAST, "entry_point": "add", "tests": [{"input": "1\n2", "output": "3"}]}


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


# ---- our own jsonl -------------------------------------------------------------------------------


def test_missing_optional_keys_take_the_defaults(tmp_path: Path) -> None:
    (problem,) = load(write(tmp_path / "p.jsonl", LEAST))
    assert problem == Problem("add", "Add.", (Case("1 2", "3", public=False),))
    assert (problem.time_limit_seconds, problem.memory_limit_mib, problem.kind) == (6.0, 1024, "stdin")


@given(stdin_problems)
def test_a_line_read_back_is_the_problem(problem: Problem) -> None:
    assert parse(format_line(problem)) == problem


@settings(max_examples=20)
@given(st.lists(stdin_problems, min_size=1, max_size=6, unique_by=lambda problem: problem.problem_id))
def test_dump_and_load(tmp_path_factory: pytest.TempPathFactory, written: list[Problem]) -> None:
    path = tmp_path_factory.mktemp("dump") / "p.jsonl"
    dump(written, path)
    assert load(path) == written


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"problem_id": "add"', "invalid json: expected `,` or `}`"),
        ("not json", "invalid json: expected"),
        ("[1, 2]", "one JSON object per line is expected"),
        ("3", "one JSON object per line is expected"),
        (json.dumps(LEAST) + ", " + json.dumps(LEAST), "one JSON object per line is expected"),
        (json.dumps(LEAST) + ",", f"invalid json: trailing comma at column {len(json.dumps(LEAST)) + 2}"),
        ({"problem_id": "a", "prompt": "b"}, "key tests is missing"),
        ({**LEAST, "promt": "x"}, "unknown key promt: did you mean 'prompt'?"),
        ({"problem_id": "a", "promt": "x", "tests": []}, "unknown key promt: did you mean 'prompt'?"),
        ({**LEAST, "colour": "red"}, "unknown key colour: known: problem_id, prompt, tests"),
        ({**LEAST, "tests": [{"input": "1", "output": "2", "pubic": True}]}, "unknown key tests[0].pubic: did you m"),
        ({**LEAST, "tests": [{"input": 1, "output": "2"}]}, "key tests[0].input: input should be a valid string, f"),
        ({**LEAST, "tests": [{"input": "1"}]}, "key tests[0].output is missing"),
        ({**LEAST, "tests": [{"input": "1", "output": "2", "public": "yes"}]}, "key tests[0].public: input should be"),
        ({**LEAST, "tests": {}}, "key tests: "),
        ({**LEAST, "tests": []}, "key tests: must hold at least one test"),
        ({**LEAST, "problem_id": 7}, "key problem_id: input should be a valid string, found int"),
        ({**LEAST, "problem_id": ""}, "key problem_id: must not be empty"),
        ({**LEAST, "prompt": None}, "key prompt: input should be a valid string, found null"),
        ({**LEAST, "time_limit_seconds": "6"}, "key time_limit_seconds: input should be a valid number, found str"),
        ({**LEAST, "time_limit_seconds": 0}, "key time_limit_seconds: must be a positive number"),
        ({**LEAST, "time_limit_seconds": float("nan")}, "key time_limit_seconds: must be a positive number"),
        ({**LEAST, "memory_limit_mib": 1.5}, "key memory_limit_mib: input should be a valid integer, found float"),
        ({**LEAST, "memory_limit_mib": True}, "key memory_limit_mib: input should be a valid integer, found bool"),
        ({**LEAST, "memory_limit_mib": 0}, "key memory_limit_mib: must be at least 1"),
        ({**LEAST, "date": "2025-13-01"}, "key date: '2025-13-01' is not a date"),
        ({**LEAST, "date": "20250101"}, "key date: '20250101' is not a date"),
        ({**FUNCTION, "entry_point": "a.b.c"}, "key entry_point: 'a.b.c' is neither a name nor Class.name"),
        ({**FUNCTION, "entry_point": "class"}, "key entry_point: 'class' is neither"),
        ({**FUNCTION, "entry_point": ""}, "key entry_point: '' is neither"),
        ({**FUNCTION, "tests": [{"input": "1\n2\n", "output": "3"}]}, "key tests[0].input: line 3 is not JSON"),
        ({**FUNCTION, "tests": [{"input": "1\n2", "output": "three"}]}, "key tests[0].output: line 1 is not JSON"),
        ('{"problem_id": "a", "prompt": "\\ud800", "tests": []}', "invalid json: "),
    ],
)  # fmt: skip
def test_a_corrupt_line_is_one_line_with_file_number_key_and_mend(
    tmp_path: Path, line: Any, message: str
) -> None:
    path = write(tmp_path / "p.jsonl", {**LEAST, "problem_id": "first"}, "", line)
    with pytest.raises(BadInput) as caught:
        load(path)
    said = str(caught.value)
    assert said.lower().startswith(f"{path}:3: {message}".lower())
    assert "\n" not in said


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(format_line(parse(json.dumps(LEAST).encode())) + b'{"problem_id": "\xff\xfe"}\n')
    with pytest.raises(BadInput, match=r"p\.jsonl:2: Invalid JSON: .*one JSON object per line"):
        load(path)


def test_the_column_is_that_of_the_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"at column 16: one JSON"):
        parse(b'{"problem_id": ?')


def test_numbers_with_very_many_digits_are_arguments(tmp_path: Path) -> None:
    digits = "7" * 10_000
    path = write(tmp_path / "p.jsonl", {**FUNCTION, "tests": [{"input": digits, "output": digits}]})
    assert load(path)[0].tests[0].input == digits


def test_class_and_method(tmp_path: Path) -> None:
    (problem,) = load(write(tmp_path / "p.jsonl", {**FUNCTION, "entry_point": "Solution.add"}))
    assert (problem.entry_point, problem.kind) == ("Solution.add", "function")


def test_the_same_id_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", LEAST, {**LEAST, "problem_id": "b"}, LEAST)
    with pytest.raises(
        BadInput, match=r"p\.jsonl:3: key problem_id: 'add' is already at .*p\.jsonl:1: give each"
    ):
        load(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"problems\.path: no such file: primmer: did you mean 'primer'"):
        load("primmer")
    with pytest.raises(BadInput, match=r"no such file: .*nowhere\.jsonl: name a jsonl file or 'primer'"):
        load(tmp_path / "nowhere.jsonl")
    with pytest.raises(BadInput, match="is a folder without LiveCodeBench's"):
        load(tmp_path)
    with pytest.raises(BadInput, match="holds no problem"):
        load(write(tmp_path / "empty.jsonl", "", "  "))


# ---- filters -------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    return write(
        tmp_path / "mixed.jsonl",
        {**LEAST, "problem_id": "a", "difficulty": "easy", "platform": "atcoder", "date": "2025-01-31"},
        {**LEAST, "problem_id": "b", "difficulty": "hard", "platform": "atcoder", "date": "2025-02-01"},
        {**FUNCTION, "problem_id": "c", "difficulty": "easy", "platform": "leetcode", "date": "2025-04-30"},
        {**FUNCTION, "problem_id": "d", "difficulty": "medium", "release": "v6", "date": "2025-05-01"},
        {**FUNCTION, "problem_id": "e"},
    )


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, "abcde"),
        ({"kind": "function"}, "cde"),
        ({"kind": "stdin"}, "ab"),
        ({"difficulty": ["easy", "hard"]}, "abc"),
        ({"platform": ["leetcode"]}, "c"),
        ({"release": ["v6"]}, "d"),
        ({"release": ["release_v6"]}, "d"),
        ({"date_from": "2025-02-01"}, "bcd"),
        ({"date_to": "2025-05-01"}, "abc"),
        ({"date_from": "2025-02-01", "date_to": "2025-05-01"}, "bc"),
        ({"limit": 2}, "ab"),
        ({"limit": 1, "kind": "function"}, "c"),
        ({"limit": 9}, "abcde"),
    ],
)
def test_filters(mixed: Path, filters: dict[str, Any], kept: str) -> None:
    assert "".join(problem.problem_id for problem in load(mixed, **filters)) == kept


def test_counts_say_which_filter_took_how_many(mixed: Path) -> None:
    filters = Filters(kind="function", difficulty=("easy",))
    kept, num_read, dropped = read(mixed, filters)
    assert ([problem.problem_id for problem in kept], num_read, dict(dropped)) == (
        ["c"],
        5,
        {"kind": 2, "difficulty": 2},
    )


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"difficulty": ["hrad"]}, r"problems\.difficulty: no problem in .* has 'hrad': did you mean 'hard'"),
        ({"platform": ["kattis"]}, r"problems\.platform: .* it has atcoder, leetcode, none"),
        ({"release": ["v4_v5"]}, r"problems\.release: .* has 'v4_v5'"),
        ({"release": ["release_v9"]}, r"release 'release_v9': take one of v1"),
        ({"date_from": "February"}, r"problems\.date_from: 'February' is not a date like 2025-02-01"),
        ({"date_from": "2026-01-01"}, r"none of the 5 in .* passes the filters \(dropped by date 5\)"),
    ],
)
def test_a_filter_that_cannot_match_is_an_error(mixed: Path, filters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load(mixed, **filters)


# ---- the whole -----------------------------------------------------------------------------------


def test_from_config(mixed: Path) -> None:
    config = ProblemsConfig(path=str(mixed), held_out=0.4, split="hash")
    found = from_config(config)
    assert [problem.problem_id for problem in found.train] == [problem.problem_id for problem in found.full]
    everything = {problem.problem_id for problem in [*found.full, *found.held_out]}
    assert everything == set("abcde")
    assert found.full
    assert found.held_out
    assert (found.num_read, found.dropped, found.notes) == (5, {}, ())


def test_the_split_has_a_seed_of_its_own() -> None:
    """It moves the tests that training sees and the problems held out; the run's seed is not even asked for."""

    def sides(seed: int) -> tuple[list[str], list[str]]:
        found = from_config(ProblemsConfig(path="primer", held_out=0.3, split_seed=seed))
        return [repr(p.tests) for p in found.train], [p.problem_id for p in found.held_out]

    assert sides(0) == sides(0)
    assert sides(0)[0] != sides(1)[0]
    assert sides(0)[1] != sides(1)[1]
    alike = [make_environment(load_config([], ["control.mask=one", f"seed={seed}"])) for seed in (0, 1)]
    assert alike[0].problems() == alike[1].problems()


def test_describe(mixed: Path) -> None:
    found = describe(load(mixed))
    assert found == {
        "count": 5,
        "kinds": {"function": 3, "stdin": 2},
        "difficulties": {"easy": 2, "hard": 1, "medium": 1, "none": 1},
        "platforms": {"atcoder": 2, "leetcode": 1, "none": 2},
        "releases": {"none": 4, "v6": 1},
        "dates": {"first": "2025-01-31", "last": "2025-05-01"},
        "tests": {"total": 5, "public": 0, "min": 1, "median": 1, "max": 1},
        "with_solution": 0,
    }
    whole = describe(ProblemsConfig(path=str(mixed), kind="stdin"))
    assert (whole["count"], whole["train"], whole["held_out"], whole["read"]) == (2, 2, 0, 5)
    assert whole["dropped"] == {"kind": 3}
    json.dumps(whole)


def test_the_built_in_set() -> None:
    primer = load("primer")
    assert len([problem for problem in primer if problem.kind == "function"]) >= 120
    assert len([problem for problem in primer if problem.kind == "stdin"]) >= 40
    assert all(len(problem.tests) >= 6 and problem.solution for problem in primer)
    assert any(test.public for test in primer[0].tests)
    found = from_config(ProblemsConfig(path="primer", kind="function", held_out=0.2))
    assert all(
        len(part.tests) < len(whole.tests) for part, whole in zip(found.train, found.full, strict=True)
    )


def test_the_room_loads_nothing_heavy(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", LEAST)
    code = (
        "import sys; from opsd_rs import problems; problems.load(sys.argv[1]);"
        "heavy = {'torch', 'transformers', 'polars', 'huggingface_hub', 'numpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
