"""Which problems of a file to keep, by what is known of them without their tests."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opsd_rs.errors import BadInput
from opsd_rs.problems import livecodebench, ours
from opsd_rs.records import Problem


@dataclass(frozen=True, slots=True)
class Filters:
    """Which problems to keep; an empty filter keeps all.

    >>> Filters(difficulty=("easy",), date_from="2025-02-01", date_to="2025-05-01").why_not(
    ...     Problem("a", "Add.", (), difficulty="hard"))
    'difficulty'
    """

    kind: Literal["all", "function", "stdin"] = "all"
    difficulty: tuple[str, ...] = ()
    platform: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    """Names as in the file; for LiveCodeBench also ranges (``v4_v6``) and sums (``release_v6``)."""
    date_from: str | None = None
    """First date kept."""
    date_to: str | None = None
    """First date no longer kept."""
    limit: int | None = None
    """Stop after so many kept problems."""

    def __post_init__(self) -> None:
        for key in ("date_from", "date_to"):
            value = getattr(self, key)
            if value is not None and not ours.is_date(value):
                raise BadInput(f"problems.{key}: {value!r} is not a date like 2025-02-01")

    def why_not(self, problem: Problem) -> str | None:
        """The first filter that drops the problem; None: it stays. Tests are not looked at."""
        if self.kind not in ("all", problem.kind):
            return "kind"
        if self.difficulty and problem.difficulty not in self.difficulty:
            return "difficulty"
        if self.platform and problem.platform not in self.platform:
            return "platform"
        if self.release and not any(problem.release in _meanings(word) for word in self.release):
            return "release"
        # ISO dates sort as text; a problem without a date lies in no window.
        if self.date_from is not None and (problem.date is None or problem.date < self.date_from):
            return "date"
        if self.date_to is not None and (problem.date is None or problem.date >= self.date_to):
            return "date"
        return None


def check_words(path: str | Path, filters: Filters, met: Mapping[str, set[str]]) -> None:
    """A filter word that matches no problem is a typing error, not an empty filter."""
    for key, values in met.items():
        for word in getattr(filters, key):
            if not values & _meanings(word, key):
                close = difflib.get_close_matches(word, values, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(values))}"
                raise BadInput(f"problems.{key}: no problem in {path} has {word!r}: {hint}")


def _meanings(word: str, key: str = "release") -> set[str]:
    """The values that a filter word stands for: itself, and the increments of a LiveCodeBench release."""
    if key == "release" and re.fullmatch(r"release_(v\d+|latest)|v\d+_v\d+", word):
        return {word, *livecodebench.expand_release(word)}
    return {word}
