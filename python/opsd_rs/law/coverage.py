"""Study 1: how often the intervals of a fit hold the truth, over a grid of small studies.

In: a number of worlds. Out: a row per cell. A world is drawn at the level of accuracies, whose counted answers are
normal for all that these intervals can tell; its intervals are computed for all worlds at once, by the formulas of
``intervals`` and ``baselines``, and the tests compare single worlds with what ``law fit`` prints.
"""

# Shapes: W worlds, n configurations, S seeds.

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.law.intervals import LEAST_WIDTH, MANY
from opsd_rs.law.worlds import Lines, fit_lines, generator

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """Gaps of a study with the errors that they were measured with, as fractions.

    >>> RANGES["paper"].gap_se
    0.011
    """

    low: float
    high: float
    gap_se: float
    accuracy_se: float
    """Of one validation accuracy of one run."""
    slope: float
    training_sd: float = 0.01


RANGES = {
    "paper": Range(0.0, 0.142, 0.011, 0.011, 1.5),
    "smollm2": Range(-0.51, 0.25, 0.037, 0.026, 0.5),
}
"""``paper``: 131 problems, 8 answers for the gap, 4 for validation. ``smollm2``: the gaps and errors measured on
SmolLM2-135M with 40 problems of 8 answers."""
CONTEXTS, TAUS, SEEDS = (4, 6, 10, 12), (0.0, 0.01, 0.02, 0.05), (1, 2, 3, 5)
INTERVALS = ("slope", "slope_corrected", "intercept", "mean", "prediction_seeds", "prediction_one")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the grid.

    >>> Cell("paper", 6, 0.02, 3, True).name
    'paper n=6 tau=2pp S=3 shared'
    """

    range: str
    contexts: int
    tau: float
    seeds: int
    shared: bool
    """One accuracy before training a seed, and one bare accuracy in all gaps; False: each run has its own."""

    @property
    def name(self) -> str:
        """For a table."""
        baselines = "shared" if self.shared else "split"
        return f"{self.range} n={self.contexts} tau={100 * self.tau:g}pp S={self.seeds} {baselines}"


def grid() -> list[Cell]:
    """All cells: 2 ranges x 4 numbers of configurations x 4 scatters x 4 numbers of seeds x shared or split."""
    return [
        Cell(which, n, tau, seeds, shared)
        for which, n, tau, seeds, shared in itertools.product(RANGES, CONTEXTS, TAUS, SEEDS, (False, True))
    ]


@dataclass(frozen=True, slots=True)
class World:
    """Drawn studies: the last configuration is the new one, which no line is fitted on.

    ``gaps`` (W, n + 1), ``improvements`` (W, n + 1, S), ``true_gaps`` (W, n + 1).
    """

    gaps: Floats
    improvements: Floats
    true_gaps: Floats

    @property
    def n(self) -> int:
        """Fitted configurations."""
        return int(self.gaps.shape[1]) - 1


def draw_worlds(cell: Cell, worlds: int, seed: int = 0, slope: float | None = None) -> World:
    """Draw ``worlds`` studies of one cell."""
    place = RANGES[cell.range]
    which = 4 * cell.seeds + 2 * cell.shared + (cell.range == "paper")
    draw = generator(seed, int(1e6 * cell.tau) + cell.contexts, which)
    n, size = cell.contexts, (worlds, cell.contexts + 1)
    true = np.empty(size)
    true[:, :n] = np.linspace(place.low, place.high, n)
    true[:, n] = draw.uniform(place.low, place.high, worlds)
    arm = place.gap_se / math.sqrt(2)
    one = (worlds, 1) if cell.shared else size
    gaps = true + draw.normal(0, arm, size) - draw.normal(0, arm, one)
    law = (place.slope if slope is None else slope) * true + draw.normal(0, 1, size) * cell.tau
    after = draw.normal(0, math.hypot(place.training_sd, place.accuracy_se), (*size, cell.seeds))
    before = draw.normal(0, place.accuracy_se, (*one, cell.seeds))
    return World(gaps, law[:, :, None] + after - before, true)


def half_widths(lines: Lines, world: World, cell: Cell) -> dict[str, Floats]:
    """Half of each 95 % interval (W,), at the new configuration where it depends on a gap."""
    from scipy.special import stdtrit

    place, n, seeds = RANGES[cell.range], world.n, cell.seeds
    x0 = world.gaps[:, n]

    def half(first: Floats, *more: tuple[Floats | float, float], least: float = 1.0) -> Floats:
        total, weight = first, first**2 / (n - 2)
        for variance, df in more:
            total, weight = total + variance, weight + np.square(variance) / df
        satterthwaite = stdtrit(total**2 / weight, 0.975) * np.sqrt(total)
        return np.asarray(np.maximum(satterthwaite, least * stdtrit(n - 2, 0.975) * np.sqrt(first)))

    offset: Floats | float = 0.0
    if cell.shared:
        offset = place.accuracy_se**2 / seeds + lines.slope**2 * place.gap_se**2 / 2
    variance = lines.variance
    seed_variance: Floats | float = 0.0
    if seeds > 1:
        seed_variance = world.improvements[:, :n].var(axis=2, ddof=1).mean(axis=1) * (1 - 1 / seeds)
    reliable = reliability(lines, cell)
    return {
        "slope": half(variance / lines.sxx),
        "slope_corrected": half(variance / lines.sxx) / reliable,
        "intercept": half(variance * lines.leverage(0.0), (offset, MANY)),
        "mean": half(variance * lines.leverage(world.true_gaps[:, n]), (offset, MANY)),
        "prediction_seeds": half(variance * (1 + lines.leverage(x0))),
        "prediction_one": half(
            variance * (1 + lines.leverage(x0)), (seed_variance, max(1, n * (seeds - 1))), least=LEAST_WIDTH
        ),
    }


def reliability(lines: Lines, cell: Cell) -> Floats:
    """The share of the gaps' spread that is real (W,), at least a half."""
    own = RANGES[cell.range].gap_se ** 2 / (2 if cell.shared else 1)
    return np.asarray(np.maximum(1 - own / (lines.sxx / (lines.n - 1)), 0.5))


