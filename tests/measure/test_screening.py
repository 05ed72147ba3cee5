"""Screening's statistics: shrinkage, the probability of being best, the schedule; and the winner's curse."""

from __future__ import annotations

import numpy as np
import pytest
from gap_samples import arm
from opsd_rs.measure import Budget, Round, arrange, next_contexts, num_rounds, screened
from opsd_rs.measure.screening import Posterior, Scores, posterior, scores
from opsd_rs.measure.simulate import World, simulate_screen


def known(mean: list[float], se: float | list[float], groups: int = 4) -> Scores:
    return Scores(np.array(mean), np.square(np.broadcast_to(se, len(mean))), np.full(len(mean), groups))


def test_alike_contexts_are_best_with_equal_probability_and_shrink_to_their_mean() -> None:
    found = posterior(known([0.31, 0.29, 0.30, 0.30], 0.05))
    assert found.p_best.sum() == pytest.approx(1)
    assert found.p_best == pytest.approx(np.full(4, 0.25), abs=0.06)
    assert found.mean == pytest.approx(np.full(4, 0.30), abs=0.006)
    assert found.not_excluded().all()


def test_a_context_far_ahead_is_the_best_and_keeps_its_number() -> None:
    found = posterior(known([0.10, 0.60, 0.12, 0.11], 0.01))
    assert found.p_best[1] > 0.999
    assert found.mean[1] == pytest.approx(0.60, abs=0.005)
    assert found.not_excluded().tolist() == [False, True, False, False]


def test_the_noisier_number_shrinks_more() -> None:
    found = posterior(known([0.2, 0.5, 0.5, 0.3, 0.25], [0.01, 0.01, 0.15, 0.01, 0.01]))
    assert found.mean[2] < found.mean[1] - 0.03
    assert found.p_best[1] > found.p_best[2]


def test_the_probability_of_being_best_is_the_share_of_worlds() -> None:
    """A spread as wide as the errors: of the worlds with such a number, in how many is it so? With eight contexts the
    spread is not known well, so the number is somewhat too small; it is never too large."""
    rng = np.random.default_rng(0)
    truth = 0.05 * rng.standard_normal((1500, 8))
    seen = truth + 0.05 * rng.standard_normal(truth.shape)
    found = posterior(Scores(seen, np.full(seen.shape, 0.05**2), np.full(seen.shape, 4)))
    first = found.p_best.argmax(axis=1)
    claimed = found.p_best.max(axis=1)
    right = truth.argmax(axis=1) == first
    for low, high in ((0.2, 0.4), (0.4, 0.6), (0.6, 0.9)):
        inside = (claimed >= low) & (claimed < high)
        assert -0.04 <= right[inside].mean() - claimed[inside].mean() <= 0.12
    held = found.not_excluded()[np.arange(1500), truth.argmax(axis=1)].mean()
    assert 0.93 <= held <= 0.99


def test_noise_is_that_between_groups_without_what_all_share() -> None:
    """Each context's groups: a part that all share, and their own."""
    rng = np.random.default_rng(1)
    shared = 0.1 * rng.standard_normal((1, 60, 6))
    shares = 0.5 + shared + 0.05 * rng.standard_normal((9, 60, 6))
    found = scores(shares, 8)
    assert found.variance == pytest.approx(np.full(9, 0.05**2 / 60 / 6), rel=0.35)
    assert found.groups.tolist() == [6] * 9
    dropped = shares.copy()
    dropped[3, :, 2:] = np.nan
    fewer = scores(dropped, 8)
    assert fewer.groups[3] == 2
    assert fewer.variance[3] == pytest.approx(3 * found.variance[3], rel=0.6)
    one = scores(np.full((2, 10, 1), 0.5), 8)
    assert one.variance == pytest.approx(np.full(2, 0.25 / 7 / 10)), (
        "one group: its answers count as independent"
    )


