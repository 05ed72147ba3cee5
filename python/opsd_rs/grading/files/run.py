"""Grading from file to file: every program runs once, every verdict is kept, a killed run can continue.

In: problems that can be opened one by one, a solutions file, the name of a results file. Out: that file, its journal,
and the summary. Equal programs (see ``files.keys``) run once and their result is copied; programs that the journal or
the cache knows do not run at all. A problem is opened when its first program is due, so the tests of all problems need
not fit in memory together.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Unpack

from opsd_rs.base import MOST_TEST_CHARS, SizedLru, Ticker, num_test_chars
from opsd_rs.config import GraderOptions, GraderSettings
from opsd_rs.errors import BadInput, DiskFull
from opsd_rs.grading.cluster.grader import RayGrader
from opsd_rs.grading.files.cache import Cache
from opsd_rs.grading.files.journal import Journal
from opsd_rs.grading.files.keys import grader_digest, problem_digest, program_key
from opsd_rs.grading.files.lcb import Outcome, outcome, write
from opsd_rs.grading.files.record import Record, is_settled
from opsd_rs.grading.files.report import Tally, summarise
from opsd_rs.grading.files.results import Results
from opsd_rs.grading.files.solutions import read_solutions
from opsd_rs.grading.grader import Grader
from opsd_rs.records import Problem, Solution


class Entry(Protocol):
    """A problem whose tests are read on demand."""

    @property
    def head(self) -> Problem:
        """All but the tests."""

    @property
    def card(self) -> Mapping[str, str] | None:
        """LiveCodeBench's own fields, if it is one of its problems."""

    def open(self) -> Problem:
        """The problem with its tests; raises BadInput where they are corrupt."""


@dataclasses.dataclass(frozen=True)
class _Held:
    """A problem that is in memory already."""

    problem: Problem
    card: None = None

    @property
    def head(self) -> Problem:
        return self.problem

    def open(self) -> Problem:
        return self.problem


def grade_files(
    problems: Sequence[Problem] | Mapping[str, Entry],
    solutions: Path,
    out: Path,
    *,
    resume: bool = False,
    cache: Path | None = None,
    progress: bool = False,
    ray: str | None = None,
    settings: GraderSettings | None = None,
    **options: Unpack[GraderOptions],
) -> dict[str, Any]:
    """Grade a solutions file; one result per solution in ``out``, written whole as each finishes.

    :param out: ``.parquet`` makes a table at the end, every other suffix lines of JSON at once; ``out.journal`` holds
        each finished program
    :param resume: continue with the journal of a run that was cut short, or add solutions to a finished one
    :param cache: folder of verdicts shared between runs
    :param ray: address of a Ray cluster to grade on, see :class:`RayGrader`; None: this machine
    :param settings: as for :class:`Grader`, as are the options
    :returns: see ``files.report.summarise``; also ``num_run`` (programs run now), ``num_resumed``, ``num_cached``,
        ``num_repeated`` (solutions that copy a program's result) and ``files``
    :raises BadInput: a corrupt problem or solution, no solution, an unknown problem, an ``out`` that exists without
        ``resume``
    :raises DiskFull: no space for ``out``, its journal or the cache; ``resume`` continues with what was graded
    """
    if isinstance(problems, Mapping):
        entries: Mapping[str, Entry] = problems
    else:
        entries = {problem.problem_id: _Held(problem) for problem in problems}
    run = _Run(entries, read_solutions(solutions, entries), out, progress)
    with _hint_to_resume(), contextlib.ExitStack() as stack:
        results = Results(out, resume=resume)
        stack.callback(results.close)
        journal = stack.enter_context(Journal(out.with_name(f"{out.name}.journal"), resume=resume))
        grader: Grader | RayGrader
        if ray is None:
            grader = stack.enter_context(Grader(settings, **options))
        else:
            grader = stack.enter_context(RayGrader(ray, settings, **options))
        return run(grader, results, journal, Cache(cache) if cache is not None else None)


@contextlib.contextmanager
def _hint_to_resume() -> Iterator[None]:
    """A full disk loses nothing that was graded: say so."""
    try:
        yield
    except DiskFull as full:
        raise DiskFull(
            f"{full}, then give the command again with --resume: what was graded is kept"
        ) from full


