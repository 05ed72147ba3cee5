"""Problem files: the built-in set, our jsonl, LiveCodeBench's jsonl, read line by line through the filters.

The first line decides the format. LiveCodeBench's tests are large and packed, so a record is filtered by its
other fields before its tests are opened. Every fault is one line: file, line number, key, mend.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from opsd_rs import livecodebench, problem_lines
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.records import Case, Problem

BUILT_IN = ("primer",)
"""Problem sets inside the package."""


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
            if value is not None and not problem_lines.is_date(value):
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


def load(
    path: str | Path,
    *,
    kind: Literal["all", "function", "stdin"] = "all",
    difficulty: Sequence[str] = (),
    platform: Sequence[str] = (),
    release: Sequence[str] = (),
    date_from: str | None = None,
    date_to: str | None = None,
    limit: int | None = None,
) -> list[Problem]:
    """Read problems: ``primer``, a jsonl file of ours or LiveCodeBench's, or a folder of the latter's files.

    :param date_from: first date kept, ISO
    :param date_to: first date no longer kept
    :raises BadInput: names file, line and key; also where nothing passes the filters
    """
    filters = Filters(kind, tuple(difficulty), tuple(platform), tuple(release), date_from, date_to, limit)
    return read(path, filters)[0]


def read(
    path: str | Path, filters: Filters | None = None, *, progress: Callable[[str], None] | None = None
) -> tuple[list[Problem], int, Counter[str]]:
    """As :func:`load`; also how many problems were read and how many each filter dropped.

    :param progress: is told the count now and then; LiveCodeBench's files are large
    """
    chosen = filters or Filters()
    kept: list[Problem] = []
    dropped: Counter[str] = Counter()
    origin: dict[str, str] = {}
    met: dict[str, set[str]] = {"difficulty": set(), "platform": set(), "release": set()}
    for where, problem, tests in _records(path):
        if problem.problem_id in origin:
            raise BadInput(
                f"{where}: key problem_id: {problem.problem_id!r} is already at "
                f"{origin[problem.problem_id]}: give each problem its own"
            )
        origin[problem.problem_id] = where
        for key, values in met.items():
            values.add(getattr(problem, key) or "none")
        reason = chosen.why_not(problem)
        if reason is not None:
            dropped[reason] += 1
        else:
            with _located(where):
                kept.append(dataclasses.replace(problem, tests=tests()))
        if progress is not None and len(origin) % 50 == 0:
            progress(f"{path}: {len(origin)} problems read, {len(kept)} kept")
        if len(kept) == chosen.limit:
            break
    else:
        _check_words(path, chosen, met)
    if not origin:
        raise BadInput(f"{path}: holds no problem: one JSON object per line is expected")
    if not kept:
        taken = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
        raise BadInput(
            f"problems: none of the {len(origin)} in {path} passes the filters (dropped by {taken})"
        )
    return kept, len(origin), dropped


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Put ``file:line`` before a BadInput raised inside the block."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error.__cause__


def _records(path: str | Path) -> Iterator[tuple[str, Problem, Callable[[], tuple[Case, ...]]]]:
    """Per line: where it stands, the problem (LiveCodeBench's without tests), and how to get its tests."""
    for file, lines in _files(path):
        theirs: bool | None = None
        release = livecodebench.release_of(file)
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{file}:{number}"
            with _located(where):
                if theirs is None:
                    theirs = livecodebench.is_record(problem_lines.parse_object(line))
                if theirs:
                    record = problem_lines.parse_object(line)
                    problem = livecodebench.head(record, release)
                    tests = partial(livecodebench.cases, record)
                else:
                    problem = problem_lines.parse(line)
                    tests = partial(getattr, problem, "tests")
            yield where, problem, tests


def _files(path: str | Path) -> Iterator[tuple[Path, Iterator[bytes]]]:
    if str(path) in BUILT_IN:
        from importlib.resources import files

        resource = files("opsd_rs").joinpath("data", f"{path}.jsonl")
        if not resource.is_file():
            raise OpsdError(f"problems.path: the built-in set {path!r} is missing from this installation")
        yield Path(f"{path}.jsonl"), iter(resource.read_bytes().splitlines())
        return
    place = Path(path).expanduser()
    if place.is_dir():
        found = [place / name for name in livecodebench.RELEASES.values() if (place / name).is_file()]
        if not found:
            raise BadInput(
                f"problems.path: {path} is a folder without LiveCodeBench's test*.jsonl: name a file"
            )
    elif place.is_file():
        found = [place]
    else:
        close = difflib.get_close_matches(str(path), BUILT_IN, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "name a jsonl file or 'primer'"
        raise BadInput(f"problems.path: no such file: {path}: {hint}")
    for file in found:
        try:
            with file.open("rb") as lines:
                yield file, lines
        except OSError as error:
            raise BadInput(f"problems.path: {file}: {error.strerror}") from error


def _check_words(path: str | Path, filters: Filters, met: Mapping[str, set[str]]) -> None:
    """A filter word that no problem bears is a typing error, not an empty wish."""
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
