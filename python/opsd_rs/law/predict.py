"""Forecasts from a fitted law: the expected improvement at a gap, its intervals, and flags that warn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.base import t_interval
from opsd_rs.errors import BadInput
from opsd_rs.law.configurations import gap_se, mean
from opsd_rs.law.fit import FEW_CONFIGS
from opsd_rs.law.regression import prediction_se
from opsd_rs.law.rows import LawRow, read_rows

PREDICTS = ("slope", "intercept", "residual_sd", "n", "gap_mean", "gap_sxx", "gap_min", "gap_max")
"""What a family's entry must hold for a forecast."""


# --- forecasts --------------------------------------------------------------------------------------------


def predict_table(law_json: Path, table: Path) -> list[dict[str, Any]]:
    """Forecast each configuration of ``table`` (family, config_id, gap; its standard error where given).

    Rows {family, config_id, gap, forecast, pi80, pi95, flags}. The interval is that of one new configuration
    (t, n - 2) and includes slope times the gap's own error. Flags: family_absent and slope_undefined (no
    forecast), extrapolation (gap outside the fitted range, or leverage above 4/n), few_configs, ceiling
    (forecast above 1 - the student's validation accuracy; where that was not measured,
    ceiling:acc_student_gap, above 1 - its accuracy in the gap), domain:KEY (measured under another setting),
    synthetic.
    """
    families = _load(Path(law_json))
    groups: dict[tuple[str, ...], list[LawRow]] = {}
    for row in read_rows(Path(table), improvement=False):
        # A gap.parquet keeps what was measured of other weights or problems: never one mean of both.
        what = json.dumps(row.settings, sort_keys=True)
        groups.setdefault((row.family, row.config_id, row.identity, what), []).append(row)
    return [_predict(families.get(family), group, law_json) for (family, *_), group in groups.items()]


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
    se = prediction_se(
        gap, slope=slope, residual_sd=sd, n=n, x_mean=x_mean, sxx=sxx, x0_se=gap_se(group) or 0.0
    )
    flags = []
    if entry.get("synthetic"):
        flags.append("synthetic")
    if not entry["gap_min"] <= gap <= entry["gap_max"] or 1 / n + (gap - x_mean) ** 2 / sxx > 4 / n:
        flags.append("extrapolation")
    if n < FEW_CONFIGS:
        flags.append("few_configs")
    flags += sorted({flag for row in group if (flag := _ceiling(row, forecast))})
    fitted = entry.get("domain") or {}
    flags += [
        f"domain:{key}"
        for key, value in fitted.items()
        if any(row.domain.get(key, value) != value for row in group)
    ]
    pi80, pi95 = (list(t_interval(forecast, se, n - 2, level)) for level in (0.80, 0.95))
    return head | {"forecast": forecast, "pi80": pi80, "pi95": pi95, "flags": flags}


def _ceiling(row: LawRow, forecast: float) -> str:
    """The flag of a forecast that the student cannot reach; empty where it can, or where no accuracy is known."""
    if row.acc_val0 is not None:
        return "ceiling" if forecast > 1 - row.acc_val0 else ""
    known = row.acc_student_gap is not None and forecast > 1 - row.acc_student_gap
    return "ceiling:acc_student_gap" if known else ""


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
