"""The predictive law: improvement after training against the gap before it, a line per family.

In: tables of finished runs (``runs.parquet``; also csv, jsonl) with family, config_id, gap, improvement as
fractions. Out: the fitted lines as one JSON-able dictionary, forecasts with their intervals, figures.

Ordinary least squares on configuration means: a configuration's seeds are averaged first, because seeds as
points, or weights from two or three seeds, give intervals that are too narrow. Families are never pooled: the
published slopes (1.49 and 0.66) differ. Estimators: ``opsd_rs.base.estimators``. Nothing here reads a run folder or
needs torch; a figure the data do not determine is null, with a note.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from opsd_rs.base import t_interval, write_whole
from opsd_rs.errors import BadInput
from opsd_rs.law.configurations import CONTROL, configuration_means, shared_domain
from opsd_rs.law.noise import point_variances, scatter_beyond_noise, seed_figures
from opsd_rs.law.regression import Line, fit_line, welch_p
from opsd_rs.law.rows import LawRow, read_rows, unique_rows

LAW_VERSION = 2
MIN_CONFIGS = 3
"""Two points make a line without an error."""
FEW_CONFIGS = 6
"""The paper's own number; below it the interval is wider than the claim."""


def fit_tables(paths: Iterable[Path], *, with_none: bool = False) -> dict[str, Any]:
    """Fit every family found in the tables: ``{"with_none": ..., "families": {name: entry}}``, JSON-able, never nan.

    Left out are runs whose recipe changed on the way, and points of the context ``none``: its gap and its gain are 0 by
    construction, so it would draw any line through the origin and make any scatter look like a law.

    :param with_none: fit the points of ``none`` too, as the paper's six contexts seem to be

    Entry: slope, slope_se, slope_ci95, slope_p, intercept, intercept_se, r2, residual_sd, n (configurations), df,
    num_runs, loo_r2, loo_q2, loo_rmse, gap_{mean,sxx,min,max}, domain, synthetic, notes, configs (the points, those
    of ``none`` too, ``fitted`` or not), inputs (files and their sha256). BadInput below three configurations.
    """
    paths = [Path(path) for path in paths]
    rows = unique_rows([(path, row) for path in paths for row in read_rows(path)])
    families: dict[str, list[tuple[Path, LawRow]]] = {}
    for path, row in rows:
        families.setdefault(row.family, []).append((path, row))
    entries = {name: _fit_family(name, members, with_none) for name, members in families.items()}
    _compare(entries)
    return {"with_none": with_none, "families": entries}


def _fit_family(name: str, members: Sequence[tuple[Path, LawRow]], with_none: bool) -> dict[str, Any]:
    sources = list(dict.fromkeys(path for path, _ in members))
    rows = [row for _, row in members if row.segments == 1 and row.stopped_at is None]
    where = ", ".join(map(str, sources))
    if len({row.synthetic for row in rows}) > 1:
        raise BadInput(f"{where}: column synthetic: family {name} mixes synthetic and measured rows")
    all_points, notes = configuration_means(rows)
    for point in all_points:
        point["fitted"] = with_none or point["context"] != CONTROL
    points = [point for point in all_points if point["fitted"]]
    controls = [point for point in all_points if point["context"] == CONTROL]
    notes = [
        *_changed([row for _, row in members if row.segments > 1]),
        *_stopped([row for _, row in members if row.segments == 1 and row.stopped_at is not None]),
        *notes,
        *_controls(controls, with_none),
    ]
    if len(points) < MIN_CONFIGS:
        beside = f" beside {CONTROL}, which is left out of the fit" if len(all_points) > len(points) else ""
        fix = f", or fit {CONTROL} too with --with-none" if beside else ""
        raise BadInput(
            f"{where}: column config_id: family {name} has {len(points)} configuration(s){beside}, a line needs "
            f"{MIN_CONFIGS}; add runs of other contexts (seeds of one configuration count once){fix}"
            + "".join(f"; {note}" for note in notes if note.startswith("left out"))
        )
    fitted = [row for row in rows if with_none or row.context != CONTROL]
    domain, unequal = shared_domain(fitted)
    notes += unequal
    entry: dict[str, Any] = dict.fromkeys(
        ("slope", "slope_se", "slope_ci95", "slope_p", "intercept", "intercept_se", "r2", "residual_sd")
    )
    entry |= {"n": len(points), "df": len(points) - 2, "num_runs": len(fitted)}
    entry |= dict.fromkeys(("intercept_ci95", "loo_r2", "loo_q2", "loo_rmse", "tau"))
    entry |= {"entry_version": LAW_VERSION, "audits": {}, "rivals": []}
    entry |= seed_figures(points)
    entry["gap_se2_mean"] = sum((point["gap_se"] or 0.0) ** 2 for point in points) / len(points)
    gaps, improvements = [p["gap"] for p in points], [p["improvement"] for p in points]
    if max(gaps) == min(gaps):
        notes.append("all gaps are equal: no slope, no forecast")
    else:
        line = fit_line(gaps, improvements)
        entry |= _line_entry(line)
        known = point_variances(points, entry["seed_sd"])
        if known is not None:
            entry["tau"] = scatter_beyond_noise(gaps, improvements, *known)
        for place, point in enumerate(points):
            point["leverage"], point["residual"] = line.leverages[place], line.residuals[place]
            if line.loo_residuals is not None:
                point["loo_forecast"] = point["improvement"] - line.loo_residuals[place]
        if line.loo_residuals is None:
            alone = points[max(range(len(points)), key=line.leverages.__getitem__)]["config_id"]
            notes.append(f"leave-one-out is undefined: {alone} alone determines the slope")
        if line.r2 is None:
            notes.append("all improvements are equal: R2 is undefined")
    if len(points) < FEW_CONFIGS:
        notes.insert(0, f"only {len(points)} configurations: read the interval, not R2 (below {FEW_CONFIGS})")
    synthetic = rows[0].synthetic
    if synthetic:
        notes.insert(0, "SYNTHETIC rows: invented numbers, no measurement")
    digests = [{"path": str(p), "sha256": hashlib.sha256(p.read_bytes()).hexdigest()} for p in sources]
    return entry | {
        "domain": domain,
        "synthetic": synthetic,
        "notes": notes,
        "configs": all_points,
        "inputs": digests,
    }


