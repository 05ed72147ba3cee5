"""The built-in problem set holds what it promises, and its tests tell right programs from wrong ones.

The reference solutions and the wrong programs run in this interpreter: all of them are ours.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "python/opsd_rs/data/primer.jsonl"
LINES = FILE.read_text(encoding="utf-8").splitlines()
PROBLEMS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
FUNCTIONS = [problem for problem in PROBLEMS if problem["entry_point"] is not None]
PROGRAMS = [problem for problem in PROBLEMS if problem["entry_point"] is None]
FIELDS = {
    "problem_id", "prompt", "starter_code", "entry_point", "tests", "solution", "difficulty", "platform", "date",
    "release", "time_limit_seconds",}  # fmt: skip


def name(problem: dict[str, Any]) -> str:
    return str(problem["problem_id"])


def arguments(test: dict[str, Any]) -> list[Any]:
    """Parse a function test's input: one JSON value per line, one line per argument."""
    return [json.loads(line) for line in test["input"].split("\n")]


def passes(problem: dict[str, Any], code: str) -> bool:
    """Run a program of ours on every test; a failure of any kind is False."""
    try:
        for test in problem["tests"]:
            if problem["entry_point"] is not None:
                scope: dict[str, Any] = {}
                exec(code, scope)
                if scope[problem["entry_point"]](*arguments(test)) != json.loads(test["output"]):
                    return False
                continue
            printed = io.StringIO()
            with (
                mock.patch.object(sys, "stdin", io.StringIO(test["input"])),
                contextlib.redirect_stdout(printed),
            ):
                exec(code, {"__name__": "__main__"})
            if printed.getvalue().rstrip().split("\n") != test["output"].rstrip().split("\n"):
                return False
    except Exception:
        return False
    return True


def test_counts_and_fields() -> None:
    assert len(FUNCTIONS) >= 125
    assert len(PROGRAMS) >= 42
    assert all(set(problem) == FIELDS for problem in PROBLEMS)
    assert {problem["difficulty"] for problem in PROBLEMS} == {"trivial", "easy"}
    assert {(problem["platform"], problem["release"]) for problem in PROBLEMS} == {("primer", "primer-1")}


@pytest.mark.parametrize("field", ["problem_id", "prompt", "solution"])
def test_no_problem_comes_twice(field: str) -> None:
    twice = [value for value, count in Counter(problem[field] for problem in PROBLEMS).items() if count > 1]
    # Two statements may share a one-line program (a product, a price), never its signature.
    assert twice == []


@pytest.mark.parametrize("problem", PROBLEMS, ids=name)
def test_problem_is_well_formed(problem: dict[str, Any]) -> None:
    tests = problem["tests"]
    assert len(tests) >= 6
    assert [test["public"] for test in tests] == [True, True] + [False] * (len(tests) - 2)
    inputs = [test["input"] for test in tests]
    assert len(set(inputs)) == len(inputs), "an input comes twice"
    assert len({test["output"] for test in tests}) > 1, "a constant would pass"
    if problem["entry_point"] is None:
        assert problem["starter_code"] is None
        assert all(test["input"].endswith("\n") and test["output"].endswith("\n") for test in tests)
        return
    signature = ast.parse(problem["starter_code"] + "\n    ...").body[0]
    assert isinstance(signature, ast.FunctionDef)
    assert signature.name == problem["entry_point"]
    assert problem["solution"].startswith(problem["starter_code"] + "\n")
    for test in tests:
        assert len(arguments(test)) == len(signature.args.args)
        for text in [*test["input"].split("\n"), test["output"]]:
            assert json.dumps(json.loads(text)) == text, "not canonical JSON"


@pytest.mark.parametrize("problem", PROBLEMS, ids=name)
def test_reference_solution_passes(problem: dict[str, Any]) -> None:
    assert passes(problem, problem["solution"])


