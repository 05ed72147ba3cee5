"""Simulation studies of the fit, by number: what the law's figures are worth where the truth is known.

In: a study's number and how many worlds. Out: rows of a table, and whether each held its bound. Short ones run with the
tests; full ones by hand (``opsd-rs law simulate --study N --worlds W``), their results in docs/law.md. Numbers 4
(pooling of the gap) and 8 (early stop) are about measuring and deciding.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from opsd_rs.base import t_interval, write_table
from opsd_rs.errors import BadInput
from opsd_rs.law.answers import PointAnswers, point_answers
from opsd_rs.law.bootstrap import bootstrap
from opsd_rs.law.coverage import RANGES, Cell, coverage_study, draw_worlds, worst
from opsd_rs.law.errors_in_variables import deming, york
from opsd_rs.law.fit import fit_tables
from opsd_rs.law.noise import scatter_beyond_noise
from opsd_rs.law.power import smallest_difference
from opsd_rs.law.ranks import theil_sen
from opsd_rs.law.recovered import fieller
from opsd_rs.law.regression import fit_line
from opsd_rs.law.simulate import Setting, simulate_runs
from opsd_rs.law.worlds import fit_lines, generator

Rows = list[dict[str, Any]]


def run_study(number: str, worlds: int, seed: int = 0) -> dict[str, Any]:
    """One study: {study, title, worlds, rows, ok}; ``ok`` is whether every row with a bound held it.

    :raises BadInput: no study of this number here
    """
    if number not in STUDIES:
        raise BadInput(f"--study {number}: one of {', '.join(STUDIES)}")
    title, study = STUDIES[number]
    rows = study(worlds, seed)
    return {
        "study": number,
        "title": title,
        "worlds": worlds,
        "rows": rows,
        "ok": all(row.get("ok") is not False for row in rows),
    }


def intervals(worlds: int, seed: int = 0) -> Rows:
    """1: coverage of the fit's own intervals; a row per interval with its worst cells.

    The plain least-squares slope has no bound: errors of the gaps flatten it, which the corrected one is for.
    """
    return [
        row | {"ok": None if row["interval"] == "slope" else row["lowest"] >= 0.92 and row["highest"] <= 0.97}
        for row in worst(coverage_study(worlds, seed))
    ]


def other_intervals(worlds: int, seed: int = 0) -> Rows:
    """1b: coverage of what stands beside least squares, with the weights and points that are not used."""
    rows = []
    for cell in (
        Cell(which, n, tau, seeds, False)
        for which in RANGES
        for n in (6, 12)
        for tau in (0.0, 0.02)
        for seeds in (2, 3)
    ):
        place, world = RANGES[cell.range], draw_worlds(cell, worlds, seed)
        held: dict[str, list[bool]] = {}
        for gaps, improvements in zip(world.gaps, world.improvements, strict=True):
            x, seeds_y, n = gaps[:-1], improvements[:-1], cell.contexts
            y = seeds_y.mean(axis=1)
            y_variance = np.full(n, seeds_y.var(axis=1, ddof=1).mean() / cell.seeds)
            x_variance = np.full(n, place.gap_se**2)
            tau = scatter_beyond_noise(x, y, x_variance, y_variance)
            both = york(x, y, x_variance**0.5, y_variance**0.5, scatter=tau)
            apart = deming(x, y)
            weights = 1 / np.maximum(seeds_y.var(axis=1, ddof=1) / cell.seeds, 1e-12)
            found = {
                "York, t": _slope(both.slope, both.slope_se, n - 2),
                "Deming, jackknife": _slope(apart.slope, apart.slope_se, n - 2),
                "Theil-Sen": theil_sen(x, y)["slope_ci95"],
                "weights of seeds' SD": _weighted(x, y, weights),
                "seeds as points": fit_seeds(x, seeds_y),
            }
            for name, interval in found.items():
                inside = interval is not None and interval[0] <= place.slope <= interval[1]
                held.setdefault(name, []).append(bool(inside))
            # Without scatter every configuration's ratio is the slope; the last has the largest gap.
            error = math.sqrt(y_variance[0])
            ratio = fieller(y[-1], x[-1], error, place.gap_se, df=n * (cell.seeds - 1))
            if ratio is not None and cell.tau == 0:
                held.setdefault("Fieller", []).append(bool(ratio[0] <= place.slope <= ratio[1]))
        rows += [
            {
                "cell": cell.name,
                "interval": name,
                "coverage": sum(inside) / len(inside),
                "worlds": len(inside),
            }
            for name, inside in held.items()
        ]
    return rows


def _slope(slope: float, se: float | None, df: int) -> tuple[float, float] | None:
    return None if se is None else t_interval(slope, se, df)


def _weighted(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    centre = np.average(x, weights=weights)
    sxx = float(weights @ (x - centre) ** 2)
    slope = float(weights * (x - centre) @ y) / sxx
    residuals = y - np.average(y, weights=weights) - slope * (x - centre)
    return t_interval(slope, math.sqrt(float(weights @ residuals**2) / (len(x) - 2) / sxx), len(x) - 2)


def fit_seeds(x: np.ndarray, y_nS: np.ndarray) -> tuple[float, float]:
    """The interval that seeds as points would give."""
    line = fit_line(np.repeat(x, y_nS.shape[1]), y_nS.ravel())
    return t_interval(line.slope, line.slope_se, line.df)


def attenuation(worlds: int, seed: int = 0) -> Rows:
    """2: least squares flattens, York does not. Known: 1.458 and 1.497; 1.393 and 1.495."""
    rows = []
    for place, (sd, high, flat, straight) in enumerate(
        ((0.011, 0.14, 1.458, 1.497), (0.0064, 0.05, 1.393, 1.495))
    ):
        draw, true = generator(seed, 2, place), np.linspace(0, high, 6)
        x = true + draw.normal(0, sd, (worlds, 6))
        y = 1.5 * true + draw.normal(0, sd, (worlds, 6))
        ordinary = float(fit_lines(x, y).slope.mean())
        few = min(worlds, 4000)
        both = float(
            np.median([york(a, b, [sd] * 6, [sd] * 6).slope for a, b in zip(x[:few], y[:few], strict=True)])
        )
        within = 5 / math.sqrt(few) * 0.25
        close = abs(ordinary - flat) < 0.02 + within and abs(both - straight) < 0.02 + within
        rows.append({"gaps": f"0 to {100 * high:g} pp, errors {100 * sd:g} pp", "least_squares": ordinary,
                     "york_median": both, "known": [flat, straight], "ok": close})  # fmt: skip
    return rows


def no_effect(worlds: int, seed: int = 0) -> Rows:
    """3: all true gaps and gains are 0; the baseline's samples shared by both differences, or split."""
    known = {(6, True): (0.50, 0.87, 0.31), (4, True): (0.50, None, 0.40), (6, False): (0.0, 0.50, 0.06),
             (4, False): (0.0, 0.50, 0.15)}  # fmt: skip
    rows = []
    for (n, shared), (slope, positive, large) in known.items():
        draw = generator(seed, 3, 2 * n + shared)
        teacher, final, student = (draw.normal(size=(worlds, n)) for _ in range(3))
        lines = fit_lines(teacher - student, final - (student if shared else draw.normal(size=(worlds, n))))
        found = float(lines.slope.mean()), float((lines.slope > 0).mean())
        chance = float(((lines.slope > 0) & (lines.r2 > 0.5)).mean())
        margin = 0.01 + 2 / math.sqrt(worlds)
        ok = abs(found[0] - slope) < margin + 0.02 and abs(chance - large) < margin
        ok = ok and (positive is None or abs(found[1] - positive) < margin)
        rows.append({"n": n, "baseline": "shared" if shared else "split", "mean_slope": found[0],
                     "p_positive": found[1], "p_positive_r2_above_half": chance, "known": [slope, positive, large],
                     "ok": ok})  # fmt: skip
    return rows