def test_rounds_halve_and_the_budget_pays_them() -> None:
    assert [num_rounds(m) for m in (2, 3, 4, 6, 12, 23)] == [1, 1, 1, 2, 3, 4]
    order = next_contexts(
        Posterior(np.array([0.1, 0.5, 0.3, 0.2, 0.0]), np.ones(5), np.ones(5) / 5), [0, 2, 3, 4]
    )
    assert order == [2, 3]
    budget = Budget(per_group=100, bare=800, total=20_000)
    spent, alive, groups = float(budget.bare), 23, 0
    for left in range(num_rounds(23), 0, -1):
        more = budget.round_groups(alive, left, spent)
        groups, spent, alive = groups + more, spent + (alive + 1) * more * 100, -(-alive // 2)
    assert spent <= budget.total - budget.final
    last = budget.final_groups(spent)
    assert budget.final - 200 <= 2 * last * 100 <= budget.total - spent
    assert groups > 5, (
        "the last three have more than twice what flat sampling gives: 20,000 / 24 groups of 100 are 8"
    )
    assert budget.final_groups(1000.0, early=True) == 15
    assert budget.least(23) == 3765, "of (800 + 2,400) / 0.85; two fresh groups alone would be 3,600"
    assert Budget(100, 800, 0).least(3) == 800 + 400 + 400
    assert Budget(100, 800, budget.least(23) - 1).round_groups(23, 4, 800) == 0
    assert Budget(100, 800, budget.least(23)).round_groups(23, 4, 800) == 1


@pytest.mark.parametrize("gap_sd", [0.05, 0.01])
def test_the_best_of_23_is_reported_as_it_is(gap_sd: float) -> None:
    """At equal answers; benches/screen.py has more worlds and kinds."""
    found = simulate_screen(World(40), num_worlds=150, flat_groups=5, gap_sd=gap_sd, chunk=50, seed=4)
    flat, screen = found["flat"], found["screen"]
    assert abs(screen.bias) < 0.005
    assert screen.rmse < flat.rmse
    assert screen.regret <= flat.regret
    assert flat.bias > 0.002, "the curse"
    assert screen.in_set > 0.85


YES, NO = True, False


def screening(peer: list[list[bool]], *rounds: Round) -> object:
    other = [[YES, NO, NO, NO, YES, NO, NO, NO]] * 4
    samples = arm("A", other, full=other) + arm("B", [[YES, NO, NO, NO] * 4] * 4)
    for name, table in (("none", other), ("peer", peer), ("bad", [[NO] * 8] * 4)):
        samples += arm("T", table if name == "peer" else [row[:4] for row in table], context=name)
    return screened(arrange(samples), rounds)


def test_the_winner_is_reported_on_samples_that_did_not_choose_it() -> None:
    search = Round(("none", "peer", "bad"), 0, 2)
    peer = [[YES, YES, YES, YES, YES, NO, YES, NO], [YES, YES, YES, NO, YES, YES, NO, NO]] * 2
    found = screening(peer, search, Round(("peer",), 2, 2, final=True))
    assert (found.winner, found.rows[0].context, found.rows[0].estimate) == ("peer", "peer", "fresh")
    assert found.fresh.k_gap == 4
    assert found.fresh.acc_teacher == 0.5
    assert found.rows[0].gap == found.fresh.gap == pytest.approx(0.25)
    assert found.rows[0].gap_raw > found.rows[0].gap
    assert [row.rounds for row in found.rows] == [1, 1, 1]
    assert {row.estimate for row in found.rows[1:]} == {"shrunken"}
    # A 8, B 16, T of none and bad 4 each, of peer 8, on 4 problems; flat: B, and 4 arms of 8.
    assert (found.samples, found.flat_samples) == (4 * 40, 4 * (16 + 4 * 8))
    assert found.saved == pytest.approx(1 - 40 / 48)
    before = screening(peer, search)
    assert (before.fresh, before.rows[0].estimate) == (None, "shrunken")


def test_the_next_action() -> None:
    search = Round(("none", "peer", "bad"), 0, 2)
    final = Round(("peer",), 2, 2, final=True)
    clear = screening([[YES] * 8] * 4, search, final)
    assert clear.action == "train"
    (*_, command) = clear.said("demo", "runs/s")
    assert "opsd-rs train demo context=peer" in command
    assert "gap.n=4 gap.from=runs/s/gap.parquet" in command
    weak = screening(
        [[YES, NO, NO, YES, YES, NO, NO, NO], [NO, YES, NO, NO, NO, NO, YES, NO]] * 2, search, final
    )
    assert weak.action == "measure_more"
    assert weak.more_samples is None or weak.more_samples >= 0
    none = screening([[NO] * 8] * 4, Round(("none", "peer", "bad"), 0, 4))
    assert (none.action, none.winner != "none") == ("do_not_train", True)
    assert "none, the control, is the best with probability" in none.reason
