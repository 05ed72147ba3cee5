"""``law show``: the laws that come with the package, and what one of them says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsd_rs.law.laws import Law, lacks, law_names, load_law


def law_table() -> list[dict[str, Any]]:
    """A row per family of each entry of the package: what it says, and whether it can forecast."""
    return [
        {
            "name": name,
            "family": family,
            "slope": entry["slope"],
            "r2": entry["r2"],
            "n": entry["n"],
            "evidence": law.evidence or "own",
            "serves": "comparison only" if lacks(entry) else "forecasts",
        }
        for name, law in ((name, load_law(name)) for name in law_names())
        for family, entry in law.families.items()
    ]


def law_record(law: Law) -> dict[str, Any]:
    """A law as JSON shows it."""
    return {
        "name": law.name,
        "sha256": law.sha256,
        "evidence": law.evidence or "own",
        "sources": law.sources,
        "missing": list(law.missing),
        "families": law.families,
    }


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
