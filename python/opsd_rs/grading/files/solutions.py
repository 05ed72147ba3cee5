"""Solutions files: rows of one solution or of several, as lines of JSON, one JSON array, or a parquet table.

In: a path and the known problems. Out: solutions in the file's order, checked before anything runs. Known are our rows,
those of LiveCodeBench's runner (``question_id`` and ``code_list``, or a list of programs per problem and no names), of
HumanEval and of EvalPlus (``task_id`` and ``completion`` or ``solution``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.inputs import get, is_absent, loads, records, short, source
from opsd_rs.records import Solution

NAME_KEYS = ("problem_id", "question_id", "task_id", "id", "idx", "name")
CODE_KEYS = ("code", "solution", "program", "code_list", "codes", "solutions", "programs")
COMPLETION_KEYS = (
    "completion", "response", "output", "generation", "output_list", "completions", "responses", "outputs",
    "generations",
)  # fmt: skip
"""Of one answer, or of a list of them."""
SAMPLE_KEYS = ("sample", "sample_id", "completion_id")
FORMS = (
    "a row has problem_id (or question_id, task_id, id) and code or completion, or question_id and code_list: see "
    "docs/grader.md, Solutions"
)
Found = tuple[str, str, int | None, Solution]
"""Where it stands, whose it is, its number if the row says one, and the solution, numbered later."""


def read_solutions(path: Path, problems: Mapping[str, Any]) -> list[Solution]:
    """All solutions of a file. A row without a ``sample`` gets the next number that its problem has left.

    :param problems: by name; only looked at, not opened, but for HumanEval's, whose answers continue the prompt
    :raises BadInput: names the file, the line or item, and what is wrong with it; also where a problem's sample
        comes twice, or there is no solution at all
    """
    found = list(_found(path, problems))
    if not found:
        unreadable = getattr(problems, "unreadable", ())
        raise BadInput(
            unreadable[0] if unreadable else f"{path}: holds no solution: did the step that writes it fail?"
        )
    taken: dict[tuple[str, int], str] = {}
    for where, name, sample, _ in found:
        if sample is None:
            continue
        if (name, sample) in taken:
            raise BadInput(
                f"{where}: sample {sample} of {name!r} is already at {taken[name, sample]}: "
                "number each problem's samples"
            )
        taken[name, sample] = where
    left: dict[str, Iterator[int]] = {}
    solutions = []
    for _, name, sample, solution in found:
        if sample is None:
            numbers = left.setdefault(name, itertools.count())
            sample = next(number for number in numbers if (name, number) not in taken)
        solutions.append(
            Solution(
                name, sample, code=solution.code, completion=solution.completion, truncated=solution.truncated
            )
        )
    return solutions


def _found(path: Path, problems: Mapping[str, Any]) -> Iterator[Found]:
    for where, value in _rows(path, problems):
        try:
            for name, sample, solution in _solutions(value):
                known = _known(name, problems)
                yield where, known, sample, _continued(solution, problems[known])
        except BadInput as error:
            raise BadInput(f"{where}: {error}") from None


def _rows(path: Path, problems: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    file = source(path)
    if file.head[:4] == b"PAR1":
        for record in records(path):
            yield record.where, record.value
        return
    with file.open() as stream:
        if file.head.lstrip()[:1] == b"[":
            yield from _items(path, stream.read(), problems)
            return
        for number, line in enumerate(stream, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                try:
                    row = loads(line)
                except (ValueError, RecursionError) as error:
                    if number == 1 and (whole := _object(line + stream.read())) is not None:
                        yield from _by_name(path, whole)
                        return
                    raise BadInput(f"{where}: {error}: one JSON object per line is expected") from None
                if number == 1 and isinstance(row, dict) and row and all(name in problems for name in row):
                    yield from _by_name(path, row)
                else:
                    yield where, row


def _object(data: bytes) -> dict[str, Any] | None:
    """The one object of a file that was written over several lines."""
    try:
        value = loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _by_name(path: Path, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The rows of an object whose keys are the problems' names; or the object itself, which is a row."""
    if any(key in value for key in NAME_KEYS):
        yield str(path), value
        return
    for name, codes in value.items():
        yield f"{path}, key {name}", {"problem_id": name, "code": codes}


