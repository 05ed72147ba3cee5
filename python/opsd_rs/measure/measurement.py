"""The graded answers of one measurement as arrays: what every accuracy, gap and error is computed from.

In: samples of the arms A, B and T. Out: per arm whether each answer passed, was cut off, had context, in the order of
problem and sample number, so that arms align answer by answer.
"""

# Shapes: N problems, S samples per problem.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opsd_rs.measure.samples import Sample

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """One arm: (N, S) each."""

    passed_NS: Floats
    """1 or 0; nan where it was not drawn, or its grading failed."""
    drawn_NS: Bools
    truncated_NS: Bools
    helped_NS: Bools
    """Of T: its teacher had something privileged to read."""
    samples: Sequence[Sample]

    @property
    def num_samples(self) -> int:
        """Per problem, the most of any."""
        return int(self.drawn_NS.sum(axis=1).max(initial=0))

    @property
    def nulls(self) -> int:
        """Answers whose grading failed."""
        return int((self.drawn_NS & np.isnan(self.passed_NS)).sum())

    @property
    def seconds(self) -> float | None:
        """Wall time of the arm; None where it was not kept."""
        known = [sample.seconds for sample in self.samples if sample.seconds is not None]
        return sum(known) if known else None

    @property
    def gpu_seconds(self) -> float | None:
        """Wall time times GPUs; None without a GPU."""
        known = [sample.gpu_seconds for sample in self.samples if sample.gpu_seconds is not None]
        return sum(known) if known else None

    @property
    def tokens(self) -> int:
        """Generated."""
        return sum(sample.num_tokens for sample in self.samples)

    def complete(self) -> Floats:
        """As ``passed_NS``, without answers that were cut off at the longest length."""
        return np.where(self.truncated_NS, np.nan, self.passed_NS)

    def of_samples(self, first: int, last: int) -> Answers:
        """Only the samples ``first`` to ``last - 1``; the others count as not drawn."""
        inside = np.zeros(self.passed_NS.shape[1], np.bool_)
        inside[first:last] = True
        return replace(
            self,
            passed_NS=np.where(inside, self.passed_NS, np.nan),
            drawn_NS=self.drawn_NS & inside,
            samples=[sample for sample in self.samples if first <= sample.sample < last],
        )


@dataclass(frozen=True)
class Measurement:
    """The arms of one measurement."""

    problems: tuple[str, ...]
    group_size: int
    built_from: Answers
    """A, by the tests that may reach a context."""
    full_NS: Floats | None
    """A by all tests; None where that was not judged."""
    bare: Answers
    """B."""
    bare_is_a: bool
    """B are the answers of A (``gap.baseline = "paper"``)."""
    teachers: dict[str, Answers]
    """T, by context."""

    @property
    def num_groups(self) -> int:
        """Of A."""
        return int(self.built_from.passed_NS.shape[1]) // self.group_size


def arrange(samples: Iterable[Sample], *, group_size: int | None = None) -> Measurement | None:
    """The measurement that ``samples`` of arms A, B and T make up; None without an answer of A or of a teacher.

    A sample that comes twice counts as the later one. Without B, as in tables of others, A is the student's term.

    :param group_size: unset, what the groups of A say
    """
    unique = {(s.arm, s.context, s.problem_id, s.sample): s for s in samples if s.arm in ("A", "B", "T")}
    by_arm: dict[tuple[str, str], list[Sample]] = {}
    for sample in unique.values():
        by_arm.setdefault((sample.arm, sample.context), []).append(sample)
    a, b = by_arm.get(("A", "")), by_arm.get(("B", ""))
    teachers = {context: found for (arm, context), found in by_arm.items() if arm == "T"}
    if not a or not teachers:
        return None
    problems = tuple(dict.fromkeys(sample.problem_id for sample in a))
    size = group_size or 1 + max(s.sample for s in a if not s.group)
    width = -(-(1 + max(s.sample for arm in (a, *teachers.values()) for s in arm)) // size) * size
    places = {name: place for place, name in enumerate(problems)}
    built_from = _answers(a, places, width)
    judged = np.full(built_from.passed_NS.shape, np.nan)
    for sample in a:
        if sample.passed_full is not None:
            judged[places[sample.problem_id], sample.sample] = sample.passed_full
    full = None if np.isnan(judged).all() else judged
    if b is None:
        b = [replace(s, passed=s.passed if s.passed_full is None else s.passed_full) for s in a]
    longest = max(width, -(-(1 + max(s.sample for s in b)) // size) * size)
    return Measurement(
        problems=problems,
        group_size=size,
        built_from=built_from,
        full_NS=full,
        bare=_answers(b, places, longest),
        bare_is_a=b[0].arm == "A" or any(s.parent_sample is not None for s in b),
        teachers={context: _answers(found, places, width) for context, found in teachers.items()},
    )


def _answers(samples: Sequence[Sample], places: dict[str, int], width: int) -> Answers:
    passed = np.full((len(places), width), np.nan)
    drawn, truncated, helped = (np.zeros(passed.shape, np.bool_) for _ in range(3))
    kept = [sample for sample in samples if sample.problem_id in places]
    for sample in kept:
        at = places[sample.problem_id], sample.sample
        drawn[at] = True
        truncated[at] = sample.truncated
        helped[at] = sample.helped
        if sample.passed is not None:
            passed[at] = sample.passed
    return Answers(passed, drawn, truncated, helped, kept)
