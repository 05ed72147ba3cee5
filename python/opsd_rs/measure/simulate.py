"""Worlds with a known gap: how often the gap's interval holds it, and what screening makes of 23 contexts.

Problems differ in difficulty; a group's teachers read one text, good or bad for all of them, where an attempt of the
group passed. The statistics are those that measure: ``baseline``, ``contrast``, ``screening``.
"""

# Shapes: W worlds, M contexts, N problems, G groups, K answers of a group, S samples of a problem.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opsd_rs.measure.baseline import CONTROL, baseline, control
from opsd_rs.measure.contrast import group_shares
from opsd_rs.measure.measurement import Answers, Measurement
from opsd_rs.measure.screening import Budget, Posterior, next_contexts, num_rounds, posterior, scores

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GOOD = 0.7
"""Chance that a group's shared text helps."""


@dataclass(frozen=True)
class World:
    """Problems of one kind.

    >>> [round(parameter, 1) for parameter in World(num_problems=40, accuracy=0.46).beta]
    [2.5, 3.0]
    """

    num_problems: int
    accuracy: float = 0.46
    spread: float = 0.21
    """E[p (1 - p)], the mean variance of one answer: 0.21 where SmolLM2 was measured on the primer's first problems,
    0.064 for a model on LiveCodeBench."""
    group_size: int = 8

    @property
    def beta(self) -> tuple[float, float]:
        """Parameters of the distribution of a problem's accuracy."""
        mean = self.accuracy
        total = self.spread / max(mean * (1 - mean) - self.spread, 1e-6)
        return mean * total, (1 - mean) * total

    def problems(self, rng: np.random.Generator, num_worlds: int) -> Floats:
        """(W, N)."""
        return np.asarray(rng.beta(*self.beta, (num_worlds, self.num_problems)))


def lift(p_N: Floats, strength: Floats) -> Floats:
    """What a good text adds to a problem's chance: of strength 1 all that is missing, of -1 it takes all."""
    return np.asarray(np.where(strength > 0, strength * (1 - p_N), strength * p_N))


def has_text(p_N: Floats, group_size: int) -> Floats:
    """Chance that a group has a text that helps."""
    return np.asarray(GOOD * (1 - (1 - p_N) ** group_size))


def true_gap(p_WN: Floats, strength_WM: Floats, group_size: int) -> Floats:
    """(W, M)."""
    help_WN = has_text(p_WN, group_size)
    up, down = (help_WN * (1 - p_WN)).mean(axis=1), (help_WN * p_WN).mean(axis=1)
    return np.asarray(np.where(strength_WM > 0, strength_WM * up[:, None], strength_WM * down[:, None]))


def strengths(p_WN: Floats, gap_WM: Floats, group_size: int) -> Floats:
    """Those that give the gaps, cut at what the problems allow."""
    one = np.ones((len(p_WN), 1))
    up, down = true_gap(p_WN, one, group_size), -true_gap(p_WN, -one, group_size)
    return np.clip(np.where(gap_WM > 0, gap_WM / up, gap_WM / down), -0.95, 0.95)


# --- coverage of the gap's interval ------------------------------------------------------------------------


@dataclass(frozen=True)
class Coverage:
    """One cell of the grid.

    >>> Coverage(0.95, 0.95, 1.0, 0.002, 0.03).gap
    0.95
    """

    gap: float
    """Share of worlds whose 95 % interval of a peer context's gap holds the truth."""
    control: float
    """The same for the control's."""
    se_ratio: float
    """Root mean square of the claimed error over the true one."""
    refused: float
    """Share of worlds in which the gate refused a sound harness."""
    rmse: float
    """Of the gap."""


def simulate_gap(
    world: World,
    *,
    num_worlds: int,
    groups: int = 2,
    baseline_samples: int = 4,
    strength: float = 0.5,
    with_none: bool = True,
    seed: int = 0,
) -> Coverage:
    """Measure one peer context, and the control, in many draws of the same kind of world."""
    rng = np.random.default_rng(seed)
    size, n = world.group_size, groups * world.group_size
    covered, control_covered, errors, claimed, refused = [], [], [], [], []
    for p_N in world.problems(rng, num_worlds):
        measured = _measured(rng, p_N, size, groups, baseline_samples, strength)
        found = control(measured)
        assert found is not None
        refused.append(found.holds is False)
        pooled = with_none and baseline_samples > 1 and found.holds is True
        gap = baseline(measured, pooled=pooled).gap(group_shares(measured.teachers["peer"].passed_NS, size))
        truth = float(true_gap(p_N[None], np.array([[strength]]), size)[0, 0])
        low, high = gap.interval()
        covered.append(low is not None and high is not None and low <= truth <= high)
        low, high = found.gap.interval()
        control_covered.append(low is not None and high is not None and low <= 0 <= high)
        errors.append((gap.value or 0.0) - truth)
        claimed.append((gap.se or 0.0) ** 2)
    assert n == measured.built_from.num_samples
    return Coverage(
        float(np.mean(covered)),
        float(np.mean(control_covered)),
        float(np.sqrt(np.mean(claimed)) / np.std(errors)),
        float(np.mean(refused)),
        float(np.sqrt(np.mean(np.square(errors)))),
    )


