"""The graded answers behind each point of a law, as counts per problem, for drawing them again.

In: tables of samples (``samples.parquet`` of run folders, or any table with its columns) and the points of a fit. Out:
the arms of each point. Columns used: run_id, arm (B, T, V0, V1), problem_id, group_id, context_kind, correct.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import read_records
from opsd_rs.errors import BadInput

Floats = NDArray[np.float64]
NEEDED = ("run_id", "arm", "problem_id", "correct")
ARMS = ("B", "T", "V0", "V1")
Key = tuple[str, str, str, str]
"""Table, run_id, arm, context."""


@dataclass(frozen=True)
class Answers:
    """One arm: share of correct answers per problem (N,), and what they were drawn from.

    >>> Answers.of({"a": [(1, 2)], "b": [(2, 2)]}, ["a", "b"]).shares.tolist()
    [0.5, 1.0]
    """

    shares: Floats
    samples: Floats
    """Graded answers per problem (N,)."""
    groups: Floats | None
    """Share of each group (N, G) where every problem has the same number, two or more."""
    key: str
    """Equal answers have equal keys: one measurement in several runs is drawn once."""

    @classmethod
    def of(cls, graded: Mapping[str, Sequence[tuple[int, int]]], problems: Sequence[str]) -> Answers:
        """From each problem's groups, as (passed, graded)."""
        table = [list(graded[problem]) for problem in problems]
        samples = np.array([sum(size for _, size in row) for row in table], dtype=np.float64)
        shares = np.array([sum(passed for passed, _ in row) for row in table], dtype=np.float64) / samples
        equal = {len(row) for row in table}
        groups = None
        if len(equal) == 1 and max(equal) > 1:
            groups = np.array([[passed / size for passed, size in row] for row in table])
        return cls(shares, samples, groups, hashlib.sha256(repr((problems, table)).encode()).hexdigest())

    def variance(self) -> float:
        """Squared error of the mean, problems held."""
        n = len(self.shares)
        if self.groups is not None:
            return float((self.groups.var(axis=1, ddof=1) / self.groups.shape[1]).sum()) / n**2
        several = self.samples > 1
        spread = self.shares * (1 - self.shares)
        return float((spread[several] / (self.samples[several] - 1)).sum()) / n**2

    def redraw(self, draw: np.random.Generator, size: int) -> Floats:
        """Deviations of the mean (size,) under new answers to the same problems."""
        n = len(self.shares)
        if self.groups is not None:
            count = self.groups.shape[1]
            chosen = draw.integers(0, count, (size, n, count))
            drawn = np.take_along_axis(self.groups[None], chosen, axis=2).mean(axis=2)
            # Of G groups drawn again the spread is (G - 1) / G of theirs.
            return np.asarray((drawn - self.shares).mean(axis=1) * math.sqrt(count / (count - 1)))
        scale = np.sqrt(self.samples / np.maximum(self.samples - 1, 1))
        drawn = draw.binomial(self.samples.astype(np.int64), self.shares, (size, n)) / self.samples
        return np.asarray(((drawn - self.shares) * scale).mean(axis=1))

    def choose(self, problems_DN: NDArray[np.int64] | None) -> Floats:
        """Deviations of the mean (D,) over drawn problems; ValueError where arms differ in their problems."""
        n = len(self.shares)
        if problems_DN is None or problems_DN.shape[1] != n:
            raise ValueError("arms of different problems cannot share a draw of problems")
        drawn = self.shares[problems_DN].mean(axis=1) - self.shares.mean()
        return np.asarray(drawn * math.sqrt(n / (n - 1)) if n > 1 else drawn)

    def without_each(self) -> Floats:
        """Deviations of the mean without each problem (N,)."""
        n = len(self.shares)
        return np.asarray((self.shares.sum() - self.shares) / max(n - 1, 1) - self.shares.mean())


@dataclass(frozen=True)
class PointAnswers:
    """The arms behind one point, as pairs whose difference is a run's; empty where no table holds them."""

    gaps: list[tuple[Answers, Answers]] = field(default_factory=list)
    """Student and teacher, per measured gap."""
    runs: list[tuple[Answers, Answers]] = field(default_factory=list)
    """Validation before and after, per run."""

    @property
    def complete(self) -> bool:
        """The gap and every run's validation are there."""
        return bool(self.gaps and self.runs)

    def arms(self) -> list[Answers]:
        """All that there are."""
        return [arm for pair in (*self.gaps, *self.runs) for arm in pair]


def sample_tables(named: Sequence[Path], tables: Sequence[Path]) -> list[Path]:
    """The tables of samples: those named (files, or folders that hold one), else those beside the tables of runs.

    :raises BadInput: a named path that is neither
    """
    found = []
    for path in named:
        file = path / "samples.parquet" if path.is_dir() else path
        if not file.is_file():
            raise BadInput(f"--samples {path}: no such file, and no run folder with samples.parquet")
        found.append(file)
    return found or [file for path in tables if (file := path.parent / "samples.parquet").is_file()]