def _changed(rows: Sequence[LawRow]) -> list[str]:
    if not rows:
        return []
    runs = ", ".join(f"{row.run_id or row.config_id} ({row.segments} recipes)" for row in rows)
    return [f"left out, their recipe changed on the way: {runs}"]


def _stopped(rows: Sequence[LawRow]) -> list[str]:
    if not rows:
        return []
    runs = ", ".join(f"{row.run_id or row.config_id} (at step {row.stopped_at})" for row in rows)
    return [f"left out, stopped before their horizon: {runs}"]


def _controls(points: Sequence[Mapping[str, Any]], with_none: bool) -> list[str]:
    if not points:
        return []
    what = f"its gap and its gain are 0 by construction ({sum(point['num_seeds'] for point in points)} runs)"
    if with_none:
        return [f"{CONTROL} is fitted as a point (--with-none), although {what}"]
    return [f"{CONTROL} is drawn hollow and left out of the fit: {what}; --with-none fits it"]


def _line_entry(line: Line) -> dict[str, Any]:
    return {
        "slope": line.slope,
        "slope_se": line.slope_se,
        "slope_ci95": list(t_interval(line.slope, line.slope_se, line.df)),
        "slope_p": line.slope_p,
        "intercept": line.intercept,
        "intercept_se": line.intercept_se,
        "intercept_ci95": list(t_interval(line.intercept, line.intercept_se, line.df)),
        "r2": line.r2,
        "residual_sd": line.residual_sd,
        "loo_r2": line.loo_r2,
        "loo_q2": line.loo_q2,
        "loo_rmse": line.loo_rmse,
        "gap_mean": line.x_mean,
        "gap_sxx": line.sxx,
        "gap_min": line.x_min,
        "gap_max": line.x_max,
    }


def _compare(entries: Mapping[str, dict[str, Any]]) -> None:
    """Note families whose slopes differ (Welch): they must not share a line."""
    fitted = [(name, entry) for name, entry in entries.items() if entry["slope"] is not None]
    for place, (name, entry) in enumerate(fitted):
        for other_name, other in fitted[place + 1 :]:
            one = entry["slope"], entry["slope_se"], entry["df"]
            p = welch_p(*one, other["slope"], other["slope_se"], other["df"])
            if p < 0.05 and entry["synthetic"] == other["synthetic"]:
                for here, there, slope in ((entry, other_name, other), (other, name, entry)):
                    here["notes"].append(
                        f"slope differs from {there}'s ({slope['slope']:.2f}, Welch p {p:.2g}): do not pool"
                    )


def save(fit: Mapping[str, Any], path: Path) -> None:
    """Write ``law.json``: enough to forecast without the data."""
    text = json.dumps({"law_version": LAW_VERSION, **fit}, indent=1, allow_nan=False)
    write_whole(path, text.encode() + b"\n")


def synthetic_table() -> Path:
    """The shipped table of invented points in the shape of the paper's Figure 1a, marked synthetic."""
    return Path(str(files("opsd_rs") / "data" / "law_synthetic.csv"))