def _measured(
    rng: np.random.Generator, p_N: Floats, size: int, groups: int, baseline_samples: int, strength: float
) -> Measurement:
    num = len(p_N)
    a_NGK = rng.random((num, groups, size)) < p_N[:, None, None]
    text_NG1 = a_NGK.any(axis=2, keepdims=True) & (rng.random((num, groups, 1)) < GOOD)
    chance = p_N[:, None, None] + text_NG1 * lift(p_N, np.full(num, strength))[:, None, None]
    t_NGK = rng.random((num, groups, size)) < chance
    none_NS = rng.random((num, groups * size)) < p_N[:, None]
    b_NS = rng.random((num, groups * size * baseline_samples)) < p_N[:, None]
    a_NS = a_NGK.reshape(num, -1)
    return Measurement(
        problems=tuple(map(str, range(num))),
        group_size=size,
        built_from=answers(a_NS),
        full_NS=a_NS.astype(np.float64),
        bare=answers(b_NS),
        bare_is_a=False,
        teachers={CONTROL: answers(none_NS), "peer": answers(t_NGK.reshape(num, -1))},
    )


def answers(passed_NS: NDArray[np.bool_]) -> Answers:
    """An arm of which all was drawn and nothing cut off."""
    passed = passed_NS.astype(np.float64)
    drawn = np.ones(passed.shape, np.bool_)
    return Answers(passed, drawn, ~drawn, drawn, [])


# --- screening ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a way of choosing comes to, as fractions.

    >>> Outcome(0.0, 0.01, 0.001, 0.6).bias
    0.0
    """

    bias: float
    """Of the reported gap of the chosen context."""
    rmse: float
    regret: float
    """Gap of the best context minus that of the chosen one."""
    right: float
    """Share of worlds in which the chosen one is the best."""
    in_set: float | None = None
    """Share of worlds in which the best was not excluded."""

    @classmethod
    def of(cls, reported_W: Floats, chosen_W: Ints, truth_WM: Floats, inside_W: Floats) -> Outcome:
        """From the number that each world's choice was reported with."""
        places = np.arange(len(chosen_W))
        true_W, best_W = truth_WM[places, chosen_W], truth_WM.max(axis=1)
        error_W = reported_W - true_W
        return cls(
            float(error_W.mean()),
            float(np.sqrt((error_W**2).mean())),
            float((best_W - true_W).mean()),
            float((best_W == true_W).mean()),
            None if np.isnan(inside_W).any() else float(inside_W.mean()),
        )


@dataclass
class _Draws:
    """Answers of many worlds at a time, contexts (W, M), groups as they come."""

    rng: np.random.Generator
    p_WN: Floats
    strength_WM: Floats
    size: int

    def attempts(self, groups: int) -> tuple[Ints, NDArray[np.bool_]]:
        """A by group, and whether there is a text that helps (W, N, G)."""
        shape = (*self.p_WN.shape, groups)
        a = self.rng.binomial(self.size, self.p_WN[..., None], shape)
        return a, (a > 0) & (self.rng.random(shape) < GOOD)

    def teachers(self, alive_Wm: Ints, text_WNG: NDArray[np.bool_]) -> Floats:
        """Shares that passed (W, m, N, G)."""
        strength_Wm1 = np.take_along_axis(self.strength_WM, alive_Wm, axis=1)[..., None]
        chance = (
            self.p_WN[:, None, :, None]
            + text_WNG[:, None] * (lift(self.p_WN[:, None, :], strength_Wm1)[..., None])
        )
        return np.asarray(self.rng.binomial(self.size, chance) / self.size)

    def bare(self, groups: int) -> Floats:
        """Accuracy of B (W,)."""
        return np.asarray(
            self.rng.binomial(self.size * groups, self.p_WN).mean(axis=1) / (self.size * groups)
        )


