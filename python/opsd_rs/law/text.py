"""A fit as plain lines for a terminal, in percentage points."""

from __future__ import annotations

import math
from collections.abc import Mapping
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


def _text(value: float | None, scale: float = 1.0, unit: str = "") -> str:
    return "undefined" if value is None else f"{scale * value:.3g}{unit}"
