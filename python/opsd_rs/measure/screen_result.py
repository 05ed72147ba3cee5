"""What a screening found: a row per context, the winner's gap on fresh samples, what was saved, what to do next.

In: the measurement so far and which rounds it had. Out: records for people, tables and programs. It draws nothing.
"""

# Shapes: M contexts, N problems, G groups.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from opsd_rs.measure.baseline import CONTROL, baseline, pools
from opsd_rs.measure.contrast import group_shares
from opsd_rs.measure.measurement import Answers, Measurement
from opsd_rs.measure.rows import GapRow, gap_rows
from opsd_rs.measure.screening import Posterior, posterior, scores

Floats = NDArray[np.float64]

SURE = 0.9
"""P(best) from which training the winner is the next action."""


@dataclass(frozen=True)
class Round:
    """Groups ``first`` to ``first + groups - 1`` of these contexts; the final one has the winner alone.

    >>> Round(("none", "feedback"), 0, 2).last
    2
    """

    contexts: tuple[str, ...]
    first: int
    groups: int
    final: bool = False

    @property
    def last(self) -> int:
        """The first group after it."""
        return self.first + self.groups


@dataclass(frozen=True)
class ScreenRow:
    """One context after screening; accuracies and gaps are fractions.

    >>> ScreenRow("feedback", 0.05, 0.01, "shrunken", 0.06, 0.51, 16, 2, 0.7, 0.2, True, 3).gap
    0.05
    """

    context: str
    gap: float
    """For decisions: of fresh samples for the winner, shrunken for the others, which were chosen by their numbers."""
    gap_se_cond: float
    estimate: Literal["fresh", "shrunken"]
    gap_raw: float
    """Of all its samples as they are; the best of many is too high in it."""
    acc_teacher: float
    k_gap: int
    gap_groups: int
    coverage: float
    p_best: float
    not_excluded: bool
    """Among the smallest set that holds the best with probability .95."""
    rounds: int
    """In which it took part."""


@dataclass(frozen=True)
class Screened:
    """The result."""

    rows: list[ScreenRow]
    """The best first."""
    winner: str
    """The best but for the control."""
    fresh: GapRow | None
    """The winner's gap on samples that had no part in choosing it; None while they are not drawn."""
    action: Literal["train", "measure_more", "do_not_train"]
    reason: str
    samples: int
    """Answers of A, B and T."""
    minutes: float
    """Of drawing and grading."""
    gpu_minutes: float | None
    flat_samples: int
    """What every context would have taken with as many samples as the winner has."""
    saved: float
    """Share of ``flat_samples`` that was not drawn."""
    more_samples: int | None
    """About how many would tell the first two apart in 80 % of screenings; None where nothing is to be told apart."""

    def said(self, config: str, run_dir: str) -> list[str]:
        """Lines for people: what it cost, and the next command.

        :param config: the words of the configuration, for that command
        """
        lines = []
        if self.fresh is not None and self.fresh.gap_ci95_low is not None:
            row = self.fresh
            lines.append(
                f"{self.winner} on {row.k_gap} fresh answers to each problem: gap {100 * (row.gap or 0):+.1f} pp, 95 %"
                f" interval {100 * (row.gap_ci95_low or 0):+.1f} to {100 * (row.gap_ci95_high or 0):+.1f} pp"
            )
        gpu = "" if self.gpu_minutes is None else f" ({self.gpu_minutes:.1f} GPU-minutes)"
        lines.append(
            f"{self.samples:,} answers in {self.minutes:.1f} minutes{gpu}; as many of every context as of the winner"
            f" would have been {self.flat_samples:,}: {100 * self.saved:.0f} % saved"
        )
        lines.append(f"next: {self.action.replace('_', ' ')}: {self.reason}")
        if self.action == "train" and self.fresh is not None:
            lines.append(
                f"  opsd-rs train {config} context={self.winner} run.dir={run_dir}-{self.winner}"
                f" gap.n={self.fresh.k_gap} gap.from={run_dir}/gap.parquet"
            )
        elif self.action == "measure_more":
            lines.append(
                f"  opsd-rs screen {config} --budget-samples {self.samples + (self.more_samples or self.samples)}"
            )
        return lines


def teacher_shares(measured: Measurement) -> Floats:
    """Shares that passed (M, N, G), contexts in the measurement's order."""
    return np.stack([group_shares(t.passed_NS, measured.group_size) for t in measured.teachers.values()])


def current(measured: Measurement) -> tuple[list[str], Posterior]:
    """The contexts and what is known of them now."""
    return list(measured.teachers), posterior(scores(teacher_shares(measured), measured.group_size))


def num_answers(measured: Measurement) -> int:
    """Of all arms."""
    arms = [measured.built_from, measured.bare, *measured.teachers.values()]
    return sum(int(arm.drawn_NS.sum()) for arm in arms)


def wall_seconds(measured: Measurement) -> float:
    """Of all arms."""
    arms = [measured.built_from, measured.bare, *measured.teachers.values()]
    return sum(arm.seconds or 0.0 for arm in arms)


def chosen_of(measured: Measurement, rounds: Sequence[Round]) -> Measurement:
    """The measurement by which the winner was chosen: without the groups of a final round at the end."""
    if not rounds or not rounds[-1].final:
        return measured
    size, last = measured.group_size, rounds[-1].first * measured.group_size
    assert size
    cut = {name: _cut(found, last) for name, found in measured.teachers.items()}
    return Measurement(
        measured.problems, size, _cut(measured.built_from, last),
        None if measured.full_NS is None else measured.full_NS[:, :last],
        measured.bare, measured.bare_is_a, cut,
    )  # fmt: skip


