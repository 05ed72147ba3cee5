"""One family's entry of ``law.json``: its points, its line, and all that is said of both.

In: the rows of one group. Out: a JSON-able dictionary; a figure that the data do not determine is None, with a note.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from opsd_rs.base import t_interval
from opsd_rs.errors import BadInput
from opsd_rs.law.baselines import error_correlations, shared_offset
from opsd_rs.law.checks import audits
from opsd_rs.law.configurations import CONTROL, configuration_means, shared_domain
from opsd_rs.law.coupling import reused_baseline
from opsd_rs.law.errors_in_variables import ErrorsLine, deming, york
from opsd_rs.law.influence import curvature, influences, slope_one
from opsd_rs.law.intervals import MANY, add_variances, is_indicative
from opsd_rs.law.noise import noise_ceiling, point_variances, scatter_beyond_noise, seed_figures
from opsd_rs.law.ranks import rank_correlations, theil_sen
from opsd_rs.law.recovered import fieller
from opsd_rs.law.regression import Line, fit_line
from opsd_rs.law.rivals import fit_rivals
from opsd_rs.law.rows import LawRow
from opsd_rs.law.transfer import leave_one_group_out

ENTRY_VERSION = 2
MIN_CONFIGS = 3
"""Two points make a line without an error."""
FEW_CONFIGS = 6
"""The paper's own number; below it the interval is wider than the claim."""
LEAST_RELIABILITY = 0.5
"""Where less of the gaps' spread is real, dividing by it is no correction."""
BEYOND_A_LINE = (
    "slope_one", "curvature", "theil_sen", "ranks", "deming", "york", "noise_ceiling", "shared_baseline",
)  # fmt: skip
NO_LINE = (
    "slope", "slope_se", "slope_ci95", "slope_p", "intercept", "intercept_se", "intercept_ci95", "r2", "r2_adjusted",
    "f", "slope_corrected", "slope_corrected_ci95", "gap_reliability", "residual_sd", "loo_r2", "loo_q2", "loo_rmse",
    "tau",
)  # fmt: skip


def fit_family(
    name: str, members: Sequence[tuple[Path, LawRow]], *, with_none: bool, predictors: Sequence[str] = ()
) -> dict[str, Any]:
    """The entry of one family; BadInput below three configurations."""
    sources = list(dict.fromkeys(path for path, _ in members))
    rows = [row for _, row in members if row.segments == 1 and row.stopped_at is None]
    where = ", ".join(map(str, sources))
    if len({row.synthetic for row in rows}) > 1:
        raise BadInput(f"{where}: column synthetic: family {name} mixes synthetic and measured rows")
    all_points, mixed, grouped = configuration_means(rows)
    for point in all_points:
        point["fitted"] = with_none or point["context"] != CONTROL
    points = [point for point in all_points if point["fitted"]]
    rows_by_point = [group for point, group in zip(all_points, grouped, strict=True) if point["fitted"]]
    controls = [point for point in all_points if point["context"] == CONTROL]
    left_out = _left_out([row for _, row in members])
    if len(points) < MIN_CONFIGS:
        beside = f" beside {CONTROL}, which is left out of the fit" if len(all_points) > len(points) else ""
        fix = f", or fit {CONTROL} too with --with-none" if beside else ""
        raise BadInput(
            f"{where}: column config_id: family {name} has {len(points)} configuration(s){beside}, a line needs "
            f"{MIN_CONFIGS}; add runs of other contexts (seeds of one configuration count once){fix}"
            + "".join(f"; {note}" for note in left_out)
        )
    fitted = [row for group in rows_by_point for row in group]
    domain, unequal = shared_domain(fitted)
    notes = [*left_out, *mixed, *_controls(controls, with_none), *unequal]
    entry: dict[str, Any] = {"entry_version": ENTRY_VERSION, **dict.fromkeys(NO_LINE)}
    entry |= {"n": len(points), "df": len(points) - 2, "num_runs": len(fitted)} | seed_figures(points)
    entry["gap_se2_mean"] = sum((point["gap_se"] or 0.0) ** 2 for point in points) / len(points)
    entry |= dict.fromkeys(BEYOND_A_LINE)
    gaps, improvements = [p["gap"] for p in points], [p["improvement"] for p in points]
    entry["rivals"] = fit_rivals(rows_by_point, gaps, improvements, predictors)
    entry["leave_one_size_out"] = _by_size(points, rows_by_point)
    for point in all_points:
        point |= _recovered(point, entry)
    if max(gaps) == min(gaps):
        notes.append("all gaps are equal: no slope, no forecast")
    else:
        line = fit_line(gaps, improvements)
        entry |= _line_entry(line) | _beyond(line, gaps, improvements, points, rows_by_point, entry)
        _correct(entry)
        notes += [*_line_notes(line, points), *_flattened(entry)]
    entry["audits"] = audits(entry, points, rows_by_point, controls)
    if len(points) < FEW_CONFIGS:
        notes.insert(0, f"only {len(points)} configurations: read the interval, not R2 (below {FEW_CONFIGS})")
    synthetic = rows[0].synthetic
    if synthetic:
        notes.insert(0, "SYNTHETIC rows: invented numbers, no measurement")
    digests = [{"path": str(p), "sha256": hashlib.sha256(p.read_bytes()).hexdigest()} for p in sources]
    end = {"domain": domain, "synthetic": synthetic, "notes": notes, "configs": all_points, "inputs": digests}
    return entry | end


