"""Problem files of every form, read record by record through the filters.

The first record's keys decide whose form it is: ours, LiveCodeBench's, or lists of inputs and outputs (APPS, TACO,
SDPO). Tests are large and may be packed, so a record is filtered by its other fields before its tests are opened.
Every fault is one line: file, line number, key, fix.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from opsd_rs.base import expand
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.problems import livecodebench, ours, pairs, raw
from opsd_rs.records import Case, Problem

BUILT_IN = ("primer",)
"""Problem sets inside the package."""


Form = Literal["ours", "livecodebench", "pairs"]
"""Whose keys a file's records bear: see ``ours``, ``livecodebench``, ``pairs``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One problem of a file: all but its tests, and how to read those."""

    where: str
    """``file:line``."""
    head: Problem
    """Without tests."""
    card: Mapping[str, str] | None
    """LiveCodeBench's own fields, as its runner writes them out again; None for other files."""
    tests: Callable[[], tuple[Case, ...]]
    """Reads the tests from the file again; raises BadInput with file, line and key."""

    def open(self) -> Problem:
        """The problem with its tests."""
        return dataclasses.replace(self.head, tests=self.tests())


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
    """Read problems: ``primer``, a jsonl, json or parquet file of any known form, or a folder of LiveCodeBench's.

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

    :param progress: is called with the count now and then; LiveCodeBench's files are large
    """
    chosen = filters or Filters()
    kept: list[Problem] = []
    dropped: Counter[str] = Counter()
    origin: dict[str, str] = {}
    met: dict[str, set[str]] = {"difficulty": set(), "platform": set(), "release": set()}
    for entry, tests in _entries(path):
        where, problem = entry.where, entry.head
        _check_new(entry, origin)
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


def index(path: str | Path, *, progress: Callable[[str], None] | None = None) -> dict[str, Entry]:
    """All problems of a file by id, tests not read: for readers that need them one by one.

    :raises BadInput: as :func:`load`; faults of a problem's tests come when it is opened
    """
    entries: dict[str, Entry] = {}
    origin: dict[str, str] = {}
    for entry, _ in _entries(path):
        _check_new(entry, origin)
        entries[entry.head.problem_id] = entry
        if progress is not None and len(entries) % 50 == 0:
            progress(f"{path}: {len(entries)} problems read")
    if not entries:
        raise BadInput(f"{path}: holds no problem: one JSON object per line is expected")
    return entries


def _check_new(entry: Entry, origin: dict[str, str]) -> None:
    name = entry.head.problem_id
    if name in origin:
        raise BadInput(
            f"{entry.where}: key problem_id: {name!r} is already at {origin[name]}: give each problem its own"
        )
    origin[name] = entry.where


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Put ``file:line`` before a BadInput raised inside the block."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error.__cause__


def _entries(path: str | Path) -> Iterator[tuple[Entry, Callable[[], tuple[Case, ...]]]]:
    """Per record: the entry, and its tests from what is in memory now."""
    for file, found in _files(path):
        form: Form | None = None
        release = livecodebench.release_of(file)
        for record in found:
            with _located(record.where):
                form = form or _form(record.value)
                head, card = _head(form, record, release)
            tests = partial(_tests, form, record.value)
            head = _beside(head, file)
            yield Entry(record.where, head, card, partial(_again, form, record)), tests


def _form(value: raw.Value) -> Form:
    first = _object(value)
    if livecodebench.is_record(first) and "private_test_cases" in first:
        return "livecodebench"
    if pairs.is_record(first):
        return "pairs"
    return "livecodebench" if livecodebench.is_record(first) else "ours"


def _head(form: Form, record: raw.Record, release: str | None) -> tuple[Problem, Mapping[str, str] | None]:
    if form == "livecodebench":
        found = _object(record.value)
        return livecodebench.head(found, release), livecodebench.card(found)
    if form == "pairs":
        return pairs.pairs_head(_object(record.value), record.number), None
    return dataclasses.replace(_ours(record.value), tests=()), None


def _tests(form: Form, value: raw.Value) -> tuple[Case, ...]:
    if form == "livecodebench":
        return livecodebench.cases(_object(value))
    return pairs.pairs_cases(_object(value)) if form == "pairs" else _ours(value).tests


def _again(form: Form, record: raw.Record) -> tuple[Case, ...]:
    with _located(record.where):
        return _tests(form, record.again())


def _object(value: raw.Value) -> Mapping[str, Any]:
    return ours.parse_object(value) if isinstance(value, bytes) else value


def _ours(value: raw.Value) -> Problem:
    if isinstance(value, bytes):
        return ours.parse(value)
    # A table has every column in every row: an absent key is a null there.
    return ours.parse(json.dumps(_without_nulls(value)).encode())


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


def _files(path: str | Path) -> Iterator[tuple[Path, Iterator[raw.Record]]]:
    if str(path) in BUILT_IN:
        from importlib.resources import files

        resource = files("opsd_rs").joinpath("data", f"{path}.jsonl")
        if not resource.is_file():
            raise OpsdError(f"problems.path: the built-in set {path!r} is missing from this installation")
        file = Path(f"{path}.jsonl")
        yield file, raw.lines(file, resource.read_bytes().splitlines())
        return
    place = expand(path)
    if place.is_dir():
        found = [place / name for name in livecodebench.RELEASES.values() if (place / name).is_file()]
        found = found or sorted(place.glob("*.parquet"))
        if not found:
            raise BadInput(
                f"problems.path: {path} is a folder without LiveCodeBench's test*.jsonl or a parquet file: name a file"
            )
    elif place.is_file():
        found = [place]
    else:
        close = difflib.get_close_matches(str(path), BUILT_IN, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "name a jsonl file or 'primer'"
        raise BadInput(f"problems.path: no such file: {path}: {hint}")
    for file in found:
        yield file, raw.read(file)


def _check_words(path: str | Path, filters: Filters, met: Mapping[str, set[str]]) -> None:
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