def _cut(found: Answers, last: int) -> Answers:
    return Answers(
        found.passed_NS[:, :last], found.drawn_NS[:, :last], found.truncated_NS[:, :last],
        found.helped_NS[:, :last], [sample for sample in found.samples if sample.sample < last],
    )  # fmt: skip


def screened(
    measured: Measurement, rounds: Sequence[Round], *, context_sha256: Mapping[str, str] | None = None
) -> Screened:
    """The result of ``rounds``, the last of which may be the final one."""
    search = chosen_of(measured, rounds)
    names, found = current(search)
    alive = [name for name in rounds[-1].contexts if name != CONTROL]
    winner = max(alive, key=lambda name: float(found.mean[names.index(name)]))
    fresh = _fresh(measured, rounds[-1], winner, context_sha256 or {}) if rounds[-1].final else None
    term = baseline(measured, pooled=pools(measured))
    student = term.accuracy()
    inside = found.not_excluded()
    known = {row.context: row for row in gap_rows(search)}
    rows = []
    for place in sorted(range(len(names)), key=lambda place: -float(found.mean[place])):
        name = names[place]
        is_fresh = fresh is not None and name == winner and fresh.gap is not None
        shrunken = float(found.mean[place]) - (student.value or 0.0)
        shrunken_se = math.hypot(float(found.sd[place]), student.se or 0.0)
        row = known[name]
        rows.append(
            ScreenRow(
                context=name,
                gap=fresh.gap if is_fresh and fresh is not None and fresh.gap is not None else shrunken,
                gap_se_cond=(fresh.gap_se_cond if is_fresh and fresh is not None else None) or shrunken_se,
                estimate="fresh" if is_fresh else "shrunken",
                gap_raw=(row.acc_teacher or 0.0) - (student.value or 0.0),
                acc_teacher=row.acc_teacher or 0.0,
                k_gap=row.k_gap,
                gap_groups=row.gap_groups,
                coverage=row.coverage,
                p_best=float(found.p_best[place]),
                not_excluded=bool(inside[place]),
                rounds=sum(name in round_.contexts for round_ in rounds if not round_.final),
            )
        )
    rows.sort(key=lambda row: row.context != winner)
    more = _more(search, names, found, winner)
    action, reason = _next(rows, fresh, winner, more)
    per_group = len(measured.problems) * measured.group_size
    most = max(int(t.drawn_NS.any(axis=0).sum()) for t in measured.teachers.values()) // measured.group_size
    spent = num_answers(measured)
    flat = int(measured.bare.drawn_NS.sum()) + (len(names) + 1) * per_group * most
    arms = [measured.built_from, measured.bare, *measured.teachers.values()]
    gpu = [arm.gpu_seconds for arm in arms if arm.gpu_seconds is not None]
    return Screened(
        rows=rows,
        winner=winner,
        fresh=fresh,
        action=action,
        reason=reason,
        samples=spent,
        minutes=wall_seconds(measured) / 60,
        gpu_minutes=sum(gpu) / 60 if gpu else None,
        flat_samples=flat,
        saved=max(1 - spent / flat, 0.0),
        more_samples=more,
    )


def _fresh(measured: Measurement, final: Round, winner: str, hashes: Mapping[str, str]) -> GapRow:
    first, last = final.first * measured.group_size, final.last * measured.group_size
    teachers = {**measured.teachers, winner: measured.teachers[winner].of_samples(first, last)}
    only = Measurement(
        measured.problems, measured.group_size, measured.built_from, measured.full_NS, measured.bare,
        measured.bare_is_a, teachers,
    )  # fmt: skip
    (row,) = gap_rows(only, [winner], pooled=pools(measured), context_sha256=hashes)
    return row


def _more(measured: Measurement, names: list[str], found: Posterior, winner: str) -> int | None:
    """Answers that would tell the two with the highest chance apart: 2.8 standard errors of their difference."""
    if len(names) < 2:
        return None
    first = names.index(winner)
    second = max(
        (place for place in range(len(names)) if place != first), key=lambda p: float(found.p_best[p])
    )
    known = scores(teacher_shares(measured), measured.group_size)
    per_group = known.variance * np.maximum(known.groups, 1)
    difference = abs(float(known.mean[first] - known.mean[second]))
    if difference <= 0:
        return None
    need = math.ceil((2.8016 / difference) ** 2 * float(per_group[first] + per_group[second]))
    have = [int(known.groups[first]), int(known.groups[second])]
    groups = sum(max(need - one, 0) for one in have) + max(need - min(have), 0)
    return groups * len(measured.problems) * measured.group_size


def _next(
    rows: Sequence[ScreenRow], fresh: GapRow | None, winner: str, more: int | None
) -> tuple[Literal["train", "measure_more", "do_not_train"], str]:
    first = rows[0]
    left = [row.context for row in rows if row.not_excluded]
    beaten = next((row.p_best for row in rows if row.context == CONTROL), 0.0)
    if beaten >= SURE:
        return "do_not_train", f"none, the control, is the best with probability {beaten:.2f}"
    low = fresh.gap_ci95_low if fresh is not None else None
    high = fresh.gap_ci95_high if fresh is not None else None
    if high is not None and high < 0:
        return "do_not_train", f"the gap of {winner} is below 0 on fresh samples"
    if low is not None and low > 0 and first.p_best >= SURE:
        return "train", f"{winner} is the best with probability {first.p_best:.2f}, and its gap is above 0"
    several = (
        f"{len(left)} contexts are not excluded ({', '.join(left[:4])}{', ...' if len(left) > 4 else ''})"
    )
    about = f"; about {more:,} more answers tell the first two apart" if more else ""
    if low is not None and low > 0:
        return "measure_more", f"the gap of {winner} is above 0, but {several}{about}"
    return "measure_more", f"the gap of {winner} is not yet distinguishable from 0; {several}{about}"
