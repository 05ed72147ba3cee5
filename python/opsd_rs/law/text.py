"""A fit and its forecasts as plain lines for a terminal, in percentage points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from opsd_rs.base import t_quantile


def format_table(fit: Mapping[str, Any]) -> list[str]:
    """The fit as plain lines for a terminal, in percentage points; the interval comes before R2."""
    lines: list[str] = []
    for name, entry in fit["families"].items():
        lines.append(f"{name}   n = {entry['n']} configurations, {entry['num_runs']} runs")
        if entry["slope"] is not None:
            low, high = entry["slope_ci95"]
            half = t_quantile(0.975, entry["df"]) * entry["residual_sd"] * math.sqrt(1 + 1 / entry["n"])
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
