"""Groups of rollouts: what one group hides, two show; and more groups measure the same gap.

The world is a peer context: a problem's teacher answers better where another rollout of its group passed. All answers
of a group share that, so they are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from opsd_rs.base import mean_difference
from opsd_rs.measure import EvalRow, by_group, group_accuracy, group_gap
from opsd_rs.measure.groups import pool
from opsd_rs.records import Rollout

# Shapes: N problems, G groups, K rollouts of a group.


def row(problem: int, passed: int, n: int, nulls: int = 0) -> EvalRow:
    return EvalRow(0, "student", "", f"p{problem}", n, int(passed), nulls, truncated=0, tokens=1.0)


@dataclass
class World:
    """Problems of different difficulty; a teacher with a peer's solution passes with ``helped_N``, alone with p."""

    p_N: np.ndarray
    helped_N: np.ndarray
    size: int = 8

    def draw(
        self, rng: np.random.Generator, num_groups: int
    ) -> tuple[list[list[EvalRow]], list[list[EvalRow]]]:
        """Both arms, per group the rows by problem."""
        shape = (len(self.p_N), num_groups, self.size)
        a_NGK = rng.random(shape) < self.p_N[:, None, None]
        b_NG = rng.binomial(self.size, self.p_N[:, None], shape[:2])
        has_peer_NGK = (a_NGK.sum(axis=2, keepdims=True) - a_NGK) > 0
        # A first success is one text: good or bad for all that read it.
        good_NG1 = rng.random((*shape[:2], 1)) < 0.7
        chance_NGK = np.where(has_peer_NGK & good_NG1, self.helped_N[:, None, None], self.p_N[:, None, None])
        t_NG = (rng.random(shape) < chance_NGK).sum(axis=2)
        return tuple(
            [
                [row(i, passed, self.size) for i, passed in enumerate(counts_NG[:, g])]
                for g in range(num_groups)
            ]
            for counts_NG in (b_NG, t_NG)
        )  # type: ignore[return-value]

    @property
    def gap(self) -> float:
        """The truth: a row has a peer unless all the others failed."""
        has_peer_N = 1 - (1 - self.p_N) ** (self.size - 1)
        return float(np.mean(0.7 * has_peer_N * (self.helped_N - self.p_N)))


def world(seed: int, num_problems: int = 40) -> World:
    rng = np.random.default_rng(seed)
    p_N = rng.beta(0.4, 1.0, num_problems)
    return World(p_N, p_N + (1 - p_N) * rng.uniform(0.2, 0.9, num_problems))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_interval_of_a_peer_context_s_gap_holds_the_truth_as_often_as_it_says(seed: int) -> None:
    """0.95 within the simulation's own error; samples taken as independent would give less than 0.9."""
    here, rng = world(seed), np.random.default_rng(100 + seed)
    covered, naive = [], []
    for _ in range(1500):
        student, teacher = here.draw(rng, 2)
        found = group_gap(student, teacher)
        assert found.value is not None
        assert found.se_cond is not None
        covered.append(abs(found.value - here.gap) < 1.96 * found.se_cond)
        b, t = pool(student), pool(teacher)
        whole = [r.n for r in b]
        alone = mean_difference([r.passed for r in t], whole, [r.passed for r in b], whole)
        naive.append(abs(alone.value - here.gap) < 1.96 * alone.se_cond)
    assert 0.92 <= np.mean(covered) <= 0.97
    assert np.mean(naive) < 0.9


def test_more_groups_measure_the_same_gap_more_exactly() -> None:
    here, rng = world(2), np.random.default_rng(5)
    values = {}
    for num_groups in (1, 2, 4):
        found = [group_gap(*here.draw(rng, num_groups)) for _ in range(400)]
        values[num_groups] = np.array([mean.value for mean in found])
        error = values[num_groups].std() / 20
        assert abs(values[num_groups].mean() - here.gap) < 4 * error, num_groups
        claimed = np.sqrt(np.mean([mean.se_cond**2 for mean in found]))
        if num_groups > 1:
            assert claimed == pytest.approx(values[num_groups].std(), rel=0.12)
    assert values[4].std() < 0.6 * values[1].std()


def test_an_accuracy_under_shared_contexts_has_the_error_between_groups() -> None:
    here, rng = world(3), np.random.default_rng(6)
    found = [group_accuracy(here.draw(rng, 2)[1]) for _ in range(500)]
    spread = np.std([mean.value for mean in found])
    assert np.sqrt(np.mean([mean.se_cond**2 for mean in found])) == pytest.approx(spread, rel=0.1)


def test_groups_are_runs_of_samples_whatever_the_order_of_problems() -> None:
    answers = [Rollout(p, k, (1,), (2,), (0.0,), "", False, 0) for k in (2, 0, 3, 1) for p in ("a", "b")]
    groups = by_group(answers, 2)
    assert [[(answers[i].problem_id, answers[i].sample) for i in group] for group in groups] == [
        [("a", 0), ("b", 0), ("a", 1), ("b", 1)],
        [("a", 2), ("b", 2), ("a", 3), ("b", 3)],
    ]
    assert by_group(answers, 4) == [list(range(8))]


def test_a_group_without_a_grade_is_left_out_and_never_counted_as_wrong() -> None:
    student = [[row(0, 1, 2), row(1, 0, 2)], [row(0, 1, 2), row(1, 0, 0, nulls=2)]]
    teacher = [[row(0, 2, 2), row(1, 1, 2)], [row(0, 1, 2), row(1, 2, 2)]]
    found = group_gap(student, teacher)
    assert found.value == pytest.approx(((0.5 + 0.0) / 2 + 0.5) / 2)
    # The first problem's groups vary by 0.125; the second, left with one group, takes that.
    assert found.se_cond == pytest.approx(((0.125 / 2 + 0.125) / 4) ** 0.5)
    nothing = [[row(0, 0, 0, nulls=2)], [row(0, 0, 0, nulls=2)]]
    assert group_gap(nothing, nothing).value is None
    assert pool(student)[1] == row(1, 0, 2, nulls=2)