def _left_out(rows: Sequence[LawRow]) -> list[str]:
    changed = [f"{row.run_id or row.config_id} ({row.segments} recipes)" for row in rows if row.segments > 1]
    stopped = [
        f"{row.run_id or row.config_id} (at step {row.stopped_at})"
        for row in rows
        if row.segments == 1 and row.stopped_at is not None
    ]
    notes = []
    if changed:
        notes.append(f"left out, their recipe changed on the way: {', '.join(changed)}")
    if stopped:
        notes.append(f"left out, stopped before their horizon: {', '.join(stopped)}")
    return notes


def _controls(points: Sequence[Mapping[str, Any]], with_none: bool) -> list[str]:
    if not points:
        return []
    what = f"its gap and its gain are 0 by construction ({sum(point['num_seeds'] for point in points)} runs)"
    if with_none:
        return [f"{CONTROL} is fitted as a point (--with-none), although {what}"]
    return [f"{CONTROL} is drawn hollow and left out of the fit: {what}; --with-none fits it"]


def _line_entry(line: Line) -> dict[str, Any]:
    sse = line.residual_sd**2 * line.df
    return {
        "slope": line.slope,
        "slope_se": line.slope_se,
        "slope_ci95": list(t_interval(line.slope, line.slope_se, line.df)),
        "slope_p": line.slope_p,
        "intercept": line.intercept,
        "intercept_se": line.intercept_se,
        "intercept_ci95": list(t_interval(line.intercept, line.intercept_se, line.df)),
        "r2": line.r2,
        "r2_adjusted": None if line.r2 is None else 1 - (1 - line.r2) * (line.n - 1) / line.df,
        "f": line.slope**2 * line.sxx / (sse / line.df) if sse > 0 else None,
        "residual_sd": line.residual_sd,
        "loo_r2": line.loo_r2,
        "loo_q2": line.loo_q2,
        "loo_rmse": line.loo_rmse,
        "gap_mean": line.x_mean,
        "gap_sxx": line.sxx,
        "gap_min": line.x_min,
        "gap_max": line.x_max,
    }


