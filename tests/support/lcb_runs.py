"""What the tests of the official profiles share: records of the runner, and how ours are compared with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from opsd_rs import Grade, Grader, Solution
from opsd_rs.compat.lcb import read_sample, solved
from opsd_rs.grading import Profile, Sample

EDGE_CASES = Path(__file__).parents[1] / "data" / "lcb_edge_cases.jsonl"
"""Programs, tests, and what the official runner said: at HEAD 28fef95 (``official``) and, where it differs, with the
``testing_util`` of 15808c7 (``official_2025_01``); CPython 3.11."""

Found = tuple[list[Any], dict[str, Any]]


def edge_cases() -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in EDGE_CASES.read_text().splitlines()]
    return {row["id"]: row for row in rows}


def call(code: str, *tests: tuple[Any, Any], fn_name: str | None = "f", timeout: int = 2) -> dict[str, Any]:
    """A row of our own: a function's tests, or standard input's where ``fn_name`` is None."""
    inputs, outputs = [test[0] for test in tests], [test[1] for test in tests]
    content = json.dumps({"inputs": inputs, "outputs": outputs, "fn_name": fn_name})
    return {"code": code, "sample": {"input_output": content}, "timeout": timeout}


def run_all(
    grader: Grader, rows: Mapping[str, Mapping[str, Any]], names: Iterable[str]
) -> dict[str, tuple[Found, Grade | None]]:
    """Results and metadata of rows by name, and the grades they came from, where a program was run."""
    found: dict[str, tuple[Found, Grade | None]] = {}
    todo = []
    for name in names:
        sample = read_sample(rows[name]["sample"], name, rows[name]["timeout"])
        if isinstance(sample, Sample):
            todo.append((sample, Solution(name, 0, code=rows[name]["code"])))
        else:
            found[name] = sample, None
    for _, grade in grader.stream(todo):
        about = grade.metadata
        results = about.get("official_results"), about.get("official_metadata")
        found[grade.problem_id] = results, grade  # type: ignore[assignment] # None is caught by the comparison
    return found


def same(found: Found, official: Mapping[str, Any]) -> None:
    """Equal to a recorded run, but for the time it took and where its objects lay."""
    results, metadata = found
    assert results == official["result"]
    assert [type(entry) for entry in results] == [type(entry) for entry in official["result"]]
    kept = {key: value for key, value in metadata.items() if key != "execution time"}
    assert _placeless(kept) == _placeless(official["metadata"])
    assert [*kept] == [*official["metadata"]], "the order of the keys shows in the JSON text"
    assert solved(results) is official["passed"]


def _placeless(metadata: Mapping[str, Any]) -> Any:
    return json.loads(re.sub(r"0x[0-9a-f]+", "0x", json.dumps(metadata)))


def profile_of(name: str) -> Profile:
    return "lcb-2025-01" if name.endswith("01") else "lcb-2025-05"
