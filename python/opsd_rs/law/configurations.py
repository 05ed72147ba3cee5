"""Points of the law: a configuration's runs, its seeds, averaged.

In: checked rows. Out: one point per configuration. Runs that differ in more than their seed are never averaged: a
``config_id`` that mixes them is several configurations, and a note says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from opsd_rs.law.rows import APART, LawRow

CONTROL = "none"
"""The context whose gap and gain are 0 by construction."""


def configuration_means(
    rows: Sequence[LawRow],
) -> tuple[list[dict[str, Any]], list[str], list[list[LawRow]]]:
    """One point per configuration, in order of first appearance, what was taken apart, and each point's runs."""
    by_id: dict[str, list[LawRow]] = {}
    for row in rows:
        by_id.setdefault(row.config_id, []).append(row)
    points: list[dict[str, Any]] = []
    grouped: list[list[LawRow]] = []
    mixed: dict[str, list[str]] = {}
    for config_id, group in by_id.items():
        varying = _varying(group)
        parts: dict[tuple[str, ...], list[LawRow]] = {}
        for row in group:
            parts.setdefault(tuple(row.settings.get(key, "unknown") for key in varying), []).append(row)
        for values, members in parts.items():
            what = ", ".join(f"{key} {value}" for key, value in zip(varying, values, strict=True))
            points.append(_point(f"{config_id} ({what})" if what else config_id, members))
            grouped.append(members)
        if varying:
            said = "; ".join(f"{key} {', '.join(found)}" for key, found in varying.items())
            mixed.setdefault(f"{said}: fitted as {len(parts)} configurations", []).append(config_id)
    return points, [_mixed(config_ids, said) for said, config_ids in mixed.items()], grouped


def _varying(group: Sequence[LawRow]) -> dict[str, list[str]]:
    """The settings of which the rows know several values."""
    found = {
        key: list(dict.fromkeys(row.settings[key] for row in group if key in row.settings)) for key in APART
    }
    return {key: values for key, values in found.items() if len(values) > 1}


def _mixed(config_ids: Sequence[str], said: str) -> str:
    more = f" and {len(config_ids) - 1} more" if len(config_ids) > 1 else ""
    verb, each = ("mix", " each") if more else ("mixes", "")
    return f"config_id {config_ids[0]}{more} {verb} runs that are no seeds of each other, {said}{each}"


def _point(config_id: str, group: Sequence[LawRow]) -> dict[str, Any]:
    improvements = [row.improvement for row in group if row.improvement is not None]
    return {
        "config_id": config_id,
        "context": group[0].context,
        "fitted": True,
        "num_seeds": len(group),
        "gap": mean([row.gap for row in group]),
        "gap_se": gap_se(group),
        "improvement": mean(improvements),
        "improvement_sd": _sd(improvements),
        "improvement_se": _independent_se([row.improvement_se for row in group]),
        "seeds": [
            {"seed": row.seed, "gap": row.gap, "improvement": row.improvement, "run_id": row.run_id}
            for row in group
        ],
        **dict.fromkeys(
            ("leverage", "residual", "loo_forecast", "cook", "loo_slope", "studentised", "outlier_p")
        ),
    }


def mean(values: Sequence[float]) -> float:
    # Equal values keep their bits: a gap measured once for all seeds must not move.
    return values[0] if min(values) == max(values) else math.fsum(values) / len(values)


def _sd(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def gap_se(group: Sequence[LawRow]) -> float | None:
    """One measurement shared by all seeds keeps its error; separate ones average it down."""
    if len({row.gap for row in group}) == 1:
        return max((row.gap_se for row in group if row.gap_se is not None), default=None)
    return _independent_se([row.gap_se for row in group])


def _independent_se(errors: Sequence[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    return math.sqrt(math.fsum(error**2 for error in known)) / len(known)


def shared_domain(rows: Sequence[LawRow]) -> tuple[dict[str, Any], list[str]]:
    """The settings all rows share; a note where they do not."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.domain.items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    notes = [f"mixes {key} {', '.join(found)}" for key, found in values.items() if len(found) > 1]
    return {key: found[0] for key, found in values.items() if len(found) == 1}, notes
