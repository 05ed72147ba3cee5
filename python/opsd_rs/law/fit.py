"""The predictive law: improvement after training against the gap before it, a line per family.

In: tables of finished runs (``runs.parquet``; also csv, jsonl) with family, config_id, gap, improvement as
fractions. Out: the fitted lines as one JSON-able dictionary.

Ordinary least squares on configuration means: a configuration's seeds are averaged first, because seeds as
points, or weights from two or three seeds, give intervals that are too narrow. Families are never pooled: the
published slopes (1.49 and 0.66) differ. Nothing here reads a run folder or needs torch; a figure the data do not
determine is null, with a note.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from opsd_rs.base import write_whole
from opsd_rs.errors import BadInput
from opsd_rs.law.ancova import compare_lines, slope_pairs
from opsd_rs.law.family import ENTRY_VERSION, FEW_CONFIGS, MIN_CONFIGS, fit_family
from opsd_rs.law.rows import LawRow, read_rows, unique_rows
from opsd_rs.law.transfer import leave_one_group_out

__all__ = ["FEW_CONFIGS", "LAW_VERSION", "MIN_CONFIGS", "fit_tables", "save", "synthetic_table"]

LAW_VERSION = ENTRY_VERSION
GROUPINGS = {
    "family": "family",
    "size": "size_b",
    "base-model": "base_model",
    "context": "context",
    "recipe": "recipe_id",
    "horizon": "horizon_steps",
    "dataset": "dataset_id",
    "split": "split",
}
"""What ``--by`` divides the points of a family by, and its column. ``context`` is the figure of sizes: one context's
points over models."""


def fit_tables(
    paths: Iterable[Path], *, with_none: bool = False, by: str = "family", predictors: Sequence[str] = ()
) -> dict[str, Any]:
    """Fit every family found in the tables: ``{"with_none": ..., "by": ..., "families": {name: entry}}``, never nan.

    Left out are runs whose recipe changed on the way, runs that a stop rule ended, and points of the context ``none``:
    its gap and its gain are 0 by construction, so it would draw any line through the origin and make any scatter look
    like a law.

    :param with_none: fit the points of ``none`` too, as the paper's six contexts seem to be
    :param by: one of ``GROUPINGS``; beyond ``family``, entries are named "family, value", but for ``context`` "value"
    :param predictors: columns to fit beside the gap, as well as those that are known

    Entry: slope, slope_se, slope_ci95, slope_p, intercept, intercept_se, intercept_ci95, r2, residual_sd, n
    (configurations), df, num_runs, loo_r2, loo_q2, loo_rmse, gap_{mean,sxx,min,max}, seed_sd, seed_df,
    seeds_per_config, gap_se2_mean, tau, audits, rivals, domain, synthetic, notes, configs (the points, those of
    ``none`` too, ``fitted`` or not), inputs (files and their sha256). BadInput below three configurations.

    Beside the families: ancova, slope_pairs, leave_one_family_out.
    """
    paths = [Path(path) for path in paths]
    rows = unique_rows([(path, row) for path in paths for row in read_rows(path)])
    families: dict[str, list[tuple[Path, LawRow]]] = {}
    for path, row in rows:
        families.setdefault(group_name(row, by), []).append((path, row))
    entries = {
        name: fit_family(name, members, with_none=with_none, predictors=predictors)
        for name, members in families.items()
    }
    return {"with_none": with_none, "by": by, **_across(entries), "families": entries}


def group_name(row: LawRow, by: str = "family") -> str:
    """The entry of a law that a row belongs to."""
    if by not in GROUPINGS:
        raise BadInput(f"--by {by}: one of {', '.join(GROUPINGS)}")
    if by == "family":
        return row.family
    if by == "context":
        return row.context
    value = row.record.get(GROUPINGS[by])
    if value in (None, ""):
        raise BadInput(f"--by {by}: run {row.run_id or row.config_id} has no {GROUPINGS[by]}")
    return f"{row.family}, {value}"


def _across(entries: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What the groups say together; slopes that differ are noted in both entries: they must not share a line."""
    pairs = slope_pairs(entries)
    for pair in pairs:
        if pair["p_holm"] >= 0.05:
            continue
        one, two = pair["pair"]
        for here, there in ((one, two), (two, one)):
            corrected = f", of {len(pairs)} pairs {pair['p_holm']:.2g}" if len(pairs) > 1 else ""
            entries[here]["notes"].append(
                f"slope differs from {there}'s ({entries[there]['slope']:.2f}, Welch p {pair['p']:.2g}{corrected}): "
                "do not pool"
            )
    points = {
        name: [point for point in entry["configs"] if point["fitted"]]
        for name, entry in entries.items()
        if entry["slope"] is not None
    }
    lines = {
        name: ([point["gap"] for point in members], [point["improvement"] for point in members])
        for name, members in points.items()
    }
    return {
        "ancova": compare_lines(lines),
        "slope_pairs": pairs,
        "leave_one_family_out": leave_one_group_out(points) if len(points) > 1 else [],
    }


def save(fit: Mapping[str, Any], path: Path) -> None:
    """Write ``law.json``: enough to forecast without the data."""
    text = json.dumps({"law_version": LAW_VERSION, **fit}, indent=1, allow_nan=False)
    write_whole(path, text.encode() + b"\n")


def synthetic_table() -> Path:
    """The shipped table of invented points in the shape of the paper's Figure 1a, marked synthetic."""
    return Path(str(files("opsd_rs") / "data" / "law_synthetic.csv"))
