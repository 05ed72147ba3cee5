"""Errors of a line from the graded answers behind it, drawn again: problems, then answers or groups, then seeds.

In: tables of samples and a family's points. Out: standard errors and intervals (percentile and BCa) of slope and
intercept. Two questions, answered apart: *fixed* keeps the problems and draws their answers again, by group where
contexts were built in groups; *resampled* draws problems, the same for every arm and configuration, each with the
answers it has. Drawing answers within drawn problems would count their noise twice. Either adds what training differs
by between seeds, a normal draw, because two or three seeds resampled hardly vary.

The configurations are held: of six, drawn again, some have no line. So the intervals say what measurement does to the
slope, and not what other contexts would.
"""

# Shapes: D draws of a block, N problems, G groups, n points.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import usable_cores
from opsd_rs.law.answers import Answers, PointAnswers, point_answers, sample_tables
from opsd_rs.law.intervals import is_indicative
from opsd_rs.law.worlds import fit_lines, generator

Floats = NDArray[np.float64]
BLOCK = 100


def add_bootstrap(
    fit: Mapping[str, Any], named: Sequence[Path], tables: Sequence[Path], *, draws: int = 2000
) -> None:
    """Put ``bootstrap`` into each entry of a fit that has answers behind its points.

    :param named: tables of samples or run folders; none: those beside ``tables``
    :raises BadInput: a named path that holds none
    """
    paths = sample_tables(named, tables)
    for entry in fit["families"].values():
        points = [point for point in entry["configs"] if point["fitted"]]
        answers = point_answers(points, paths) if paths and entry["slope"] is not None else []
        entry["bootstrap"] = None
        if any(known.arms() for known in answers):
            threads = max(1, min(8, usable_cores()))
            entry["bootstrap"] = bootstrap(
                points, answers, seed_sd=entry["seed_sd"], draws=draws, threads=threads
            )
        elif named:
            entry["notes"].append("no bootstrap: the samples hold no answers of these runs")


def bootstrap(
    points: Sequence[Mapping[str, Any]],
    answers: Sequence[PointAnswers],
    *,
    seed_sd: float | None,
    draws: int = 2000,
    seed: int = 0,
    threads: int = 1,
) -> dict[str, Any]:
    """Draw the answers behind each point again and fit again.

    :param answers: of each point, in order; an arm that no table holds moves by the point's own stated error
    :param seed_sd: pooled SD between seeds, sampling noise and all
    :param threads: any number gives the same digits
    :returns: fixed and resampled: {slope_se, slope_ci95, slope_bca95, intercept_se, intercept_ci95, intercept_bca95};
        draws; training_sd; indicative; said, which points had no answers
    """
    training = _training_sd(answers, seed_sd)
    found: dict[str, Any] = {
        "draws": draws,
        "training_sd": training,
        "indicative": is_indicative("bootstrap"),
    }
    lacking = [point["config_id"] for point, known in zip(points, answers, strict=True) if not known.complete]
    found["said"] = f"without answers, by their stated errors: {', '.join(lacking)}" if lacking else None
    for kind in ("fixed", "resampled"):
        blocks = range(math.ceil(draws / BLOCK))

        def one(block: int, kind: str = kind) -> Floats:
            return _block(points, answers, training, kind, (seed, block, int(kind == "fixed")))

        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(one, blocks))
        else:
            parts = [one(block) for block in blocks]
        lines = np.concatenate(parts)[:draws]
        found[kind] = _summary(points, answers, lines)
    return found


def _training_sd(answers: Sequence[PointAnswers], seed_sd: float | None) -> float:
    """What seeds differ by beyond the sampling of their own validation answers."""
    if seed_sd is None:
        return 0.0
    sampled = [_sampling(after) + _sampling(before) for known in answers for before, after in known.runs]
    return math.sqrt(max(0.0, seed_sd**2 - (math.fsum(sampled) / len(sampled) if sampled else 0.0)))


def _sampling(arm: Answers | None) -> float:
    return 0.0 if arm is None else arm.variance()


def _block(
    points: Sequence[Mapping[str, Any]],
    answers: Sequence[PointAnswers],
    training: float,
    kind: str,
    key: tuple[int, ...],
) -> Floats:
    """Slope and intercept of a block of draws (D, 2). Arms in one order, so each sees the same random numbers."""
    draw = generator(*key)
    arms = {arm.key: arm for known in answers for arm in known.arms()}
    problems = max((len(arm.shares) for arm in arms.values()), default=0)
    chosen = draw.integers(0, problems, (BLOCK, problems)) if problems else None
    moved = {
        name: arms[name].redraw(draw, BLOCK) if kind == "fixed" else arms[name].choose(chosen)
        for name in sorted(arms)
    }
    x, y = _points(points, answers, lambda arm: moved[arm.key], BLOCK)
    for place, (point, known) in enumerate(zip(points, answers, strict=True)):
        noise = draw.normal(size=(3, BLOCK))
        if not known.gaps:
            x[:, place] += (point["gap_se"] or 0.0) * noise[0]
        if not known.runs:
            y[:, place] += (point["improvement_se"] or 0.0) * noise[1]
        y[:, place] += training / math.sqrt(point["num_seeds"]) * noise[2]
    lines = fit_lines(x, y)
    return np.column_stack([lines.slope, lines.intercept])


def _points(
    points: Sequence[Mapping[str, Any]],
    answers: Sequence[PointAnswers],
    deviation: Callable[[Answers], Floats],
    size: int,
) -> tuple[Floats, Floats]:
    """Gaps and improvements (D, n), each moved by the deviations of its arms."""
    x = np.tile([point["gap"] for point in points], (size, 1))
    y = np.tile([point["improvement"] for point in points], (size, 1))
    for place, known in enumerate(answers):
        for side, pairs in ((x, known.gaps), (y, known.runs)):
            for below, above in pairs:
                side[:, place] += (deviation(above) - deviation(below)) / len(pairs)
    return x, y


def _summary(
    points: Sequence[Mapping[str, Any]], answers: Sequence[PointAnswers], lines_W2: Floats
) -> dict[str, Any]:
    from scipy.special import ndtr, ndtri

    here = fit_lines(np.array([[p["gap"] for p in points]]), np.array([[p["improvement"] for p in points]]))
    left_out = _jackknife(points, answers)
    found: dict[str, Any] = {}
    for place, name in enumerate(("slope", "intercept")):
        drawn = lines_W2[:, place]
        observed = float(getattr(here, name)[0])
        below = (drawn < observed).mean()
        bias = float(ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))
        skew = 0.0
        if left_out is not None:
            away = left_out[:, place].mean() - left_out[:, place]
            spread = float((away**2).sum())
            skew = float((away**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
        z = bias + ndtri(np.array([0.025, 0.975]))
        levels = ndtr(bias + z / (1 - skew * z))
        found |= {
            f"{name}_se": float(drawn.std(ddof=1)),
            f"{name}_ci95": np.quantile(drawn, (0.025, 0.975)).tolist(),
            f"{name}_bca95": np.quantile(drawn, levels).tolist(),
        }
    return found


def _jackknife(points: Sequence[Mapping[str, Any]], answers: Sequence[PointAnswers]) -> Floats | None:
    """Slope and intercept without each problem (N, 2)."""
    arms = [arm for known in answers for arm in known.arms()]
    if not arms or len({len(arm.shares) for arm in arms}) != 1:
        return None
    x, y = _points(points, answers, lambda arm: arm.without_each(), len(arms[0].shares))
    lines = fit_lines(x, y)
    return np.column_stack([lines.slope, lines.intercept])
