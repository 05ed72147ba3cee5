"""The student's term of every gap: what is shared is scored once and well.

B, the student's own answers, are several times as many as a context's. Where the control holds (T of ``none`` against
B alone), T of ``none`` and A judged by all tests are answers of the student like those of B, and join them.

In: a measurement. Out: per problem the student's share with its error, and the control's result with its power.
"""

# Shapes: N problems, G groups, S samples per problem.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opsd_rs.measure.contrast import (
    Estimate,
    Part,
    between_groups,
    binomial,
    estimate,
    group_shares,
    less_shared,
    mean_of_groups,
)
from opsd_rs.measure.measurement import Measurement

Floats = NDArray[np.float64]

CONTROL = "none"
"""The context without context: its true gap is 0."""
GATE = 3.0
"""Standard errors within which the control's gap must lie: a sound harness is refused in 3 of 1,000 measurements."""


@dataclass(frozen=True)
class Control:
    """T of ``none`` against B alone.

    >>> Control(Estimate(0.01, 0.02, 0.02, 40.0, 40)).holds
    True
    """

    gap: Estimate

    @property
    def holds(self) -> bool | None:
        """Whether the gap is inside the gate; None where it has no error."""
        if self.gap.value is None or self.gap.se is None:
            return None
        return abs(self.gap.value) <= GATE * self.gap.se

    @property
    def visible(self) -> float | None:
        """The bias that this gate would have seen in 80 % of measurements: (3 + 0.84) standard errors."""
        return None if self.gap.se is None else (GATE + 0.8416) * self.gap.se

    def said(self) -> str:
        """The result and its power, in one line."""
        if self.holds is None or self.gap.value is None or self.gap.se is None or self.visible is None:
            return "the control none has no error: nothing can be said of the harness"
        where = "within" if self.holds else "outside"
        return (
            f"control: the gap of none against B alone is {100 * self.gap.value:+.1f} pp, {where} {GATE:.0f} standard"
            f" errors ({100 * self.gap.se:.1f} pp) of 0; a bias of {100 * self.visible:.1f} pp would have been seen in"
            " 80 % of measurements"
        )


@dataclass(frozen=True)
class Baseline:
    """The student's share per problem: ``weight_N`` of it by groups that a context may share, the rest independent."""

    arms: str
    """``B``, ``A`` or ``A+B+T_none``."""
    free_N: Floats
    """Share of the answers that no context was built from."""
    free_part: Part | None
    weight_N: Floats
    """Of the grouped arm."""
    grouped_NG: Floats | None
    num_samples: int
    """Bare answers per problem."""
    spread: Part | None
    """Variance of the whole share: all its answers are independent."""
    share_N: Floats

    def accuracy(self) -> Estimate:
        """mean@k of the student."""
        return estimate(self.share_N, [self.spread])

    def gap(self, teacher_NG: Floats) -> Estimate:
        """Mean of teacher minus student."""
        if self.grouped_NG is None:
            mean_N, part = between_groups(teacher_NG)
            return estimate(mean_N - self.share_N, [part, self.free_part])
        mean_N, part = less_shared(teacher_NG, self.weight_N[:, None] * self.grouped_NG)
        if not (self.weight_N < 1).any():
            return estimate(mean_N, [part])
        rest_N = 1 - self.weight_N
        fixed = self.free_part and Part(self.free_part.variance * rest_N**2, self.free_part.df)
        return estimate(mean_N - np.where(rest_N > 0, rest_N * self.free_N, 0.0), [part, fixed])


def control(measured: Measurement) -> Control | None:
    """None where ``none`` was not measured."""
    found = measured.teachers.get(CONTROL)
    if found is None:
        return None
    if measured.bare_is_a:
        return Control(
            baseline(measured, pooled=False).gap(group_shares(found.passed_NS, measured.group_size))
        )
    (t_N, t_part), (b_N, b_part) = binomial(found.passed_NS), binomial(measured.bare.passed_NS)
    return Control(estimate(t_N - b_N, [t_part, b_part]))


def pools(measured: Measurement, *, anyway_failed: bool = False) -> bool:
    """Whether T of ``none`` and A join B: A was judged by all tests, and the control holds."""
    if measured.full_NS is None or measured.bare_is_a or anyway_failed:
        return False
    found = control(measured)
    return found is not None and found.holds is True


def baseline(measured: Measurement, *, pooled: bool, complete: bool = False) -> Baseline:
    """The student's term.

    :param complete: without answers that were cut off
    """
    bare, size = measured.bare, measured.group_size
    b_NS = bare.complete() if complete else bare.passed_NS
    free_NS = b_NS
    if not pooled:
        share_N, spread = binomial(b_NS)
        grouped_NG = group_shares(b_NS, size)
        as_many = any(found.passed_NS.shape[1] == b_NS.shape[1] for found in measured.teachers.values())
        # Of as many groups as the teacher's, B is compared group by group.
        own = grouped_NG if measured.bare_is_a or as_many else None
        return Baseline(
            "A" if measured.bare_is_a else "B", share_N, spread,
            np.ones(len(b_NS)) if own is not None else np.zeros(len(b_NS)),
            own, bare.num_samples, spread, mean_of_groups(own) if own is not None else share_N,
        )  # fmt: skip
    none = measured.teachers[CONTROL]
    full_NS = measured.full_NS
    assert full_NS is not None
    t_NS = none.complete() if complete else none.passed_NS
    a_NS = np.where(measured.built_from.truncated_NS, np.nan, full_NS) if complete else full_NS
    free_NS = np.concatenate([b_NS, t_NS], axis=1)
    free_N, free_part = binomial(free_NS)
    share_N, spread = binomial(np.concatenate([free_NS, a_NS], axis=1))
    counts = [(~np.isnan(x)).sum(axis=1) for x in (a_NS, free_NS)]
    weight_N = counts[0] / np.maximum(counts[0] + counts[1], 1)
    num = bare.num_samples + none.num_samples + measured.built_from.num_samples
    return Baseline("A+B+T_none", free_N, free_part, weight_N, group_shares(a_NS, size), num, spread, share_N)