def _items(path: Path, data: bytes, problems: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    try:
        items = loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a JSON array ({error})") from None
    if items and all(isinstance(item, (list, str)) for item in items):
        # The official evaluator takes programs without names, in the order of its problems, which it sorts.
        names = list(problems)
        if all(getattr(problem, "card", None) is not None for problem in problems.values()):
            names.sort()
        if len(items) != len(names):
            raise BadInput(
                f"{path}: {len(items)} lists of programs for {len(names)} problems: without names there must be one "
                "for each"
            )
        items = [
            {"question_id": name, "code_list": [item] if isinstance(item, str) else item}
            for name, item in zip(names, items, strict=True)
        ]
    for number, item in enumerate(items):
        yield f"{path}, item {number}", item


def _solutions(row: Any) -> Iterator[tuple[str, int | None, Solution]]:
    """The solutions of a row: whose, its number if the row says one, and what it is."""
    if not isinstance(row, Mapping):
        raise BadInput(
            f"must be a JSON object with problem_id, sample, and code or completion, found {short(row)}"
        )
    name = get(row, *NAME_KEYS)
    if isinstance(name, float) and name.is_integer():
        name = int(name)
    if name is None or name == "":
        if "code_list" in row:
            raise BadInput("must be an object with question_id and code_list")
        raise BadInput(f"key problem_id is missing, the row has {', '.join(row) or 'no key'}: {FORMS}")
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise BadInput(f"key {_key(row, NAME_KEYS)}: must be a string or an integer")
    truncated = row.get("truncated") is True or row.get("finish_reason") == "length"
    found = [get(row, *CODE_KEYS), get(row, *COMPLETION_KEYS)]
    if found == [None, None]:
        if "question_id" in row:
            raise BadInput(f"key code_list is missing, the row has {', '.join(row)}")
        raise BadInput(f"needs the key code or the key completion, the row has {', '.join(row)}")
    if any(isinstance(texts, list) for texts in found):
        for number, (code, output) in enumerate(_listed(row, *found)):
            yield str(name), number, Solution("", 0, code=code, completion=output, truncated=truncated)
        return
    sample = get(row, *SAMPLE_KEYS)
    if isinstance(sample, bool) or not isinstance(sample, (int, type(None))):
        raise BadInput(f"key {_key(row, SAMPLE_KEYS)}: must be an integer")
    for keys, text in zip((CODE_KEYS, COMPLETION_KEYS), found, strict=True):
        if not isinstance(text, (str, type(None))):
            raise BadInput(f"key {_key(row, keys)}: must be a string, or a list of them")
    yield str(name), sample, Solution("", 0, code=found[0], completion=found[1], truncated=truncated)


def _key(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    return next(key for key in keys if not is_absent(row.get(key)))


def _listed(row: Mapping[str, Any], codes: Any, outputs: Any) -> list[tuple[str | None, str | None]]:
    """Programs and answers of a row that has several of one problem."""
    for keys, value, what in ((CODE_KEYS, codes, "programs"), (COMPLETION_KEYS, outputs, "answers")):
        texts = isinstance(value, list) and all(isinstance(text, (str, type(None))) for text in value)
        if value is not None and not texts:
            raise BadInput(f"key {_key(row, keys)}: must be a list of {what}, each a string")
    codes = [None] * len(outputs or []) if codes is None else codes
    outputs = [None] * len(codes) if outputs is None else outputs
    if len(outputs) != len(codes):
        raise BadInput(f"key {_key(row, COMPLETION_KEYS)}: must be a list as long as {_key(row, CODE_KEYS)}")
    pairs = list(zip(codes, outputs, strict=True))
    if (None, None) in pairs:
        key = _key(row, (*CODE_KEYS, *COMPLETION_KEYS))
        raise BadInput(f"key {key}: item {pairs.index((None, None))} is null")
    return pairs


def _known(name: str, problems: Mapping[str, Any]) -> str:
    """The problem's own name; of MBPP and HumanEval also as other tools spell it."""
    if name in problems:
        return name
    spelled = re.fullmatch(r"(mbpp|humaneval)[/-](\d+)", name, re.IGNORECASE)
    if spelled:
        for other in (spelled[2], f"HumanEval/{spelled[2]}"):
            if getattr(problems.get(other), "shape", None) in ("test", "test_list"):
                return other
    ambiguous = getattr(problems, "ambiguous", {}).get(name)
    if ambiguous:
        raise BadInput(f"problem_id {name!r} is the index of several rows: write {' or '.join(ambiguous)}")
    unreadable = getattr(problems, "unreadable", ())
    rest = f"; {len(unreadable)} rows could not be read, the first is {unreadable[0]}" if unreadable else ""
    raise BadInput(f"problem_id {name!r} is not among the problems{rest}")


def _continued(solution: Solution, problem: Any) -> Solution:
    """HumanEval's answers go on where the prompt ends: without a code block they are half of a program."""
    if solution.code is not None or getattr(problem, "shape", None) != "test":
        return solution
    code = problem.continued(solution.completion)
    return solution if code is None else Solution("", 0, code=code, completion=solution.completion)