def lazy_programs(problem: dict[str, Any]) -> list[str]:
    """Return programs that do not do the task: constants, an argument handed back, its length, its reverse."""
    outputs = list(dict.fromkeys(test["output"] for test in problem["tests"]))
    if problem["entry_point"] is None:
        constants = [f"print({output!r}, end='')" for output in outputs]
        return [
            *constants,
            "import sys; print(sys.stdin.read())",
            "print(input())",
            "print(input().split()[0])",
        ]
    signature = problem["starter_code"]
    node = ast.parse(signature + "\n    ...").body[0]
    assert isinstance(node, ast.FunctionDef)
    names = [argument.arg for argument in node.args.args]
    bodies = [repr(json.loads(output)) for output in outputs] + ["None", "0", "1", "''", "[]", "{}"]
    for first in names:
        bodies += [
            first,
            f"len({first})",
            f"{first}[0]",
            f"{first}[-1]",
            f"{first}[::-1]",
            f"sorted({first})",
        ]
        bodies += [
            f"str({first})",
            f"bool({first})",
            f"not {first}",
            f"-{first}",
            f"{first} + 1",
            f"set({first})",
        ]
    for first, second in itertools.permutations(names, 2):
        bodies += [f"{first} {sign} {second}" for sign in ("+", "-", "*", "//", "%", "<", "<=", "==", "in")]
    return [f"{signature}\n    return {body}" for body in bodies]


SAME_TASK = {
    "primer-add-numbers": "b + a",
    "primer-multiply": "b * a",
    "primer-are-equal": "b == a",
    "primer-same-text": "b == a",
    "primer-repeat-text": "n * text",
    "primer-is-greater": "b < a",
    "primer-is-zero": "not n",
    "primer-is-empty-text": "not text",
    "primer-rectangle-area": "height * width",
    "primer-total-price": "quantity * price",
    "primer-stdin-echo": "import sys; print(sys.stdin.read())",
}
"""Lazy programs that do the task in other words than the reference solution."""


@pytest.mark.parametrize("problem", PROBLEMS, ids=name)
def test_lazy_programs_fail(problem: dict[str, Any]) -> None:
    """What passes without a thought is the reference solution itself (``a + b``) or the same in other words."""
    passing = [code for code in lazy_programs(problem) if passes(problem, code)]
    solution = ast.unparse(ast.parse(problem["solution"]))
    different = [code for code in passing if ast.unparse(ast.parse(code)) != solution]
    assert [code for code in different if not code.endswith(SAME_TASK.get(name(problem), "\0"))] == []


class Mutate(ast.NodeTransformer):
    """Change the ``target``-th place of a program that a small slip would change."""

    SLIPS: ClassVar[dict[type[ast.AST], type[ast.AST]]] = {
        ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
        ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.FloorDiv, ast.FloorDiv: ast.Div,
        ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In,
    }  # fmt: skip

    def __init__(self, target: int) -> None:
        self.target = target
        self.seen = 0

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        slip = self.SLIPS.get(type(node))
        is_number = isinstance(node, ast.Constant) and type(node.value) is int
        if slip is None and not is_number:
            return node
        self.seen += 1
        if self.seen - 1 != self.target:
            return node
        return ast.Constant(node.value + 1) if isinstance(node, ast.Constant) else slip()  # type: ignore[misc,operator]


def mutants(code: str) -> list[str]:
    """Return every program that differs from ``code`` by one slip: an operator, a bound, a constant plus one."""
    found: list[str] = []
    for target in itertools.count():
        mutation = Mutate(target)
        tree = mutation.visit(copy.deepcopy(ast.parse(code)))
        if mutation.seen <= target:
            return found
        found.append(ast.unparse(ast.fix_missing_locations(tree)))
    return found


def test_small_slips_fail() -> None:
    """At least 95 of 100 one-slip variants of the solutions are caught; a few do the same as the original."""
    pairs = [(p, mutant) for p in PROBLEMS for mutant in mutants(p["solution"]) if "while" not in mutant]
    alive = [f"{p['problem_id']}: {mutant}" for p, mutant in pairs if passes(p, mutant)]
    assert len(pairs) > 200
    assert len(alive) <= 0.05 * len(pairs), "\n".join(alive)


def test_every_prefix_is_mixed() -> None:
    """``problems.limit`` takes a prefix, so the first 40 function problems hold easy and trivial, text and lists."""
    head = FUNCTIONS[:40]
    assert 4 <= sum(problem["difficulty"] == "easy" for problem in head) <= 20
    signatures = " ".join(problem["starter_code"] for problem in head)
    assert all(kind in signatures for kind in ("list[", "str", "int", "dict["))


def test_builder_writes_the_same_bytes(tmp_path: Path) -> None:
    out = tmp_path / "primer.jsonl"
    subprocess.run(
        [sys.executable, "-m", "tools.primer", str(out)], cwd=ROOT, check=True, capture_output=True
    )
    assert out.read_bytes() == FILE.read_bytes()
