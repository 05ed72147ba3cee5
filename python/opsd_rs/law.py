"""The predictive law: improvement after training against the gap before it, a line per family.

In: tables of finished runs (``runs.parquet``; also csv, jsonl) with family, config_id, gap, improvement as
fractions. Out: the fitted lines as one JSON-able dictionary, forecasts with their intervals, figures.

Ordinary least squares on configuration means: a configuration's seeds are averaged first, because seeds as
points, or weights from two or three seeds, give intervals that are too narrow. Families are never pooled: the
published slopes (1.49 and 0.66) differ. Estimators: ``opsd_rs.statistics``. Nothing here reads a run folder or
needs torch; a figure the data do not determine is null, with a note.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from opsd_rs import statistics
from opsd_rs.errors import BadInput
from opsd_rs.journal import write_whole
from opsd_rs.law_runs import RUNS_SCHEMA, append_run_row
from opsd_rs.law_table import (
    LawRow,
    configuration_means,
    gap_se,
    mean,
    read_rows,
    shared_domain,
    unique_rows,
)

__all__ = [
    "RUNS_SCHEMA",
    "append_run_row",
    "figure1",
    "figure2",
    "fit_tables",
    "format_predictions",
    "format_table",
    "predict_table",
    "save",
    "synthetic_table",
]

LAW_VERSION = 1
MIN_CONFIGS = 3
"""Two points make a line without an error."""
FEW_CONFIGS = 6
"""The paper's own number; below it the interval is wider than the claim."""

PREDICTS = ("slope", "intercept", "residual_sd", "n", "gap_mean", "gap_sxx", "gap_min", "gap_max")
"""What a family's entry must hold for a forecast."""


def fit_tables(paths: Iterable[Path]) -> dict[str, Any]:
    """Fit every family found in the tables: ``{"families": {name: entry}}``, JSON-able, never nan.

    Entry: slope, slope_se, slope_ci95, slope_p, intercept, intercept_se, r2, residual_sd, n (configurations), df,
    num_runs, loo_r2, loo_q2, loo_rmse, gap_{mean,sxx,min,max}, domain, synthetic, notes, configs (the points),
    inputs (files and their sha256). BadInput below three configurations.
    """
    paths = [Path(path) for path in paths]
    rows = unique_rows([(path, row) for path in paths for row in read_rows(path)])
    families: dict[str, list[tuple[Path, LawRow]]] = {}
    for path, row in rows:
        families.setdefault(row.family, []).append((path, row))
    entries = {name: _fit_family(name, members) for name, members in families.items()}
    _compare(entries)
    return {"families": entries}


def _fit_family(name: str, members: Sequence[tuple[Path, LawRow]]) -> dict[str, Any]:
    sources = list(dict.fromkeys(path for path, _ in members))
    rows = [row for _, row in members]
    where = ", ".join(map(str, sources))
    points = configuration_means(rows)
    if len(points) < MIN_CONFIGS:
        raise BadInput(
            f"{where}: column config_id: family {name} has {len(points)} configuration(s), a line needs "
            f"{MIN_CONFIGS}; add runs of other contexts (seeds of one configuration count once)"
        )
    if len({row.synthetic for row in rows}) > 1:
        raise BadInput(f"{where}: column synthetic: family {name} mixes synthetic and measured rows")
    domain, notes = shared_domain(rows)
    entry: dict[str, Any] = dict.fromkeys(
        ("slope", "slope_se", "slope_ci95", "slope_p", "intercept", "intercept_se", "r2", "residual_sd")
    )
    entry |= {"n": len(points), "df": len(points) - 2, "num_runs": len(rows)}
    entry |= dict.fromkeys(("loo_r2", "loo_q2", "loo_rmse"))
    gaps, improvements = [p["gap"] for p in points], [p["improvement"] for p in points]
    if max(gaps) == min(gaps):
        notes.append("all gaps are equal: no slope, no forecast")
    else:
        line = statistics.fit_line(gaps, improvements)
        entry |= _line_entry(line)
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
        "configs": points,
        "inputs": digests,
    }