def simulate_screen(
    world: World,
    *,
    num_worlds: int,
    flat_groups: int,
    gap_sd: float,
    gap_mean: float = 0.1,
    num_contexts: int = 23,
    losers: int = 0,
    loser_gap: float = -0.3,
    seed: int = 0,
    chunk: int = 100,
) -> dict[str, Outcome]:
    """Best of ``num_contexts``, one of them the control: flat sampling, flat with shrinkage, and screening, each with
    the answers that flat sampling of ``flat_groups`` groups takes.

    :param losers: so many contexts have gaps about ``loser_gap`` instead, which no single normal prior fits
    """
    rng = np.random.default_rng(seed)
    parts: dict[str, list[tuple[Floats, Ints, Floats, Floats]]] = {}
    for start in range(0, num_worlds, chunk):
        count = min(chunk, num_worlds - start)
        p_WN = world.problems(rng, count)
        gap_WM = gap_mean + gap_sd * rng.standard_normal((count, num_contexts))
        gap_WM[:, 1 : 1 + losers] += loser_gap - gap_mean
        gap_WM[:, 0] = 0.0
        draws = _Draws(rng, p_WN, strengths(p_WN, gap_WM, world.group_size), world.group_size)
        truth_WM = true_gap(p_WN, draws.strength_WM, world.group_size)
        for name, found in {**_flat(draws, flat_groups), "screen": _screen(draws, flat_groups)}.items():
            inside_W = _inside(found.shrunk, truth_WM)
            parts.setdefault(name, []).append((found.reported_W, found.chosen_W, truth_WM, inside_W))
    return {
        name: Outcome.of(
            np.concatenate([part[0] for part in found]),
            np.concatenate([part[1] for part in found]),
            np.concatenate([part[2] for part in found]),
            np.concatenate([part[3] for part in found]),
        )
        for name, found in parts.items()
    }


BARE_GROUPS = 8
"""B of a screen, in groups: 4 times the first round's two."""


class _Choice(NamedTuple):
    """In each world."""

    reported_W: Floats
    chosen_W: Ints
    shrunk: Posterior | None


def _flat(draws: _Draws, groups: int) -> dict[str, _Choice]:
    count, contexts = draws.strength_WM.shape
    alive = np.tile(np.arange(contexts), (count, 1))
    a, text = draws.attempts(groups)
    shares = draws.teachers(alive, text)
    teachers = shares.mean(axis=(2, 3))
    weights = [4 * groups, groups, groups]
    arms = [draws.bare(4 * groups), a.mean(axis=(1, 2)) / draws.size, teachers[:, 0]]
    student = np.average(arms, axis=0, weights=weights)
    best = teachers.argmax(axis=1)
    shrunk = posterior(scores(shares, draws.size))
    chosen = shrunk.mean.argmax(axis=1)
    places = np.arange(count)
    return {
        "flat": _Choice(teachers[places, best] - student, best, None),
        "flat, shrunken": _Choice(shrunk.mean[places, chosen] - student, chosen, shrunk),
    }


def _inside(found: Posterior | None, truth_WM: Floats) -> Floats:
    """Whether the best is among those that are not excluded; nan where nothing says so."""
    if found is None:
        return np.full(len(truth_WM), np.nan)
    places = np.arange(len(truth_WM))
    return np.asarray(found.not_excluded()[places, truth_WM.argmax(axis=1)], np.float64)


def _screen(draws: _Draws, flat_groups: int) -> _Choice:
    """The schedule that ``opsd-rs screen`` follows, in every world at once: without an early stop it is one."""
    count, contexts = draws.strength_WM.shape
    per_group = draws.p_WN.shape[1] * draws.size
    budget = Budget(per_group, BARE_GROUPS * per_group, (contexts + 1 + 4) * flat_groups * per_group)
    alive = np.tile(np.arange(contexts), (count, 1))
    spent, drawn = float(budget.bare), 0
    shares = np.full((count, contexts, draws.p_WN.shape[1], 0), np.nan)
    attempts: list[Ints] = []
    rounds = num_rounds(contexts)
    found = None
    for round_ in range(rounds):
        groups = budget.round_groups(alive.shape[1], rounds - round_, spent)
        if not groups:
            break
        a, text = draws.attempts(groups)
        attempts.append(a)
        new = np.full((*shares.shape[:3], groups), np.nan)
        np.put_along_axis(new, alive[:, :, None, None], draws.teachers(alive, text), axis=1)
        shares = np.concatenate([shares, new], axis=3)
        drawn += groups
        spent += (alive.shape[1] + 1) * groups * per_group
        found = posterior(scores(shares, draws.size))
        alive = np.array([next_contexts(_world(found, w), alive[w].tolist()) for w in range(count)])
    assert found is not None
    chosen = np.where(alive[:, 0] == 0, alive[:, 1], alive[:, 0])  # the control is never the winner
    groups = budget.final_groups(spent)
    a, text = draws.attempts(groups)
    fresh = draws.teachers(chosen[:, None], text).mean(axis=(1, 2, 3))
    attempts.append(a)
    none = np.nanmean(shares[:, 0], axis=(1, 2))
    weights = [BARE_GROUPS, drawn + groups, int((~np.isnan(shares[0, 0, 0])).sum())]
    bare = np.concatenate(attempts, axis=2).mean(axis=(1, 2)) / draws.size
    student = np.average([draws.bare(BARE_GROUPS), bare, none], axis=0, weights=weights)
    return _Choice(fresh - student, chosen, found)


def _world(found: Posterior, world: int) -> Posterior:
    return replace(found, mean=found.mean[world], sd=found.sd[world], p_best=found.p_best[world])
