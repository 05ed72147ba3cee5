"""Forecasts, decisions and laws as plain lines for a terminal, in percentage points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsd_rs.law.laws import Law, lacks


def format_predictions(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Forecasts as plain lines, in percentage points: the forecast, one new run, the decision, what it costs."""
    lines = []
    for row in predictions:
        error = "" if row.get("gap_se") is None else f" (SE {100 * row['gap_se']:.1f})"
        line = f"{row['family']}  {row['config_id']}  gap {100 * row['gap']:+.1f}{error} pp: "
        if row["forecast"] is None:
            line += "no forecast"
        else:
            line += (
                f"forecast {100 * row['forecast']:+.1f} pp, 80 % {_interval(row['pi80'])}, "
                f"95 % {_interval(row['pi95'])}"
            )
        lines.append(line + (f"  ! {', '.join(row['flags'])}" if row["flags"] else ""))
        if row["forecast"] is not None:
            lines.append(
                f"  one new run: 80 % {_interval(row['pi80_run'])}, 95 % {_interval(row['pi95_run'])}{_end(row)}"
            )
        lines.append(f"  {row['decision']}: {row['reason']}{_settling(row)}{_price(row)}")
    return lines


def _interval(ends: Sequence[float]) -> str:
    return f"[{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]"


def _end(row: Mapping[str, Any]) -> str:
    said = "" if row["forecast_final"] is None else f"   ends at {100 * row['forecast_final']:.1f} %"
    if row["forecast"] != row["forecast_unclipped"]:
        said += (
            f"   unclipped {100 * row['forecast_unclipped']:+.1f}, 95 % {_interval(row['pi95_unclipped'])}"
        )
    return said


def _settling(row: Mapping[str, Any]) -> str:
    if row["settling_samples"] is not None:
        return f"; {row['settling_samples']} samples per problem would settle it"
    factor = row["settling_factor"]
    return "" if factor is None else f"; {factor:.1f} times the samples would settle it"


def _price(row: Mapping[str, Any]) -> str:
    measuring, run = row["measuring_gpu_hours"], row["run_gpu_hours"]
    parts = [
        *([f"measuring takes {measuring:.2f} GPU hours"] if measuring is not None else []),
        *([f"a run {run:.2f} GPU hours"] if run is not None else []),
    ]
    return f"; {', '.join(parts)}" if parts else ""


def format_law(law: Law) -> list[str]:
    """A law in lines: each family's line with its domain, then where the numbers come from and what is missing."""
    lines = [f"{law.name}   {law.evidence or 'own fit'}   sha256 {law.sha256[:16]}"]
    for family, entry in law.families.items():
        lines.append(f"{family}   n = {entry.get('n')} configurations, {entry.get('num_runs')} runs")
        lines += [f"  {line}" for line in _numbers(entry)]
        domain = entry.get("domain") or {}
        lines.append(
            "  holds at " + (", ".join(f"{k} = {v}" for k, v in domain.items()) or "unknown settings")
        )
        if lacking := lacks(entry):
            lines.append(f"  serves comparison only: no {', '.join(lacking)}")
        lines += [f"  ! {note}" for note in entry.get("notes") or []]
    lines += [f"source of {key}: {said}" for key, said in (law.sources or {}).items()]
    if law.missing:
        lines.append(f"missing: {', '.join(law.missing)}")
    return lines


def _numbers(entry: Mapping[str, Any]) -> list[str]:
    if entry.get("slope") is None:
        return ["no slope"]
    intercept = entry.get("intercept")
    start = "unknown intercept" if intercept is None else f"{100 * intercept:+.2f} pp"
    interval = entry.get("slope_ci95")
    said = "" if interval is None else f"   slope 95 % CI [{interval[0]:.2f}, {interval[1]:.2f}]"
    r2, sd = entry.get("r2"), entry.get("residual_sd")
    scatter = "unknown" if sd is None else f"{100 * sd:.2f} pp"
    return [
        f"improvement = {start} + {entry['slope']:.3f} x gap{said}",
        f"R2 {'unknown' if r2 is None else f'{r2:.3f}'}   residual SD {scatter}",
    ]