def _line_entry(line: statistics.Line) -> dict[str, Any]:
    return {
        "slope": line.slope,
        "slope_se": line.slope_se,
        "slope_ci95": list(statistics.interval(line.slope, line.slope_se, line.df)),
        "slope_p": line.slope_p,
        "intercept": line.intercept,
        "intercept_se": line.intercept_se,
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
            p = statistics.welch_p(*one, other["slope"], other["slope_se"], other["df"])
            if p < 0.05 and entry["synthetic"] == other["synthetic"]:
                for here, there, slope in ((entry, other_name, other), (other, name, entry)):
                    here["notes"].append(
                        f"slope differs from {there}'s ({slope['slope']:.2f}, Welch p {p:.2g}): do not pool"
                    )


def save(fit: Mapping[str, Any], path: Path) -> None:
    """Write ``law.json``: enough to forecast without the data."""
    text = json.dumps({"law_version": LAW_VERSION, **fit}, indent=1, allow_nan=False)
    write_whole(path, text.encode() + b"\n")


# --- forecasts --------------------------------------------------------------------------------------------


def predict_table(law_json: Path, table: Path) -> list[dict[str, Any]]:
    """Forecast each configuration of ``table`` (family, config_id, gap; its standard error where given).

    Rows {family, config_id, gap, forecast, pi80, pi95, flags}. The interval is that of one new configuration
    (t, n - 2) and includes slope times the gap's own error. Flags: family_absent and slope_undefined (no
    forecast), extrapolation (gap outside the fitted range, or leverage above 4/n), few_configs, ceiling
    (forecast above 1 - the student's accuracy), domain:KEY (measured under another setting), synthetic.
    """
    families = _load(Path(law_json))
    groups: dict[tuple[str, str], list[LawRow]] = {}
    for row in read_rows(Path(table), improvement=False):
        groups.setdefault((row.family, row.config_id), []).append(row)
    return [_predict(families.get(family), group, law_json) for (family, _), group in groups.items()]


def _predict(entry: Mapping[str, Any] | None, group: Sequence[LawRow], law_json: Path) -> dict[str, Any]:
    first, gap = group[0], mean([row.gap for row in group])
    head = {"family": first.family, "config_id": first.config_id, "gap": gap}
    if entry is None:
        return head | {"forecast": None, "pi80": None, "pi95": None, "flags": ["family_absent"]}
    if entry.get("slope") is None:
        return head | {"forecast": None, "pi80": None, "pi95": None, "flags": ["slope_undefined"]}
    lacking = [key for key in PREDICTS if not isinstance(entry.get(key), (int, float))]
    if lacking:
        raise BadInput(f"{law_json}: family {first.family} lacks {', '.join(lacking)}; fit the law again")
    n = int(entry["n"])
    slope, sd = entry["slope"], entry["residual_sd"]
    x_mean, sxx = entry["gap_mean"], entry["gap_sxx"]
    forecast = entry["intercept"] + slope * gap
    se = statistics.prediction_se(
        gap, slope=slope, residual_sd=sd, n=n, x_mean=x_mean, sxx=sxx, x0_se=gap_se(group) or 0.0
    )
    flags = []
    if entry.get("synthetic"):
        flags.append("synthetic")
    if not entry["gap_min"] <= gap <= entry["gap_max"] or 1 / n + (gap - x_mean) ** 2 / sxx > 4 / n:
        flags.append("extrapolation")
    if n < FEW_CONFIGS:
        flags.append("few_configs")
    if any(row.acc_val0 is not None and forecast > 1 - row.acc_val0 for row in group):
        flags.append("ceiling")
    fitted = entry.get("domain") or {}
    flags += [
        f"domain:{key}"
        for key, value in fitted.items()
        if any(row.domain.get(key, value) != value for row in group)
    ]
    pi80, pi95 = (list(statistics.interval(forecast, se, n - 2, level)) for level in (0.80, 0.95))
    return head | {"forecast": forecast, "pi80": pi80, "pi95": pi95, "flags": flags}


def _load(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        law = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; write it with `opsd-rs law fit TABLE --out {path}`") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    families = law.get("families") if isinstance(law, dict) else None
    if not isinstance(families, dict) or not all(isinstance(entry, dict) for entry in families.values()):
        raise BadInput(f"{path}: no `families` in it; write it with `opsd-rs law fit TABLE --out {path}`")
    return families


# --- text and figures -------------------------------------------------------------------------------------


def format_table(fit: Mapping[str, Any]) -> list[str]:
    """The fit as plain lines for a terminal, in percentage points; the interval stands before R2."""
    lines: list[str] = []
    for name, entry in fit["families"].items():
        lines.append(f"{name}   n = {entry['n']} configurations, {entry['num_runs']} runs")
        if entry["slope"] is not None:
            low, high = entry["slope_ci95"]
            half = (
                statistics.t_quantile(0.975, entry["df"])
                * entry["residual_sd"]
                * math.sqrt(1 + 1 / entry["n"])
            )
            lines += [
                f"  improvement = {100 * entry['intercept']:+.2f} pp + {entry['slope']:.3f} x gap"
                f"   slope 95 % CI [{low:.2f}, {high:.2f}], p {entry['slope_p']:.2g}",
                f"  95 % prediction interval at the mean gap: +-{100 * half:.1f} pp"
                f"   gaps {100 * entry['gap_min']:.1f} to {100 * entry['gap_max']:.1f} pp",
                f"  R2 {_text(entry['r2'])}   leave-one-out: RMSE {_text(entry['loo_rmse'], 100, ' pp')}, "
                f"R2 {_text(entry['loo_r2'])}, Q2 {_text(entry['loo_q2'])}",
            ]
        lines += [f"  ! {note}" for note in entry["notes"]]
    return lines


def format_predictions(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Forecasts as plain lines, in percentage points."""
    lines = []
    for row in predictions:
        line = f"{row['family']}  {row['config_id']}  gap {100 * row['gap']:+.1f} pp: "
        if row["forecast"] is None:
            line += "no forecast"
        else:
            (low80, high80), (low95, high95) = row["pi80"], row["pi95"]
            line += (
                f"forecast {100 * row['forecast']:+.1f} pp, 80 % [{100 * low80:+.1f}, {100 * high80:+.1f}], "
                f"95 % [{100 * low95:+.1f}, {100 * high95:+.1f}]"
            )
        lines.append(line + (f"  ! {', '.join(row['flags'])}" if row["flags"] else ""))
    return lines


def _text(value: float | None, scale: float = 1.0, unit: str = "") -> str:
    return "undefined" if value is None else f"{scale * value:.3g}{unit}"


def synthetic_table() -> Path:
    """The shipped table of invented points in the shape of the paper's Figure 1a, marked synthetic."""
    return Path(str(files("opsd_rs") / "data" / "law_synthetic.csv"))


def figure1(source: Mapping[str, Any] | Sequence[Path], out: Path) -> list[Path]:
    """Improvement against gap, a panel per family, from a fit or from tables; writes ``out`` as .svg and .png."""
    from opsd_rs import figures

    fit = source if isinstance(source, Mapping) else fit_tables(source)
    return figures.improvement_against_gap(fit, Path(out))


def figure2(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Accuracy against steps, student and self-teacher, a panel per run; writes ``out`` as .svg and .png.

    Rows {run, step, arm ("student" or "teacher"), accuracy, se}; fractions, se may be None.
    """
    from opsd_rs import figures

    return figures.accuracy_against_steps(rows, Path(out))