def _beyond(
    line: Line,
    gaps: Sequence[float],
    improvements: Sequence[float],
    points: Sequence[dict[str, Any]],
    rows_by_point: Sequence[Sequence[LawRow]],
    entry: Mapping[str, Any],
) -> dict[str, Any]:
    """What stands beside the line; fills the points' influence."""
    for place, (point, influence) in enumerate(zip(points, influences(line, gaps), strict=True)):
        point |= asdict(influence) | {"leverage": line.leverages[place], "residual": line.residuals[place]}
        if line.loo_residuals is not None:
            point["loo_forecast"] = point["improvement"] - line.loo_residuals[place]
    found: dict[str, Any] = {
        "slope_one": slope_one(line),
        "curvature": curvature(gaps, improvements),
        "theil_sen": theil_sen(gaps, improvements) | {"indicative": is_indicative("theil_sen")},
        "ranks": rank_correlations(gaps, improvements),
        "shared_baseline": shared_offset(rows_by_point, gaps, line.slope),
    }
    try:
        found["deming"] = _errors_line("deming", deming(gaps, improvements), line)
    except ValueError:
        found["deming"] = None
    known = point_variances(points, entry["seed_sd"])
    if known is not None:
        tau = found["tau"] = scatter_beyond_noise(gaps, improvements, *known)
        found["noise_ceiling"] = noise_ceiling(gaps, improvements, *known, slope=line.slope)
        if all(x + y + tau > 0 for x, y in zip(*known, strict=True)):
            together = np.zeros(len(gaps))
            if reused_baseline([row for rows in rows_by_point for row in rows])["ok"] is False:
                together = error_correlations(rows_by_point, *known)
            fitted = york(gaps, improvements, known[0] ** 0.5, known[1] ** 0.5, together, scatter=tau)
            found["york"] = _errors_line("york", fitted, line)
    return found


def _errors_line(name: str, found: ErrorsLine, line: Line) -> dict[str, Any]:
    interval = None
    if found.slope_se is not None and math.isfinite(found.slope_se):
        interval = list(t_interval(found.slope, found.slope_se, line.df))
    return asdict(found) | {"slope_ci95": interval, "indicative": is_indicative(name)}


def _correct(entry: dict[str, Any]) -> None:
    """The slope without the gaps' errors, and the intercept's interval with what shared baselines hide."""
    shared = entry["shared_baseline"]
    entry["offset_se2"] = shared["offset_se2"]
    # What all gaps share moves them together and flattens nothing.
    error = entry["gap_se2_mean"] - (shared["gap_se2"] or 0.0)
    reliability = 1 - max(0.0, error) / (entry["gap_sxx"] / (entry["n"] - 1))
    if entry["gap_se2_mean"] > 0:
        entry["gap_reliability"] = reliability
    if entry["gap_se2_mean"] > 0 and reliability > LEAST_RELIABILITY:
        entry["slope_corrected"] = entry["slope"] / reliability
        entry["slope_corrected_ci95"] = [bound / reliability for bound in entry["slope_ci95"]]
    extra = shared["intercept_se2"]
    if extra:
        parts = [(entry["intercept_se"] ** 2, float(entry["df"])), (max(0.0, extra), MANY)]
        entry["intercept_ci95"] = list(t_interval(entry["intercept"], *add_variances(parts)))


def _line_notes(line: Line, points: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    if line.loo_residuals is None:
        alone = points[max(range(len(points)), key=line.leverages.__getitem__)]["config_id"]
        notes.append(f"leave-one-out is undefined: {alone} alone determines the slope")
    if line.r2 is None:
        notes.append("all improvements are equal: R2 is undefined")
    return notes


def _flattened(entry: Mapping[str, Any]) -> list[str]:
    """Half a standard error of bias costs the least-squares interval three points of its coverage."""
    corrected, se = entry["slope_corrected"], entry["slope_se"]
    if corrected is None or abs(corrected - entry["slope"]) <= 0.5 * se:
        return []
    return [
        "errors of the gaps flatten the slope by more than half its standard error: read the corrected interval"
    ]


def _recovered(point: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Improvement over gap; None where the gap may be 0 or an error is not known."""
    nothing = {"pgr": None, "pgr_ci95": None}
    error, df = point["improvement_se"], MANY
    if entry["seed_sd"] is not None:
        error, df = entry["seed_sd"] / math.sqrt(point["num_seeds"]), float(entry["seed_df"])
    if error is None or not point["gap_se"]:
        return nothing
    interval = fieller(point["improvement"], point["gap"], error, point["gap_se"], df=df)
    if interval is None:
        return nothing
    return {"pgr": point["improvement"] / point["gap"], "pgr_ci95": list(interval)}


def _by_size(
    points: Sequence[Mapping[str, Any]], rows_by_point: Sequence[Sequence[LawRow]]
) -> list[dict[str, Any]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for point, rows in zip(points, rows_by_point, strict=True):
        size = rows[0].record.get("size_b")
        if size in (None, ""):
            return []
        groups.setdefault(f"{float(size):g}B", []).append(point)
    return leave_one_group_out(groups) if len(groups) > 1 else []
