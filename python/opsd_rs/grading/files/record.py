"""A grade as JSON: one text that the results file, its journal and the cache share, and the way back.

In: a ``Grade``. Out: a line whose keys and their order are fixed, since files of older versions are read and continued.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from opsd_rs.records import (
    CaseResult,
    Grade,
    GraderIdentity,
    Reason,
    SecondVerdict,
    plain,
)

COLUMNS = (
    "problem_id", "sample", "passed", "verdict", "tests", "feedback", "metadata", "profile", "isolation",
    "sandbox_level", "policy_hash", "flags",
)  # fmt: skip
"""Keys of a result, in order."""


class Record(NamedTuple):
    """A grade with its JSON text.

    >>> record = Record.of(Grade("add", 0, True, "accepted", ()))
    >>> Record.read(json.loads(record.text)) == record
    True
    """

    grade: Grade
    text: str

    @classmethod
    def of(cls, grade: Grade) -> Record:
        """The text is written here, once for all files."""
        values: dict[str, Any] = {name: getattr(grade, name) for name in COLUMNS}
        values["tests"] = [plain(test) for test in grade.tests]
        return cls(grade, json.dumps(values, allow_nan=False))

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Record:
        """The record of a result that was read from a file."""
        return cls.of(_grade(values))

    def under(self, key: str) -> str:
        """A line of the journal, or a file of the cache."""
        return f'{{"key": {json.dumps(key)}, "result": {self.text}}}'


def is_settled(grade: Grade) -> bool:
    """Whether the grade is about the program: no infrastructure fault, nor one under the second profile."""
    return grade.passed is not None and (grade.also is None or grade.also.verdict != "infra_error")


def _grade(values: Mapping[str, Any]) -> Grade:
    about = values["metadata"]
    also, reason = about.get("also"), about.get("reason")
    if also is not None:
        also = SecondVerdict(**{**also, "official_results": _results(also["official_results"])})
    shared = {
        name: about[name]
        for name in ("sandbox", "python_version", "stop", "compare", "extract")
        if name in about
    }
    kept = {
        name: values[name]
        for name in ("profile", "isolation", "sandbox_level", "policy_hash")
        if name in values
    }
    return Grade(
        values["problem_id"],
        values["sample"],
        values["passed"],
        values["verdict"],
        tuple(CaseResult(**test) for test in values["tests"]),
        values["feedback"],
        message=about.get("message", ""),
        reason=None if reason is None else Reason(**reason),
        flags=tuple(values["flags"]),
        official_results=_results(about.get("official_results")),
        official_metadata=about.get("official_metadata"),
        also=also,
        grader=_shared(**shared, **kept),
    )


@lru_cache
def _shared(**facts: Any) -> GraderIdentity:
    """One object for all grades of a grader."""
    return GraderIdentity(**facts)


def _results(results: list[bool | int] | None) -> tuple[bool | int, ...] | None:
    return None if results is None else tuple(results)