class _Run:
    """One call of :func:`grade_files`."""

    def __init__(
        self, entries: Mapping[str, Entry], solutions: Sequence[Solution], out: Path, progress: bool
    ) -> None:
        self._entries = entries
        self._solutions = solutions
        self._out = out
        self._tell = Ticker("graded") if progress else None
        self._tally = Tally()
        self._num_done = 0
        self._num_cached = 0
        self._kept = SizedLru[str, Problem](MOST_TEST_CHARS, num_test_chars)
        self._outcomes: dict[int, Outcome] = {}

    def __call__(
        self, grader: Grader | RayGrader, results: Results, journal: Journal, cache: Cache | None
    ) -> dict[str, Any]:
        by_key = self._programs(grader)
        known = [key for key in by_key if key in journal]
        results.begin(copy for key in known for copy in self._copies(by_key[key], journal.get(key)))
        if self._tell is not None:
            self._tell.start(self._num_done, len(self._solutions))
        due = [key for key in by_key if key not in journal]
        started: list[str] = []

        def finish(key: str, record: Record) -> None:
            if is_settled(record.grade):
                journal.put(key, record)
            for copy in self._copies(by_key[key], record):
                results.write(copy)
            if self._tell is not None:
                self._tell(self._num_done, len(self._solutions))

        def items() -> Iterator[tuple[Problem, Solution]]:
            for key in due:
                kept = None if cache is None else cache.get(key)
                if kept is not None:
                    self._num_cached += 1
                    finish(key, kept)
                    continue
                solution = self._solutions[by_key[key][0]]
                started.append(key)
                yield self._open(solution.problem_id), solution

        for index, grade in grader.stream(items()):
            record = Record.of(grade)
            if cache is not None and is_settled(grade):
                cache.put(started[index], record)
            finish(started[index], record)
        results.finish()
        kept = [journal.path] if len(journal) else []
        heads = {name: self._entries[name].head for name in self._tally.passed}
        return {
            **summarise(self._tally, heads),
            "num_run": len(started),
            "num_resumed": len(known),
            "num_cached": self._num_cached,
            "num_repeated": len(self._solutions) - len(by_key),
            "files": list(map(str, (results.path, *kept, *self._official(grader.code_of)))),
        }

    def _programs(self, grader: Grader | RayGrader) -> dict[str, list[int]]:
        """Places of the solutions that share a program, by its key; problem after problem.

        Opens every problem once, so that a corrupt one is an error before anything runs.
        """
        identity = grader.identity()
        ours, rule = grader_digest(identity), str(identity["extract"])
        by_problem: dict[str, list[int]] = {}
        for index, solution in enumerate(self._solutions):
            by_problem.setdefault(solution.problem_id, []).append(index)
        by_key: dict[str, list[int]] = {}
        faults: list[str] = []
        for name, places in by_problem.items():
            try:
                problem = self._entries[name].open()
            except BadInput as error:
                faults.append(str(error))
                continue
            # Kept for grading are the first problems, not the last: those are graded first.
            if self._kept.total_size + num_test_chars(problem) <= self._kept.limit:
                self._kept.put(name, problem)
            theirs = problem_digest(problem)
            for index in places:
                key = program_key(ours, theirs, self._solutions[index], rule)
                by_key.setdefault(key, []).append(index)
        if faults:
            more = f" (and {len(faults) - 1} more problems that solutions name)" if len(faults) > 1 else ""
            raise BadInput(f"{faults[0]}{more}")
        return by_key

    def _open(self, name: str) -> Problem:
        """The problem; the same object for programs that follow each other, so that it is sent to the grader once."""
        problem = self._kept.get(name)
        if problem is None:
            problem = self._entries[name].open()
            self._kept.put(name, problem)
        return problem

    def _copies(self, places: Sequence[int], record: Record) -> Iterator[Record]:
        """The record under the name of each of its solutions, counted as it is drawn."""
        for index in places:
            name, sample = self._solutions[index].problem_id, self._solutions[index].sample
            if (record.grade.problem_id, record.grade.sample) != (name, sample):
                record = Record.of(dataclasses.replace(record.grade, problem_id=name, sample=sample))
            self._tally.add(record.grade)
            if self._entries[name].card is not None:
                self._outcomes[index] = outcome(record.grade)
            self._num_done += 1
            yield record

    def _official(self, code_of: Callable[[Solution], str]) -> Sequence[Path]:
        """LiveCodeBench's files, if these are its problems."""
        found = {name: self._entries[name].card for name in self._tally.passed}
        cards = {name: card for name, card in found.items() if card is not None}
        if not cards:
            return ()
        places = sorted(self._outcomes)
        return write(
            self._out.parent,
            self._out.stem,
            cards,
            [self._solutions[index] for index in places],
            [self._outcomes[index] for index in places],
            code_of,
        )