def point_answers(points: Sequence[Mapping[str, Any]], paths: Iterable[Path]) -> list[PointAnswers]:
    """The answers behind each point.

    A run's validation is found by its run_id; the gap's teacher by run_id and context, else by context alone (a gap
    that several runs share); its student in the teacher's table.

    :raises BadInput: a table without the needed columns
    """
    graded: dict[Key, dict[str, list[tuple[int, int]]]] = {}
    for path in paths:
        _read(path, graded)
    problems = sorted({problem for arm in graded.values() for problem in arm})
    # An arm that lacks a problem has another mean than the table's; its point moves by its stated error.
    whole = {key: Answers.of(arm, problems) for key, arm in graded.items() if len(arm) == len(problems)}
    return [_of_point(point, whole) for point in points]


def counts_of(paths: Iterable[Path]) -> tuple[list[int], list[int]]:
    """Passed and graded answers of the student before training, per problem: B, else V0, each measurement once.

    :raises BadInput: tables without such answers
    """
    graded: dict[Key, dict[str, list[tuple[int, int]]]] = {}
    for path in paths:
        _read(path, graded)
    for arm in ("B", "V0"):
        counts: dict[str, list[int]] = {}
        seen: set[str] = set()
        for key, by_problem in graded.items():
            text = repr(sorted(by_problem.items()))
            if key[2] != arm or text in seen:
                continue
            seen.add(text)
            for problem, groups in by_problem.items():
                known = counts.setdefault(problem, [0, 0])
                known[0] += sum(passed for passed, _ in groups)
                known[1] += sum(size for _, size in groups)
        if counts:
            return [passed for passed, _ in counts.values()], [size for _, size in counts.values()]
    raise BadInput("the samples hold no answers of the student before training (arms B, V0)")


def _read(path: Path, graded: dict[Key, dict[str, list[tuple[int, int]]]]) -> None:
    import polars

    if path.suffix == ".parquet":
        try:
            frame = polars.read_parquet(io.BytesIO(path.read_bytes()))
        except polars.exceptions.PolarsError as error:
            raise BadInput(f"{path}: no parquet table: {str(error).splitlines()[0]}") from None
    else:
        frame = polars.DataFrame(read_records(path), infer_schema_length=None)
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise BadInput(f"{path}: column {', '.join(missing)} is missing; these are no graded answers")
    text = polars.col("correct").cast(polars.String).str.to_lowercase()
    for name in ("group_id", "context_kind"):
        if name not in frame.columns:
            frame = frame.with_columns(polars.lit(None).alias(name))
    counted = (
        frame.filter(polars.col("arm").is_in(ARMS) & polars.col("correct").is_not_null())
        .with_columns(
            polars.col("group_id", "context_kind", "run_id").cast(polars.String).fill_null(""),
            text.is_in(["true", "1"]).alias("passed"),
        )
        .group_by("run_id", "arm", "context_kind", "problem_id", "group_id")
        .agg(polars.col("passed").sum(), polars.len().alias("size"))
        .sort("run_id", "arm", "context_kind", "problem_id", "group_id")
    )
    for run_id, arm, context, problem, _, passed, size in counted.iter_rows():
        groups = graded.setdefault((str(path), run_id, arm, context), {}).setdefault(str(problem), [])
        groups.append((passed, size))


def _of_point(point: Mapping[str, Any], whole: Mapping[Key, Answers]) -> PointAnswers:
    run_ids = [str(seed["run_id"]) for seed in point["seeds"]]
    runs = [
        (whole[before], whole[after])
        for run_id in run_ids
        if (before := _find(whole, "V0", run_id)) and (after := _find(whole, "V1", run_id))
    ]
    teachers = [key for run_id in run_ids if (key := _find(whole, "T", run_id, context=point["context"]))]
    if len(teachers) < len(run_ids):
        shared = _find(whole, "T", context=point["context"])
        teachers = [shared] if shared else []
    gaps = [
        (whole[student], whole[teacher])
        for teacher in teachers
        if (student := _find(whole, "B", teacher[1], path=teacher[0]) or _find(whole, "B", path=teacher[0]))
    ]
    return PointAnswers(gaps if len(gaps) == len(teachers) else [], runs if len(runs) == len(run_ids) else [])


def _find(
    whole: Mapping[Key, Answers],
    arm: str,
    run_id: str | None = None,
    *,
    context: str | None = None,
    path: str = "",
) -> Key | None:
    for key in whole:
        fits = key[2] == arm and run_id in (None, key[1]) and context in (None, key[3])
        if fits and path in ("", key[0]):
            return key
    return None