def power_formula(worlds: int, seed: int = 0) -> Rows:
    """5: two contexts that differ by the smallest visible difference are told apart in 80 % of worlds."""
    rows = []
    for place, (problems, k) in enumerate(((131, 8), (131, 32), (300, 8))):
        draw = generator(seed, 5, place)
        spread = (1 - 0.68) / 0.68
        p_N = draw.beta(0.28 * spread, 0.72 * spread, problems)
        low = p_N * 0.9
        smallest = smallest_difference(math.sqrt(2 * float((low * (1 - low)).mean()) / (problems * k)))
        high = low + smallest

        def accuracies(p: np.ndarray, draw: np.random.Generator = draw, k: int = k) -> np.ndarray:
            return np.asarray(draw.binomial(k, np.clip(p, 0, 1), (worlds, len(p))) / k)

        one, two = accuracies(low), accuracies(high)
        errors = [(a * (1 - a) / (k - 1)).sum(axis=1) / problems**2 for a in (one, two)]
        seen = (two.mean(axis=1) - one.mean(axis=1)) / np.sqrt(errors[0] + errors[1])
        share = float((np.abs(seen) > 1.959964).mean())
        # What the difference would have to be for 80 %, as a share of the formula's.
        ratio = 2.801585 / float(seen.mean())
        rows.append({"problems": problems, "k": k, "smallest_difference": smallest, "power": share,
                     "empirical_over_formula": ratio, "ok": abs(ratio - 1) < 0.1})  # fmt: skip
    return rows