def coverage(cell: Cell, worlds: int, seed: int = 0) -> dict[str, Any]:
    """Share of worlds whose interval holds the truth, per interval, and the slope's bias."""
    world, n = draw_worlds(cell, worlds, seed), cell.contexts
    lines = fit_lines(world.gaps[:, :n], world.improvements[:, :n].mean(axis=2))
    half, slope = half_widths(lines, world, cell), RANGES[cell.range].slope
    forecast = lines.intercept + lines.slope * world.gaps[:, n]
    away = {
        "slope": lines.slope - slope,
        "slope_corrected": lines.slope / reliability(lines, cell) - slope,
        "intercept": lines.intercept,
        "mean": lines.intercept + (lines.slope - slope) * world.true_gaps[:, n],
        "prediction_seeds": forecast - world.improvements[:, n].mean(axis=1),
        "prediction_one": forecast - world.improvements[:, n, 0],
    }
    held = {name: float((np.abs(away[name]) <= half[name]).mean()) for name in INTERVALS}
    return {"cell": cell.name, "worlds": worlds, **held, "slope_bias": float(away["slope"].mean())}


def coverage_study(worlds: int, seed: int = 0) -> list[dict[str, Any]]:
    """Every cell of the grid."""
    return [coverage(cell, worlds, seed) for cell in grid()]


def worst(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Per interval the cells farthest below and above 0.95, and how many cells are in [.92, .97]."""
    for name in INTERVALS:
        low, high = min(rows, key=lambda row: row[name]), max(rows, key=lambda row: row[name])
        inside = sum(0.92 <= row[name] <= 0.97 for row in rows)
        yield {
            "interval": name,
            "lowest": low[name],
            "lowest_cell": low["cell"],
            "highest": high[name],
            "highest_cell": high["cell"],
            "mean": sum(row[name] for row in rows) / len(rows),
            "cells_inside": inside,
            "cells": len(rows),
        }
