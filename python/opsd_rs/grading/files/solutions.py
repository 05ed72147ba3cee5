"""Solutions files: our jsonl, and the custom-output JSON of LiveCodeBench's runner.

In: a path and the known problems. Out: solutions in the file's order, checked before anything runs. The first
character decides: an array is LiveCodeBench's list of ``{question_id, code_list}``, else every line is a solution.
"""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.records import Solution


def read_solutions(path: Path, problem_ids: Container[str]) -> list[Solution]:
    """All solutions of a file.

    :raises BadInput: names the file, the line or item, and what is wrong with it; also where a problem's sample
        comes twice
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    found = _array(path, data) if data.lstrip()[:1] == b"[" else _lines(path, data)
    seen: dict[tuple[str, int], str] = {}
    solutions = []
    for where, solution in found:
        if solution.problem_id not in problem_ids:
            raise BadInput(f"{where}: problem_id {solution.problem_id!r} is not among the problems")
        name = (solution.problem_id, solution.sample)
        if name in seen:
            raise BadInput(
                f"{where}: sample {solution.sample} of {solution.problem_id!r} is already at {seen[name]}: "
                "number each problem's samples"
            )
        seen[name] = where
        solutions.append(solution)
    return solutions


def _lines(path: Path, data: bytes) -> list[tuple[str, Solution]]:
    found = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                found.append((where, _solution(json.loads(line))))
            except (ValueError, RecursionError, BadInput) as error:
                raise BadInput(f"{where}: {error}") from None
    return found


def _solution(record: Any) -> Solution:
    if not isinstance(record, dict):
        raise BadInput("must be a JSON object with problem_id, sample, and code or completion")
    for key, kind in (("problem_id", str), ("sample", int), ("code", str), ("completion", str)):
        value = record.get(key)
        if key in ("problem_id", "sample") and value is None:
            raise BadInput(f"key {key} is missing")
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise BadInput(f"key {key}: must be {'an integer' if kind is int else 'a string'}")
    if record.get("code") is None and record.get("completion") is None:
        raise BadInput("needs the key code or the key completion")
    return Solution(
        record["problem_id"],
        record["sample"],
        code=record.get("code"),
        completion=record.get("completion"),
        truncated=record.get("truncated") is True,
    )


def _array(path: Path, data: bytes) -> list[tuple[str, Solution]]:
    try:
        items = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a JSON array ({error})") from None
    found = []
    for number, item in enumerate(items):
        where = f"{path}, item {number}"
        if not isinstance(item, dict) or not isinstance(item.get("question_id"), (str, int)):
            raise BadInput(f"{where}: must be an object with question_id and code_list")
        codes, outputs = item.get("code_list"), item.get("output_list")
        if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
            raise BadInput(f"{where}: key code_list: must be a list of programs, each a string")
        if outputs is None:
            outputs = [None] * len(codes)
        if not isinstance(outputs, list) or len(outputs) != len(codes):
            raise BadInput(f"{where}: key output_list: must be a list as long as code_list")
        for sample, (code, output) in enumerate(zip(codes, outputs, strict=True)):
            completion = output if isinstance(output, str) else None
            found.append(
                (where, Solution(str(item["question_id"]), sample, code=code, completion=completion))
            )
    return found
