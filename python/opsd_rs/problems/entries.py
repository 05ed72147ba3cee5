"""One row of a problem file: whose form it is, what it is called, and the problem in it, read when it is asked for.

Tests are large and may be packed, and a row that nobody asks for may be broken; so a row is opened late.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from opsd_rs.errors import BadInput
from opsd_rs.inputs import Record, Value, dumps
from opsd_rs.problems import livecodebench, ours, rows
from opsd_rs.records import Problem

Form = Literal["ours", "livecodebench", "rows"]
"""Whose keys a row bears: see ``ours``, ``livecodebench``, ``rows``."""


class Entry:
    """One problem of a file; nothing of it is kept but its name and its place.

    :param expected: the form of the row before it
    :raises BadInput: it is no object, of no known form, or has no name that can be one
    """

    def __init__(self, record: Record, file: Path, release: str | None, expected: Form | None) -> None:
        self.where = record.where
        """``file:line``."""
        self._again, self._file, self._release = record.again, file, release
        with located(self.where):
            row = _row(record.value, expected)
            self.form = form_of(row, expected)
            """Whose form the row has."""
            self._names = _names(self.form, row, record.number)
            self.shape = rows.test_key(row) if self.form == "rows" else self.form
            """The form, or the key of the tests where there are many forms."""
        self.problem_id = self._names.name
        """What the problem is called."""

    @property
    def qualified(self) -> str | None:
        """The name with source and part, where the row says them."""
        return self._names.qualified

    def rename(self) -> None:
        """Take the qualified name, since another row has the short one too."""
        self.problem_id = self._names.qualified or self.problem_id

    @cached_property
    def head(self) -> Problem:
        """The problem without its tests.

        :raises BadInput: names file, line and key
        """
        if self.form != "livecodebench":
            return dataclasses.replace(self.open(), tests=())
        with located(self.where):
            return self.head_of(self._again())

    @cached_property
    def card(self) -> Mapping[str, str] | None:
        """LiveCodeBench's own fields, as its runner writes them out again; None for other files."""
        if self.form != "livecodebench":
            return None
        with located(self.where):
            return livecodebench.card(_object(self._again()))

    def open(self) -> Problem:
        """The problem with its tests, read from the file again.

        :raises BadInput: names file, line and key
        """
        with located(self.where):
            row = _object(value := self._again())
            problem = self.problem_of(value if self.form == "ours" else row)
            # Reading a row again costs as much as its tests are long.
            known = self.__dict__
            known.setdefault("head", dataclasses.replace(problem, tests=()))
            known.setdefault("card", livecodebench.card(row) if self.form == "livecodebench" else None)
            return problem

    def continued(self, answer: str) -> str | None:
        """The program of an answer that goes on where the prompt ends, as HumanEval's do; None for one with a block."""
        if self.shape != "test" or "```" in answer:
            return None
        with located(self.where):
            row = _object(self._again())
        if re.search(rf"^(async )?def {re.escape(str(row.get('entry_point')))}\b", answer, re.MULTILINE):
            return answer
        return f"{row.get('prompt', '')}{answer}"

    def head_of(self, value: Value) -> Problem:
        """The problem without its tests, from what is in memory; errors do not name the place."""
        if self.form == "livecodebench":
            return livecodebench.head(_object(value), self._release)
        return dataclasses.replace(self.problem_of(value), tests=())

    def problem_of(self, value: Value) -> Problem:
        """As :meth:`head_of`, with the tests."""
        if self.form == "livecodebench":
            row = _object(value)
            return dataclasses.replace(livecodebench.head(row, self._release), tests=livecodebench.cases(row))
        if self.form == "rows":
            return rows.row_problem(_object(value), self.problem_id)
        return _beside(_ours(value), self._file)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put ``file:line`` before a BadInput raised inside the block."""
    try:
        yield
    except BadInput as error:
        raise type(error)(f"{where}: {error}") from error.__cause__


def form_of(row: Mapping[str, Any], expected: Form | None = None) -> Form:
    """Whose form a row has.

    :param expected: whose it is where its keys do not tell
    :raises BadInput: its keys belong to no form that is known
    """
    if livecodebench.is_record(row) and any(key in row for key in livecodebench.TEST_KEYS):
        return "livecodebench"
    if rows.is_record(row):
        return "rows"
    if livecodebench.is_record(row) and not ("problem_id" in row and "tests" in row):
        return "livecodebench"
    if expected not in (None, "ours") and not {"problem_id", "prompt", "tests"} <= set(row):
        return expected
    if "problem_id" not in row and "tests" not in row:
        raise BadInput(
            f"of no form that is known: it has {', '.join(row) or 'no key'}; known are ours (problem_id, prompt, "
            f"tests), LiveCodeBench's, and rows with one of {', '.join(rows.TEST_KEYS)}: see docs/grader.md, Problems"
        )
    return "ours"


def _row(value: Value, expected: Form | None) -> Mapping[str, Any]:
    try:
        return _object(value)
    except BadInput:
        if isinstance(value, bytes) and expected in (None, "ours"):
            ours.parse(value)  # says where the line stops being JSON
        raise


def _object(value: Value) -> Mapping[str, Any]:
    return ours.parse_object(value) if isinstance(value, bytes) else value


def _names(form: Form, row: Mapping[str, Any], number: int) -> rows.Names:
    if form == "livecodebench":
        return rows.Names(livecodebench.problem_id(row))
    if form == "rows":
        return rows.row_names(row, number)
    name = row.get("problem_id")
    return rows.Names(
        name if isinstance(name, str) and name else _ours(row).problem_id
    )  # which says what is wrong


def _ours(value: Value) -> Problem:
    if not isinstance(value, bytes):
        # A table has every column in every row: an absent key is a null there.
        return ours.parse(_line(_without_nulls(value)))
    try:
        return ours.parse(value)
    except BadInput as error:
        row = _object(value)
        if (known := _without_nulls(row)) != row:
            with contextlib.suppress(BadInput):
                return ours.parse(_line(known))
        raise error


def _line(row: Any) -> bytes:
    return dumps(row).encode("utf-8", "surrogatepass")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _beside(problem: Problem, file: Path) -> Problem:
    """A checker program is named from the folder of the problem file that names it."""
    rule, colon, program = (problem.compare or "").partition(":")
    if rule != "checker" or not colon:
        return problem
    return dataclasses.replace(problem, compare=f"checker:{file.parent / program}")