def bootstrap_errors(worlds: int, seed: int = 0) -> Rows:
    """6: the bootstrap's standard error of the slope against its closed form; threads; coverage.

    Each world costs a bootstrap of 500 draws.
    """
    rows: Rows = []
    for tau in (0.0, 0.02):
        slopes: list[float] = []
        errors: dict[str, list[float]] = {"fixed": [], "resampled": [], "closed_form": []}
        held: dict[str, list[bool]] = {"ci95": [], "bca95": []}
        same = True
        for world in range(worlds):
            setting = Setting(seed=seed * 1_000_003 + world, tau=tau, training_sd=0.01, problems=80)
            entry, answers = _simulated(setting)
            points = entry["configs"]
            found = bootstrap(points, answers, seed_sd=entry["seed_sd"], draws=500, seed=world)
            if world == 0:
                same = found == bootstrap(
                    points, answers, seed_sd=entry["seed_sd"], draws=500, seed=world, threads=3
                )
            slopes.append(entry["slope"])
            errors["closed_form"].append(closed_form_se(entry, answers, found["training_sd"]))
            for kind in ("fixed", "resampled"):
                errors[kind].append(found[kind]["slope_se"])
            for kind, several in held.items():
                low, high = found["fixed"][f"slope_{kind}"]
                several.append(low <= setting.slope <= high)
        row = {"tau": tau, "sd_of_slopes": float(np.std(slopes, ddof=1)), "threads_equal": same}
        row |= {f"{kind}_se": float(np.mean(several)) for kind, several in errors.items()}
        row |= {f"coverage_{kind}": sum(several) / len(several) for kind, several in held.items()}
        row["ok"] = same and abs(row["fixed_se"] / row["closed_form_se"] - 1) < 0.05
        rows.append(row)
    return rows


def closed_form_se(entry: dict[str, Any], answers: Sequence[PointAnswers], training_sd: float) -> float:
    """The slope's standard error from the counted answers: each arm's error times what the slope has of it."""
    points = entry["configs"]
    share = [(point["gap"] - entry["gap_mean"]) / entry["gap_sxx"] for point in points]
    weights: dict[str, float] = {}
    variances: dict[str, float] = {}
    total = sum(c**2 * training_sd**2 / point["num_seeds"] for c, point in zip(share, points, strict=True))
    for c, known in zip(share, answers, strict=True):
        for pairs, factor in ((known.runs, c), (known.gaps, -entry["slope"] * c)):
            for below, above in pairs:
                for arm, sign in ((below, -1), (above, 1)):
                    weights[arm.key] = weights.get(arm.key, 0.0) + sign * factor / len(pairs)
                    variances[arm.key] = arm.variance()
    return math.sqrt(total + sum(weight**2 * variances[key] for key, weight in weights.items()))


def _simulated(setting: Setting) -> tuple[dict[str, Any], Any]:
    runs, samples = simulate_runs(setting)
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder) / "runs.parquet", Path(folder) / "samples.parquet"
        write_table(tables[0], runs)
        write_table(tables[1], samples)
        entry = fit_tables([tables[0]])["families"][setting.family]
        return entry, point_answers(entry["configs"], [tables[1]])


def metamorphic(worlds: int, seed: int = 0) -> Rows:
    """9: what must not change the line: order, scale, a constant in all baselines, seeds written twice."""
    worst_by: dict[str, float] = {}
    draw = generator(seed, 9)
    for world in range(worlds):
        runs, _ = simulate_runs(replace(Setting(), seed=seed + world, problems=40, seeds=2))
        base = _line_of(runs)
        order = draw.permutation(len(runs))
        twice = [row | {"run_id": f"{row['run_id']}-{copy}"} for row in runs for copy in (0, 1)]
        changed = {
            "rows in another order": (
                [runs[place] for place in order],
                1.0,
                ("slope", "slope_se", "r2", "intercept"),
            ),
            "half the scale": ([_scaled(row, 0.5) for row in runs], 1.0, ("slope", "slope_se", "r2")),
            "a constant in all baselines": (
                [_moved(row, 0.03) for row in runs],
                1.0,
                ("slope", "slope_se", "r2"),
            ),
            "every seed twice": (twice, 1.0, ("slope", "slope_se", "r2", "intercept")),
        }
        for name, (rows, _, figures) in changed.items():
            line = _line_of(rows)
            away = max(abs(line[figure] / base[figure] - 1) for figure in figures)
            worst_by[name] = max(away, worst_by.get(name, 0.0))
    return [
        {"change": name, "largest_relative_change": away, "ok": away < 1e-9}
        for name, away in worst_by.items()
    ]


def _line_of(runs: Rows) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "runs.parquet"
        write_table(table, runs)
        (entry,) = fit_tables([table])["families"].values()
        return dict(entry)


def _scaled(row: dict[str, Any], by: float) -> dict[str, Any]:
    return row | {
        name: row[name] * by for name in ("gap", "gap_se_cond", "improvement", "improvement_se_cond")
    }


def _moved(row: dict[str, Any], by: float) -> dict[str, Any]:
    return row | {"gap": row["gap"] - by, "improvement": row["improvement"] - by}


STUDIES: dict[str, tuple[str, Callable[[int, int], Rows]]] = {
    "1": ("coverage of the fit's intervals, 256 cells", intervals),
    "1b": ("coverage of the slopes' other intervals", other_intervals),
    "2": ("attenuation", attenuation),
    "3": ("no effect, baselines shared or split", no_effect),
    "5": ("smallest visible difference", power_formula),
    "6": ("bootstrap against the spread of slopes", bootstrap_errors),
    "9": ("changes that leave the line", metamorphic),
}
"""Number: title, study."""
