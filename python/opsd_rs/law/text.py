"""A fit, its audits and forecasts as plain lines for a terminal, in percentage points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from opsd_rs.base import t_quantile
from opsd_rs.law.intervals import forecast_se


def format_table(fit: Mapping[str, Any]) -> list[str]:
    """The fit as plain lines for a terminal, in percentage points; the interval comes before R2."""
    lines: list[str] = []
    for name, entry in fit["families"].items():
        lines.append(f"{name}   n = {entry['n']} configurations, {entry['num_runs']} runs")
        if entry["slope"] is not None:
            lines += _line(entry)
        lines += _rivals(entry)
        lines += [f"  bootstrap: {text}" for text in _bootstrap(entry)]
        lines += [f"  left out {row['left_out']}: {_transfer(row)}" for row in entry["leave_one_size_out"]]
        lines += [f"  ! {note}" for note in entry["notes"]]
        lines += [
            f"  ! {audit} failed: {result['said']}"
            for audit, result in entry["audits"].items()
            if result["ok"] is False
        ]
    return [*lines, *_across(fit)]


def format_checks(fit: Mapping[str, Any]) -> list[str]:
    """The audits of each family, a line each: ok, FAILED, or not known."""
    lines: list[str] = []
    for name, entry in fit["families"].items():
        lines.append(f"{name}   n = {entry['n']} configurations, {entry['num_runs']} runs")
        for audit, result in entry["audits"].items():
            verdict = {True: "ok", False: "FAILED", None: "-"}[result["ok"]]
            lines.append(f"  {verdict:<7}{audit}: {result['said']}")
    return lines


def _line(entry: Mapping[str, Any]) -> Iterator[str]:
    low, high = entry["slope_ci95"]
    yield (
        f"  improvement = {100 * entry['intercept']:+.2f} pp + {entry['slope']:.3f} x gap"
        f"   slope 95 % CI [{low:.2f}, {high:.2f}], p {entry['slope_p']:.2g}"
    )
    if entry["slope_corrected"] is not None:
        low, high = entry["slope_corrected_ci95"]
        yield (
            f"  corrected for the gaps' errors: slope {entry['slope_corrected']:.3f}, 95 % CI [{low:.2f}, {high:.2f}]"
        )
    low, high = entry["intercept_ci95"]
    yield f"  intercept 95 % CI [{100 * low:+.1f}, {100 * high:+.1f}] pp"
    half = t_quantile(0.975, entry["df"]) * entry["residual_sd"] * math.sqrt(1 + 1 / entry["n"])
    text = f"  95 % prediction interval at the mean gap: +-{100 * half:.1f} pp"
    seeds = entry["seeds_per_config"]
    if entry["seed_sd"] is not None and seeds > 1:
        se, df = forecast_se(entry, entry["gap_mean"], None, num_seeds=1)
        # Degrees of freedom of a sum may make it a little narrower, which is no news of one run.
        one = 100 * max(half, t_quantile(0.975, df) * se)
        text += f" for the mean of {seeds:.3g} seeds, +-{one:.1f} pp for one run"
    yield f"{text}   gaps {100 * entry['gap_min']:.1f} to {100 * entry['gap_max']:.1f} pp"
    ceiling = entry["noise_ceiling"]
    noise = ""
    if ceiling is not None:
        low, high = ceiling["r2_band95"]
        noise = f" (noise alone: {low:.2f} to {high:.2f})"
    yield (
        f"  R2 {_text(entry['r2'])}{noise}   leave-one-out: RMSE {_text(entry['loo_rmse'], 100, ' pp')}, "
        f"R2 {_text(entry['loo_r2'])}, Q2 {_text(entry['loo_q2'])}"
    )
    if ceiling is not None:
        low, high = ceiling["loo_rmse_band95"]
        yield f"  leave-one-out RMSE that noise alone would leave: {100 * low:.1f} to {100 * high:.1f} pp"
    yield from _beside(entry)


def _beside(entry: Mapping[str, Any]) -> Iterator[str]:
    parts = []
    if entry["slope_one"] is not None:
        parts.append(f"slope = 1: p {entry['slope_one']['p']:.2g}")
    if entry["curvature"] is not None:
        parts.append(f"curvature: {entry['curvature']['shape']}, p {entry['curvature']['p']:.2g}")
    if entry["ranks"] is not None and entry["ranks"]["spearman"] is not None:
        how = "exact" if entry["ranks"]["exact"] else "permutation"
        parts.append(
            f"Spearman {entry['ranks']['spearman']:.2f} ({how} p {entry['ranks']['spearman_p']:.2g})"
        )
    if parts:
        yield f"  {'   '.join(parts)}"
    slopes = [
        f"{label} {_with_interval(entry[key])}"
        for key, label in (("york", "York"), ("deming", "Deming"), ("theil_sen", "Theil-Sen"))
        if entry[key] is not None
    ]
    tau = "" if entry["tau"] is None else f"   scatter beyond noise {100 * entry['tau']:.1f} pp"
    if entry["seed_sd"] is not None:
        tau += f"   SD of seeds {100 * entry['seed_sd']:.1f} pp ({entry['seed_df']} df)"
    if slopes:
        yield f"  slopes by other means: {', '.join(slopes)}"
    if tau:
        yield f"  {tau.strip()}"


def _with_interval(found: Mapping[str, Any]) -> str:
    text = f"{found['slope']:.2f}"
    if found["slope_ci95"] is not None:
        low, high = found["slope_ci95"]
        text += f" [{low:.2f}, {high:.2f}]" + (f" {INDICATIVE}" if found["indicative"] else "")
    return text


INDICATIVE = "indicative"
"""Said of an interval whose simulated coverage is below 0.90 in a cell of the grid (docs/law.md, Simulations)."""


def _rivals(entry: Mapping[str, Any]) -> Iterator[str]:
    if len(entry["rivals"]) < 2:
        return
    width = max(len(row["predictor"]) for row in entry["rivals"])
    yield f"  {'predictor':<{width}}    n  slope      R2     LOO RMSE  Q2     gap's LOO RMSE there"
    for row in entry["rivals"]:
        if row["slope"] is None:
            yield f"  {row['predictor']:<{width}} {row['n']:>4}  {row['said']}"
            continue
        yield (
            f"  {row['predictor']:<{width}} {row['n']:>4}  {row['slope']:<9.3g}  {_text(row['r2']):<5}  "
            f"{_text(row['loo_rmse'], 100, ' pp'):<8}  {_text(row['loo_q2']):<5}  "
            f"{_text(row['gap_loo_rmse'], 100, ' pp')}"
        )


def _bootstrap(entry: Mapping[str, Any]) -> Iterator[str]:
    found = entry.get("bootstrap")
    if found is None:
        return
    indicative = f"; {INDICATIVE}: contexts are held" if found["indicative"] else ""
    for kind, what in (("fixed", "these problems"), ("resampled", "problems drawn too")):
        low, high = found[kind]["slope_bca95"]
        yield (
            f"{what}: slope SE {found[kind]['slope_se']:.2f}, 95 % BCa [{low:.2f}, {high:.2f}], "
            f"{found['draws']} draws{indicative}"
        )
    if found["said"]:
        yield found["said"]


def _transfer(row: Mapping[str, Any]) -> str:
    return (
        f"its {row['n']} points by the line of {row['fitted_on']} others: RMSE {100 * row['rmse']:.1f} pp, "
        f"bias {100 * row['bias']:+.1f} pp, {100 * row['inside95']:.0f} % inside 95 % intervals"
    )


def _across(fit: Mapping[str, Any]) -> Iterator[str]:
    if fit.get("ancova") is not None:
        tests = ", ".join(
            f"one {what} p {fit['ancova'][key]['p']:.2g}"
            for key, what in (("slopes", "slope"), ("coincidence", "line"))
        )
        yield f"all families: {tests} (F tests; scatters taken as equal)"
    for pair in fit.get("slope_pairs", ()):
        one, two = pair["pair"]
        p = f"Welch p {pair['p']:.2g}, Holm {pair['p_holm']:.2g}"
        yield f"  slopes of {one} and {two}: {pair['difference']:+.2f}, {p}"
    for row in fit.get("leave_one_family_out", ()):
        yield f"  left out {row['left_out']}: {_transfer(row)}"


def _text(value: float | None, scale: float = 1.0, unit: str = "") -> str:
    return "undefined" if value is None else f"{scale * value:.3g}{unit}"
