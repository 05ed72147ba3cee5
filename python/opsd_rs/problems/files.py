"""Problem files of every form, read row by row through the filters.

Each row's keys say whose form it is: ours, LiveCodeBench's, or that of a public data set or a trainer's table
(``rows``). Tests are large and may be packed, so LiveCodeBench's rows are filtered by their other fields before their
tests are opened. Every fault is one line: file, line number, key, fix.
"""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from opsd_rs.base import expand
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.inputs import Record, Value, lines, records
from opsd_rs.problems import livecodebench
from opsd_rs.problems.entries import Entry, Form, located
from opsd_rs.problems.filters import Filters, check_words
from opsd_rs.problems.unsupported import Unsupported
from opsd_rs.records import Problem

BUILT_IN = ("primer",)
"""Problem sets inside the package."""
SECONDS_PER_LINE = 2.0
UNSUPPORTED = "unsupported"
"""Under which rows that are no problem of ours are counted among the dropped."""


class Index(dict[str, Entry]):
    """The problems of a file by id, not opened; and what stands in the way of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable: list[str] = []
        """Rows that have no name: what is wrong with each."""
        self.ambiguous: dict[str, list[str]] = {}
        """Short names that several rows have, with the names that these rows go by instead."""


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

    Rows that are no problem of ours (see docs/grader.md, Problems) are left out; :func:`read` counts them.

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

    :param progress: is called with the count now and then, LiveCodeBench's files are large; and with the first row of
        those that are no problem of ours
    """
    chosen = filters or Filters()
    kept: list[Problem] = []
    entries: list[Entry] = []
    places: list[int] = []
    dropped: Counter[str] = Counter()
    met: dict[str, set[str]] = {"difficulty": set(), "platform": set(), "release": set()}
    first_unsupported: Unsupported | None = None
    pace = _Pace()
    for entry, value in _entries(path):
        entries.append(entry)
        try:
            with located(entry.where):
                head = entry.head_of(value)
                for key, values in met.items():
                    values.add(getattr(head, key) or "none")
                reason = chosen.why_not(head)
                if reason is None:
                    kept.append(entry.problem_of(value))
                    places.append(len(entries) - 1)
        except Unsupported as error:
            entries[-1].problem_id = entry.where  # no problem, so it takes no problem's name
            reason, first_unsupported = UNSUPPORTED, first_unsupported or error
        if reason is not None:
            dropped[reason] += 1
        if progress is not None and pace.is_due():
            progress(f"{path}: {len(entries)} problems read, {len(kept)} kept")
        if len(kept) == chosen.limit:
            break
    else:
        check_words(path, chosen, met)
    if not entries:
        raise BadInput(f"{path}: holds no problem: one JSON object per line is expected")
    if not kept:
        if first_unsupported is not None and set(dropped) == {UNSUPPORTED}:
            raise BadInput(f"{first_unsupported}{_others(dropped)}")
        taken = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
        raise BadInput(
            f"problems: none of the {len(entries)} in {path} passes the filters (dropped by {taken})"
        )
    if first_unsupported is not None and progress is not None:
        progress(f"left out: {first_unsupported}{_others(dropped)}")
    _named_apart(entries)
    named = [entries[place].problem_id for place in places]
    return [_called(problem, name) for problem, name in zip(kept, named, strict=True)], len(entries), dropped


def index(path: str | Path, *, progress: Callable[[str], None] | None = None) -> Index:
    """All problems of a file by id, not opened: for readers that need them one by one.

    A row that has no name is listed as unreadable; all other faults come when a problem is opened.

    :raises BadInput: no row has a name, or two have the same one
    """
    found = Index()
    entries: list[Entry] = []
    pace = _Pace()
    for entry, _ in _entries(path, found.unreadable):
        entries.append(entry)
        if progress is not None and pace.is_due():
            progress(f"{path}: {len(entries)} problems read")
    if not entries:
        raise BadInput(
            found.unreadable[0]
            if found.unreadable
            else f"{path}: holds no problem: one JSON object per line is expected"
        )
    found.ambiguous = _named_apart(entries)
    found.update((entry.problem_id, entry) for entry in entries)
    return found


class _Pace:
    """Says when the next line about a long read is due: small files are read without a word."""

    def __init__(self) -> None:
        self._next = time.monotonic() + SECONDS_PER_LINE

    def is_due(self) -> bool:
        """True once in a while."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + SECONDS_PER_LINE
        return True


def _others(dropped: Counter[str]) -> str:
    count = dropped[UNSUPPORTED] - 1
    return f" (and {count} more rows)" if count else ""


def _called(problem: Problem, name: str) -> Problem:
    return problem if problem.problem_id == name else dataclasses.replace(problem, problem_id=name)


def _named_apart(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Give rows of one name their longer ones; the longer names by the short one.

    :raises BadInput: two rows have the same name, and nothing tells them apart
    """
    counts = Counter(entry.problem_id for entry in entries)
    renamed: dict[str, list[str]] = {}
    for entry in entries:
        if counts[entry.problem_id] > 1 and entry.qualified is not None:
            short = entry.problem_id
            entry.rename()
            renamed.setdefault(short, []).append(entry.problem_id)
    origin: dict[str, str] = {}
    for entry in entries:
        name = entry.problem_id
        if name in origin:
            raise BadInput(
                f"{entry.where}: key problem_id: {name!r} is already at {origin[name]}: give each problem its own"
            )
        origin[name] = entry.where
    return renamed


def _entries(path: str | Path, unreadable: list[str] | None = None) -> Iterator[tuple[Entry, Value]]:
    """Per row: the entry, and the row as it is in memory now."""
    for file, found in _files(path):
        form: Form | None = None
        release = livecodebench.release_of(file)
        for record in found:
            try:
                entry = Entry(record, file, release, form)
            except BadInput as error:
                if unreadable is None:
                    raise
                unreadable.append(str(error))
                continue
            form = entry.form
            yield entry, record.value


def _files(path: str | Path) -> Iterator[tuple[Path, Iterator[Record]]]:
    if str(path) in BUILT_IN:
        from importlib.resources import files

        resource = files("opsd_rs").joinpath("data", f"{path}.jsonl")
        if not resource.is_file():
            raise OpsdError(f"problems.path: the built-in set {path!r} is missing from this installation")
        file = Path(f"{path}.jsonl")
        yield file, lines(file, resource.read_bytes().splitlines())
        return
    place = expand(path)
    if place.is_dir():
        found = [place / name for name in livecodebench.RELEASES.values() if (place / name).is_file()]
        found = found or sorted(place.glob("*.parquet")) or sorted(place.glob("data/*.parquet"))
        if not found:
            raise BadInput(
                f"problems.path: {path} is a folder without LiveCodeBench's test*.jsonl or a parquet file: name a file"
            )
    elif place.exists():  # a pipe is no regular file
        found = [place]
    else:
        close = difflib.get_close_matches(str(path), BUILT_IN, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "name a jsonl file or 'primer'"
        raise BadInput(f"problems.path: no such file: {path}: {hint}")
    for file in found:
        yield file, records(file)
