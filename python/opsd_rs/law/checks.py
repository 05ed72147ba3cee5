"""The audits of a fitted line: what would make its figures mislead, each with a verdict, a value and a sentence.

In: a family's entry, its points and their runs. Out: ``{name: {"ok": bool or None, "value": ..., "said": str}}``; None
where the table does not tell. ``law check`` prints them; with ``--strict`` a failed one is exit code 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from opsd_rs.law.coupling import reused_baseline, teacher_and_student
from opsd_rs.law.rows import LawRow

AUDITS = {
    "influence": "no single point carries the slope",
    "outlier": "no point lies off the line of the others",
    "curvature": "a quadratic term adds nothing",
    "attenuation": "errors of the gaps do not flatten the slope",
    "noise_ceiling": "R2 is not better than noise allows",
    "reused_baseline": "gap and improvement have samples of their own",
    "teacher_and_student": "the law is not the student's own accuracy",
    "shared_baseline": "what points share is in the intercept's interval",
    "control": "the control's gap is 0 within 3 standard errors",
}
"""Name and claim of each audit."""


def audits(
    entry: Mapping[str, Any],
    points: Sequence[Mapping[str, Any]],
    rows_by_point: Sequence[Sequence[LawRow]],
    controls: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """All audits of one family, in the order of ``AUDITS``."""
    found = {
        "influence": _influence(entry, points),
        "outlier": _outlier(points),
        "curvature": _curvature(entry),
        "attenuation": _attenuation(entry),
        "noise_ceiling": _noise_ceiling(entry),
        "reused_baseline": reused_baseline([row for rows in rows_by_point for row in rows]),
        "teacher_and_student": teacher_and_student(rows_by_point),
        "shared_baseline": _shared_baseline(entry),
        "control": _control(controls),
    }
    return {name: {"claim": claim, **found[name]} for name, claim in AUDITS.items()}


def failed_audits(fit: Mapping[str, Any]) -> list[str]:
    """``family: audit`` of every audit that failed."""
    return [
        f"{name}: {audit}"
        for name, entry in fit["families"].items()
        for audit, result in entry["audits"].items()
        if result["ok"] is False
    ]


def _influence(entry: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Fails where the slope without a point leaves the interval of the slope with it, or one point alone makes it."""
    if entry["slope"] is None:
        return _unknown("no slope")
    if any(point["loo_slope"] is None for point in points):
        alone = max(points, key=lambda point: point["leverage"])["config_id"]
        return {"ok": False, "value": alone, "said": f"{alone} alone determines the slope"}
    low, high = entry["slope_ci95"]
    most = max(points, key=lambda point: abs(point["loo_slope"] - entry["slope"]))
    said = f"dropping {most['config_id']} (leverage {most['leverage']:.2f}, Cook {most['cook']:.2f}) gives slope "
    said += f"{most['loo_slope']:.2f}"
    return {"ok": bool(low <= most["loo_slope"] <= high), "value": most["config_id"], "said": said}


def _outlier(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [point for point in points if point["outlier_p"] is not None]
    if not known:
        return _unknown("needs four configurations that are not on one line")
    worst = min(known, key=lambda point: point["outlier_p"])
    said = (
        f"{worst['config_id']}: studentised residual {worst['studentised']:+.1f}, p {worst['outlier_p']:.2g}"
    )
    return {
        "ok": worst["outlier_p"] >= 0.05,
        "value": worst["config_id"],
        "said": f"{said} for the largest of all",
    }


def _curvature(entry: Mapping[str, Any]) -> dict[str, Any]:
    bend = entry["curvature"]
    if bend is None:
        return _unknown("needs four configurations and three different gaps")
    said = f"quadratic term {bend['shape']}, F(1, {bend['df']}) = {bend['f']:.3g}, p {bend['p']:.2g}"
    return {"ok": bend["p"] >= 0.05, "value": bend["p"], "said": said}


def _attenuation(entry: Mapping[str, Any]) -> dict[str, Any]:
    york, se = entry["york"], entry["slope_se"]
    if york is None or not se or not entry["gap_se2_mean"]:
        return _unknown("needs errors of gaps and improvements")
    away = (york["slope"] - entry["slope"]) / se
    said = f"York's slope {york['slope']:.2f} is {away:+.1f} standard errors from least squares"
    return {"ok": abs(away) <= 1, "value": away, "said": said}


def _noise_ceiling(entry: Mapping[str, Any]) -> dict[str, Any]:
    ceiling, r2 = entry["noise_ceiling"], entry["r2"]
    if ceiling is None or r2 is None:
        return _unknown("needs errors that are smaller than the spread of the points")
    low, high = ceiling["r2_band95"]
    said = f"R2 {r2:.3f}; with no scatter but noise it would be {low:.3f} to {high:.3f}"
    if r2 > high:
        said += ": better than noise allows, so look for shared samples, selected contexts, or luck"
    return {"ok": r2 <= high, "value": high, "said": said}


def _shared_baseline(entry: Mapping[str, Any]) -> dict[str, Any]:
    shared = entry["shared_baseline"]
    if shared is None or (shared["improvement"] is None and shared["gap"] is None):
        return _unknown("the table does not say where runs start (acc_val0, baseline_id, acc_student_gap)")
    if not shared["improvement"] and not shared["gap"]:
        return {"ok": True, "value": 0.0, "said": "points have baselines of their own"}
    which = " and ".join(name for name in ("improvement", "gap") if shared[name])
    if shared["intercept_se2"] is None:
        said = f"points share the baseline of {which}, whose error is not known: the intercept's interval is too narrow"
        return {"ok": False, "value": None, "said": said}
    extra = math.sqrt(max(0.0, shared["intercept_se2"]))
    said = f"points share the baseline of {which}: it adds {100 * extra:.2f} pp to the intercept's standard error"
    return {"ok": True, "value": extra, "said": f"{said}, which its interval has; the slope is as it was"}


def _control(controls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [point for point in controls if point["gap_se"]]
    if not known:
        return _unknown("no control with a measured error in the table")
    worst = max(known, key=lambda point: abs(point["gap"]) / point["gap_se"])
    away = worst["gap"] / worst["gap_se"]
    said = f"{worst['config_id']}: gap {100 * worst['gap']:+.1f} pp, {away:+.1f} standard errors"
    return {"ok": abs(away) <= 3, "value": away, "said": said}


def _unknown(said: str) -> dict[str, Any]:
    return {"ok": None, "value": None, "said": said}
