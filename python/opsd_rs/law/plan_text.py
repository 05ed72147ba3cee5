"""``law power`` and ``law simulate`` as plain lines for a terminal, differences in percentage points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def format_power(found: Mapping[str, Any]) -> list[str]:
    """The tables of ``law power``."""
    lines = [
        f"accuracy {100 * found['accuracy']:.1f} %, correlation within a problem {found['icc']:.2f} "
        f"({found['source']}), E[p(1-p)] {found['within_variance']:.3f}",
        f"one gap's error {100 * found['gap_se']:.2f} pp, SD of one run's improvement {100 * found['seed_sd']:.2f} pp "
        f"({found['problems']} problems)",
        "",
        "smallest visible difference of two contexts' gaps, pp (80 % power, 5 % level, problems held)",
    ]
    lines += _table(found["smallest_gap_difference"], percent=True, whole=("problems",))
    lines += ["", "smallest visible difference of two contexts' improvements, pp, by seeds (normal; t)"]
    lines += _table(found["smallest_improvement_difference"], percent=True, whole=("seeds",))
    low, high = found["gaps"]
    lines += [
        "",
        f"power to show slope {found['slope']:g}, gaps {100 * low:g} to {100 * high:g} pp, "
        f"tau {100 * found['tau']:g} pp; half of its 95 % interval",
    ]
    lines += _table(found["slope_power"], percent=False, whole=("contexts",))
    needed = [
        f"{count or 'more than 200'} with {seeds} seed{'s' if seeds != '1' else ''}"
        for seeds, count in found["needed_contexts"].items()
    ]
    return [*lines, "", f"contexts for 80 % power: {', '.join(needed)}"]


def format_study(found: Mapping[str, Any]) -> list[str]:
    """A simulation study's rows, and whether its bounds held."""
    lines = [f"study {found['study']}: {found['title']}, {found['worlds']} worlds a cell"]
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in found["rows"]:
        groups.setdefault(tuple(row), []).append(row)
    for rows in groups.values():
        lines += _table(rows, percent=False, whole=())
    return [*lines, "all bounds held" if found["ok"] else "A BOUND DID NOT HOLD"]


def format_recovered(found: Mapping[str, Any]) -> list[str]:
    """Truth beside what the fit found."""
    lines = []
    for row in found["recovered"]:
        value = "undefined" if row["found"] is None else f"{row['found']:.4f}"
        interval = "" if row["ci95"] is None else f"   95 % CI [{row['ci95'][0]:.4f}, {row['ci95'][1]:.4f}]"
        lines.append(f"{row['figure']}: true {row['true']:g}, found {value}{interval}")
    return lines + [f"written: {path}" for path in found["written"]]


def _table(rows: Sequence[Mapping[str, Any]], *, percent: bool, whole: Sequence[str]) -> list[str]:
    head = list(rows[0])
    cells = [[_cell(row[name], percent and name not in whole) for name in head] for row in rows]
    widths = [max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(head)]
    return [
        "  " + "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *cells)
    ]


def _cell(value: Any, percent: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{100 * value:.2f}" if percent else f"{value:.3g}"
    return str(value)
